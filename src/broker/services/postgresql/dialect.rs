//! What differs between the engines: every statement that changes something, as data. Nothing here does IO, so a test
//! reads the statements that a server would get.

mod cockroachdb;
mod postgresql;

use tokio_postgres::error::SqlState;

use super::quote::identifier;

pub(super) use self::{cockroachdb::CockroachDb, postgresql::PostgreSql};

/// A statement, and the refusals that mean that there is nothing left to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// What it does, in the words of an error message.
    pub(super) does: &'static str,
    pub(super) done_already: &'static [SqlState],
}

impl Statement {
    fn new(does: &'static str, sql: String) -> Self {
        Self { sql, does, done_already: &[] }
    }

    fn unless(mut self, done_already: &'static [SqlState]) -> Self {
        self.done_already = done_already;
        self
    }
}

/// The names an instance has in the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceNames<'a> {
    pub(super) database: &'a str,
    pub(super) owner: &'a str,
    /// The installation's mark.
    pub(super) marker: &'a str,
}

/// A row of `SHOW DEFAULT PRIVILEGES`: what objects of this type get that `role` makes (anyone, if `None`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DefaultPrivilege {
    pub(super) role: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) object_type: String,
    pub(super) grantee: String,
}

impl DefaultPrivilege {
    /// Whether nobody granted it: a role has all rights on what it makes, and everybody may use types and functions.
    /// CockroachDB lists these, too.
    pub(super) fn is_builtin(&self) -> bool {
        let for_everybody = self.grantee == "public"
            && ["types", "functions", "routines"].contains(&self.object_type.as_str());
        self.role.as_ref() == Some(&self.grantee) || for_everybody
    }

    /// Takes it back; the syntax is the same everywhere (ALTER DEFAULT PRIVILEGES, in either documentation).
    pub(super) fn revoke(&self) -> Statement {
        let Self { role, schema, object_type, grantee } = self;
        let makers = role
            .as_deref()
            .map_or_else(|| "ALL ROLES".to_owned(), |role| format!("ROLE {}", identifier(role)));
        let within =
            schema.as_deref().map_or_else(String::new, |schema| format!(" IN SCHEMA {}", identifier(schema)));
        // The type is a keyword and comes from the server's own list.
        let objects = object_type.to_ascii_uppercase();
        let grantee = identifier(grantee);
        let sql =
            format!("ALTER DEFAULT PRIVILEGES FOR {makers}{within} REVOKE ALL ON {objects} FROM {grantee}");
        Statement::new("take default privileges back", sql)
    }
}

/// The statements of one engine. `admin` is the role that bindery is logged in as.
pub(super) trait Dialect: Send + Sync {
    /// Whether a role is made and marked in one statement. If not, a kill can leave a role of ours that is a member of
    /// nothing, and such a role has to be taken for ours.
    fn marks_at_creation(&self) -> bool;

    /// Makes the installation's marker role, if need be.
    fn create_marker(&self, marker: &str) -> Statement;

    /// Makes the owner role, marked.
    fn create_owner(&self, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Makes the administrator a member of a role, so that it may act for it.
    fn act_for(&self, role: &str, admin: &str) -> Statement {
        // GRANT of a role is the same everywhere; one that is a member already stays one.
        Statement::new("act for the role", format!("GRANT {} TO {}", identifier(role), identifier(admin)))
    }

    /// Makes the database.
    fn create_database(&self, names: InstanceNames<'_>) -> Statement;

    /// Keeps everybody but the owner out, and writes the mark as a comment.
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement>;

    /// Makes a login that does not exist yet.
    fn create_login(&self, login: &str, names: InstanceNames<'_>, verifier: &str) -> Statement;

    /// Gives an existing login a new password and lets it log in.
    fn set_password(&self, login: &str, verifier: &str) -> Statement;

    /// Makes a login act as the owner in the instance's database.
    fn equip_login(&self, login: &str, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Shares what a login makes with the owner; for a session in the instance's database.
    fn share_objects(&self, login: &str, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Keeps a role from logging in again.
    fn disable_login(&self, role: &str) -> Statement;

    /// Ends the sessions of a role.
    fn end_sessions(&self, role: &str) -> Statement;

    /// A query for the number of a role's sessions.
    fn count_sessions(&self, role: &str) -> String;

    /// A query for the databases that may hold something which belongs to a role or was granted to it.
    fn databases_of(&self, role: &str) -> String;

    /// A query for the default privileges that keep a role from being dropped, where dropping what it owns leaves them.
    /// Rows: role (empty for all roles), type, grantee.
    fn default_privileges(&self, role: &str, schema: Option<&str>) -> Vec<String>;

    /// A query for the schemas to ask [`Dialect::default_privileges`] about.
    fn schemas(&self) -> Option<&'static str>;

    /// Leaves a role no default privileges of its own in the session's database but those that every role has: where what
    /// was taken away from these is written down, it keeps the role from being dropped.
    fn reset_defaults(&self, _role: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Hands what a role owns in the session's database to another role.
    fn reassign(&self, role: &str, to: &str) -> Statement;

    /// Drops what a role owns in the session's database and takes back what was granted to it.
    fn drop_owned(&self, role: &str) -> Statement;

    /// Drops a role.
    fn drop_role(&self, role: &str) -> Statement;

    /// Drops a database, with the sessions in it.
    fn drop_database(&self, database: &str) -> Statement;

    /// A query for the rights that the administrator lacks, a row each.
    fn missing_rights(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: InstanceNames<'_> = InstanceNames { database: "d", owner: "o", marker: "m" };

    fn sql(statements: impl IntoIterator<Item = Statement>) -> Vec<String> {
        statements.into_iter().map(|statement| statement.sql).collect()
    }

    #[test]
    fn on_postgresql_logins_act_as_the_owner() {
        assert_eq!(
            sql(PostgreSql.equip_login("b", NAMES)),
            [r#"ALTER ROLE "b" IN DATABASE "d" SET role = 'o'"#]
        );
        assert!(PostgreSql.share_objects("b", NAMES).is_empty());
        assert_eq!(
            PostgreSql.create_login("b", NAMES, "SCRAM").sql,
            r#"CREATE ROLE "b" LOGIN PASSWORD 'SCRAM' IN ROLE "o""#
        );
    }

    /// CockroachDB refuses SET role with 55P02 and has no IN ROLE.
    #[test]
    fn on_cockroachdb_logins_share_by_default_privileges() {
        assert_eq!(sql(CockroachDb.equip_login("b", NAMES)), [r#"GRANT "o" TO "b""#]);
        let shared = sql(CockroachDb.share_objects("b", NAMES));
        assert_eq!(shared.len(), 5);
        assert_eq!(shared[0], r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" GRANT ALL ON TABLES TO "o""#);
        let all =
            sql([CockroachDb.create_login("b", NAMES, "v"), CockroachDb.create_database(NAMES)]).join(";");
        assert!(!all.contains("IN ROLE") && !all.contains("FORCE"), "{all}");
    }

    /// Every role may create in the public schema of a new CockroachDB database.
    #[test]
    fn on_cockroachdb_the_public_schema_is_closed() {
        let statements = sql(CockroachDb.lock_down(NAMES, "it's"));
        assert!(
            statements.contains(&r#"REVOKE CREATE, USAGE ON SCHEMA "d".public FROM public"#.to_owned()),
            "{statements:?}"
        );
        assert!(statements.contains(&r#"COMMENT ON DATABASE "d" IS 'it''s'"#.to_owned()), "{statements:?}");
    }

    /// Only REVOKE removes an entry that says nothing any more.
    #[test]
    fn on_cockroachdb_defaults_are_reset_by_grants_and_a_revoke_at_last() {
        let reset = sql(CockroachDb.reset_defaults("b"));
        assert_eq!(reset[0], r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" GRANT ALL ON TABLES TO "b""#);
        let (last, grants) = reset.split_last().unwrap();
        assert!(grants.iter().all(|grant| grant.contains(" GRANT ")), "{grants:?}");
        assert_eq!(last, r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" REVOKE ALL ON TABLES FROM "public""#);
        assert!(PostgreSql.reset_defaults("b").is_empty());
    }

    #[test]
    fn default_privileges_are_taken_back_as_they_were_given() {
        let mut privilege = DefaultPrivilege {
            role: Some("b".to_owned()),
            schema: Some("S x".to_owned()),
            object_type: "tables".to_owned(),
            grantee: "o".to_owned(),
        };
        assert!(!privilege.is_builtin());
        assert_eq!(
            privilege.revoke().sql,
            r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" IN SCHEMA "S x" REVOKE ALL ON TABLES FROM "o""#
        );
        (privilege.role, privilege.schema) = (None, None);
        assert_eq!(
            privilege.revoke().sql,
            r#"ALTER DEFAULT PRIVILEGES FOR ALL ROLES REVOKE ALL ON TABLES FROM "o""#
        );
        privilege.role = Some("o".to_owned());
        assert!(privilege.is_builtin());
    }
}
