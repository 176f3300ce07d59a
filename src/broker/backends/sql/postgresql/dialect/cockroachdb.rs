//! CockroachDB 23.2 and later. Written from its documentation (<https://www.cockroachlabs.com/docs/v25.2/>, the page
//! is named at each statement) and source; this project's tests did not run these statements on a CockroachDB cluster.
//! Differences from PostgreSQL: a role cannot be set for a database (55P02), so logins share objects by default
//! privileges; DROP OWNED leaves default privileges; every role may create objects in a new database's public schema;
//! a statement cancels sessions; a role has no connection limit (create-user, "Parameters").

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    Dialect, InstanceNames, Login, Origin, Statement,
};

/// The types of objects in default privileges (alter-default-privileges).
const OBJECT_TYPES: [&str; 5] = ["TABLES", "SEQUENCES", "TYPES", "SCHEMAS", "FUNCTIONS"];

/// The dialect of CockroachDB.
pub(in crate::broker::backends::sql::postgresql) struct CockroachDb;

impl Dialect for CockroachDb {
    /// create-role: there is no IN ROLE.
    fn marks_at_creation(&self) -> bool {
        false
    }

    /// create-role: a role cannot log in by default.
    fn create_marker(&self, marker: &str) -> Statement {
        Statement::new("create the marker role", format!("CREATE ROLE IF NOT EXISTS {}", identifier(marker)))
    }

    /// create-role; grant ("Grant role membership"): CREATEROLE may grant roles since v23.2.
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement> {
        let sql = format!("CREATE ROLE IF NOT EXISTS {}", identifier(role));
        vec![Statement::new("create the role", sql), self.grant_role(role, marker).called("mark the role")]
    }

    /// create-database: OWNER together with IF NOT EXISTS since v23.1. UTF8 is the only encoding, and only a backup
    /// can be copied, so plans have neither setting.
    fn create_database(&self, names: InstanceNames<'_>, _origin: Origin<'_>) -> Statement {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        let sql = format!("CREATE DATABASE IF NOT EXISTS {database} OWNER {owner}");
        Statement::new("create the database", sql)
    }

    /// revoke, grant, comment-on. Without CONNECT a database is only hidden (cockroachdb/cockroach#59875); the
    /// schema's privileges prevent access.
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement> {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        vec![
            Statement::new(
                "close the database",
                format!("REVOKE CONNECT ON DATABASE {database} FROM public"),
            ),
            Statement::new(
                "close the schema",
                format!("REVOKE CREATE, USAGE ON SCHEMA {database}.public FROM public"),
            ),
            Statement::new(
                "open the schema to its owner",
                format!("GRANT ALL ON SCHEMA {database}.public TO {owner}"),
            ),
            self.comment(names.database, comment),
        ]
    }

    /// create-user; the server stores a SCRAM verifier as it is (security-reference/authentication,
    /// `server.user_login.store_client_pre_hashed_passwords.enabled`, on by default).
    fn create_login(&self, login: Login<'_>) -> Statement {
        let sql = format!("CREATE USER {} WITH {}", identifier(login.name), options(login));
        Statement::new("create the login", sql)
    }

    /// alter-user.
    fn renew_login(&self, login: Login<'_>) -> Statement {
        let sql = format!("ALTER USER {} WITH LOGIN {}", identifier(login.name), options(login));
        Statement::new("renew the login", sql)
    }

    /// grant ("Grant role membership").
    fn equip_login(&self, login: Login<'_>, _names: InstanceNames<'_>) -> Vec<Statement> {
        vec![self.grant_role(login.group, login.name)]
    }

    /// alter-default-privileges: they depend on the creator, so each login needs its own; FOR ROLE requires that the
    /// administrator is a member of the login.
    fn logins_own(&self) -> bool {
        true
    }

    /// alter-user.
    fn disable_login(&self, role: &str) -> Statement {
        let sql = format!("ALTER USER IF EXISTS {} WITH NOLOGIN PASSWORD NULL", identifier(role));
        Statement::new("disable the login", sql)
    }

    /// cancel-session, with the result of show-sessions.
    fn end_sessions(&self, role: &str) -> Statement {
        let sql = format!(
            "CANCEL SESSIONS IF EXISTS (SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE user_name = {})",
            literal(role)
        );
        Statement::new("end the login's sessions", sql)
    }

    fn count_sessions(&self, role: &str) -> String {
        format!("SELECT count(*) FROM [SHOW CLUSTER SESSIONS] WHERE user_name = {}", literal(role))
    }

    /// show-databases. DROP ROLE checks all databases of the cluster and names the database only in its message.
    fn databases_of(&self, _role: &str) -> String {
        "SELECT database_name::text FROM [SHOW DATABASES] WHERE database_name <> 'system'".to_owned()
    }

    /// show-default-privileges: those of the role, and those in favour of the role.
    fn default_privileges(&self, role: &str, schema: Option<&str>) -> Vec<String> {
        let (role, within) =
            (identifier(role), schema.map_or_else(String::new, |s| format!(" IN SCHEMA {}", identifier(s))));
        ["ROLE", "GRANTEE"]
            .map(|of| {
                format!(
                    "SELECT DISTINCT COALESCE(role::text, ''), object_type::text, grantee::text \
                     FROM [SHOW DEFAULT PRIVILEGES FOR {of} {role}{within}]"
                )
            })
            .into()
    }

    /// show-sessions; `rolvaliduntil` is the role option VALID UNTIL.
    fn expired_logins(&self) -> &'static str {
        "SELECT DISTINCT l.rolname::text FROM pg_catalog.pg_roles k \
         JOIN pg_catalog.pg_auth_members gm ON k.oid IN (gm.member, gm.roleid) \
         JOIN pg_catalog.pg_auth_members lm ON lm.roleid IN (gm.member, gm.roleid) AND lm.roleid <> k.oid \
         JOIN pg_catalog.pg_roles l ON l.oid = lm.member \
         WHERE k.rolname::text = $1 AND l.rolvaliduntil <= now() \
         AND (l.rolcanlogin OR l.rolname::text IN (SELECT user_name FROM [SHOW CLUSTER SESSIONS]))"
    }

    /// show-schemas.
    fn schemas(&self) -> &'static str {
        "SELECT schema_name::text FROM [SHOW SCHEMAS] \
         WHERE schema_name NOT IN ('crdb_internal', 'information_schema', 'pg_catalog', 'pg_extension')"
    }

    /// alter-default-privileges; since v25.2.x a role whose own privileges were revoked cannot be dropped
    /// (cockroachdb/cockroach#151879). A REVOKE that leaves an entry without effect removes the entry
    /// (`catprivilege.RevokeDefaultPrivileges`); a GRANT does not.
    fn reset_defaults(&self, role: &str) -> Vec<Statement> {
        let role = identifier(role);
        let own = OBJECT_TYPES.map(|objects| format!("GRANT ALL ON {objects} TO {role}"));
        let for_all = [
            r#"GRANT USAGE ON TYPES TO "public""#,
            r#"GRANT EXECUTE ON FUNCTIONS TO "public""#,
            r#"REVOKE ALL ON TABLES FROM "public""#,
        ];
        let changes = own.into_iter().chain(for_all.map(ToOwned::to_owned));
        let alter = |change: String| {
            let sql = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role} {change}");
            Statement::new("reset default privileges", sql)
        };
        changes.map(alter).collect()
    }

    /// drop-role. For a missing role, some versions report 42704 despite IF EXISTS (cockroachdb/cockroach#134538).
    fn drop_role(&self, role: &str) -> Statement {
        Statement::new("drop the role", format!("DROP ROLE IF EXISTS {}", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// drop-database: sessions in the database do not prevent the drop.
    fn drop_database(&self, database: &str) -> Statement {
        Statement::new(
            "drop the database",
            format!("DROP DATABASE IF EXISTS {} CASCADE", identifier(database)),
        )
    }

    /// show-users, show-system-grants, security-reference/authorization ("Supported privileges"): role options, system
    /// privileges, or membership in `admin`, which includes all of them.
    fn missing_rights(&self) -> String {
        "SELECT right_name FROM (VALUES ('CREATEROLE'), ('CREATEDB'), ('CREATELOGIN'), ('CANCELQUERY'), ('VIEWACTIVITY')) \
         AS rights (right_name) \
         WHERE NOT EXISTS (SELECT 1 FROM [SHOW USERS] WHERE username = current_user \
           AND (username = 'root' OR member_of::STRING LIKE '%admin%' OR options::STRING LIKE '%' || right_name || '%')) \
         AND NOT EXISTS (SELECT 1 FROM [SHOW SYSTEM GRANTS] WHERE grantee = current_user AND privilege_type IN (right_name, 'ALL'))"
            .to_owned()
    }
}

/// create-user: role options; NULL removes one.
fn options(login: Login<'_>) -> String {
    let password = login.verifier.map_or_else(|| "NULL".to_owned(), literal);
    let ends_at = login.ends_at.map_or_else(|| "NULL".to_owned(), |time| literal(&time.to_string()));
    format!("PASSWORD {password} VALID UNTIL {ends_at}")
}

#[cfg(test)]
mod tests {
    use bindery_test_support::cockroach::{Sender, UNKNOWN, judge};
    use jiff::Timestamp;

    use super::{super::DefaultPrivilege, *};
    use crate::broker::{backends::sql::plan::Access, config::Kinds};

    const NAMES: InstanceNames<'_> = InstanceNames { database: "d\"d", owner: "d_owner", marker: "m" };

    /// Every statement of this dialect, with names that need quotes.
    fn all() -> Vec<String> {
        let privilege = |role: Option<&str>, schema: Option<&str>| DefaultPrivilege {
            role: role.map(ToOwned::to_owned),
            schema: schema.map(ToOwned::to_owned),
            object_type: "routines".to_owned(),
            grantee: "o'o".to_owned(),
        };
        let mut statements = vec![
            CockroachDb.create_marker("m"),
            CockroachDb.act_for("b", "bindery"),
            CockroachDb.create_database(NAMES, Origin::default()),
            CockroachDb.admit("d", "d_readonly"),
            CockroachDb.revoke_role("m", "b"),
            CockroachDb.grant_role("b", "m"),
            CockroachDb.turn_mark("b", "m"),
            CockroachDb.change_own_password("bindery", "v"),
            CockroachDb.disable_login("b"),
            CockroachDb.suspend_login("b"),
            CockroachDb.resume_login("b"),
            CockroachDb.end_sessions("b'"),
            CockroachDb.reassign("b", "o"),
            CockroachDb.drop_owned("b"),
            CockroachDb.drop_role("b"),
            CockroachDb.drop_database("d"),
            privilege(Some("b"), None).revoke(),
            privilege(Some("b"), Some("s s")).revoke(),
            privilege(None, None).revoke(),
            privilege(None, Some("s")).revoke(),
        ];
        for verifier in [None, Some(r"v\'")] {
            for ends_at in [None, Some(Timestamp::UNIX_EPOCH)] {
                let login = Login { name: "b", group: "d_readonly", verifier, ends_at, connections: Some(1) };
                statements.extend([CockroachDb.create_login(login), CockroachDb.renew_login(login)]);
                statements.extend(CockroachDb.equip_login(login, NAMES));
            }
        }
        for access in Access::ALL {
            if *access != Access::Owner {
                statements.extend(CockroachDb.open_schema("s", "g", *access));
            }
            statements.extend(CockroachDb.share("b", "g", *access));
        }
        statements.extend(CockroachDb.create_group("g", "m"));
        statements.extend(CockroachDb.retain("o", "m"));
        statements.extend(CockroachDb.lock_down(NAMES, "it's"));
        statements.extend(CockroachDb.reset_defaults("b"));
        let mut all: Vec<_> = statements.into_iter().map(|statement| statement.sql).collect();
        all.extend([
            CockroachDb.is_admitted("d", "g"),
            CockroachDb.is_expired("b"),
            CockroachDb.expired_logins().to_owned(),
            CockroachDb.comments().to_owned(),
            CockroachDb.schemas().to_owned(),
            CockroachDb.count_sessions("b"),
            CockroachDb.databases_of("b"),
            CockroachDb.missing_rights(),
        ]);
        all.extend(CockroachDb.default_privileges("b", None));
        all.extend(CockroachDb.default_privileges("b", Some("s")));
        all
    }

    #[test]
    fn every_statement_was_looked_up() {
        for sql in all() {
            assert_ne!(judge(Sender::Administrator, &sql).form, UNKNOWN, "{sql}");
        }
    }
}
