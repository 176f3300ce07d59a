//! Statements about what keeps a role from being dropped: objects, grants and default privileges.

use super::{
    super::{
        dependents::revoke,
        quote::{identifier, literal},
    },
    CockroachDb, PostgreSql, Statement,
    cockroachdb::OBJECT_TYPES,
    postgresql::dependencies,
};

pub(in crate::broker::backends::sql::postgresql) trait DependencyStatements {
    /// A query for what depends on a role in the session's database. Columns: the object's type and identity, the kind
    /// of dependency (`pg_shdepend.deptype`), whether the object belongs to all databases.
    fn dependents(&self, _role: &str) -> Option<String> {
        None
    }

    /// A query for the databases that may contain objects of a role or grants to it.
    fn databases_with_dependents(&self, role: &str) -> String;

    /// A query for whether a role owns something in a database, where the server can tell.
    fn owns_objects_in(&self, _role: &str, _database: &str) -> Option<String> {
        None
    }

    /// Reassigns what a role owns in the session's database to another role.
    fn reassign_owned(&self, role: &str, to: &str) -> Statement {
        // sql-reassign-owned, or reassign-owned.
        let sql = format!("REASSIGN OWNED BY {} TO {}", identifier(role), identifier(to));
        Statement::new("hand the login's objects to the owner", sql)
    }

    /// Drops what a role owns in the session's database, and revokes what was granted to the role.
    fn drop_owned(&self, role: &str) -> Statement {
        // sql-drop-owned; drop-owned-by, which has no CASCADE (0A000): after REASSIGN it only revokes grants.
        Statement::new(
            "take back what was granted to the login",
            format!("DROP OWNED BY {}", identifier(role)),
        )
    }

    /// A query for the grants to a role in the session's database that were made by roles other than the object's
    /// owner, as far as the administrator can act as the grantor. Columns: the object's type as in
    /// `pg_identify_object`, its identity, the privileges, the grantor. `None` where the administrator can revoke for
    /// all grantors.
    fn grants_by_others(&self, _role: &str) -> Option<String> {
        None
    }

    /// Revokes privileges on an object, named as by the server, that the current role granted to another role. The
    /// privileges are listed, because for ALL the server would revoke as the owner if the current role is a member of
    /// the owner.
    fn revoke_grant(&self, (kind, identity): (&str, &str), privileges: &str, role: &str) -> Statement {
        let sql = format!("{} CASCADE", revoke(privileges, kind, identity, role));
        Statement::new("take back what was granted to the role", sql)
    }

    /// Queries for the default privileges that prevent a role from being dropped; none where DROP OWNED removes them.
    /// Columns: role (empty for all roles), type, grantee.
    fn default_privileges(&self, role: &str, schema: Option<&str>) -> Vec<String>;

    /// Resets a role's default privileges in the session's database to the built-in ones: where a role has revoked
    /// built-in privileges, the entry would prevent it from being dropped.
    fn reset_default_privileges(&self, _role: &str) -> Vec<Statement> {
        Vec::new()
    }
}

impl DependencyStatements for PostgreSql {
    /// See [`Self::grants_by_others`].
    fn dependents(&self, role: &str) -> Option<String> {
        Some(dependencies::dependents(role))
    }

    /// catalog-pg-shdepend: what depends on the role, by database.
    fn databases_with_dependents(&self, role: &str) -> String {
        format!(
            "SELECT DISTINCT d.datname::text FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid \
             JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname = {}",
            literal(role)
        )
    }

    /// catalog-pg-shdepend: `o` is the owner.
    fn owns_objects_in(&self, role: &str, database: &str) -> Option<String> {
        Some(format!(
            "SELECT EXISTS (SELECT 1 FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid \
             WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND r.rolname = {} AND d.datname = {})",
            literal(role),
            literal(database)
        ))
    }

    /// catalog-pg-shdepend (`a` is a privilege; objects of all databases have none), functions-info (aclexplode,
    /// `pg_identify_object`).
    fn grants_by_others(&self, role: &str) -> Option<String> {
        Some(dependencies::grants_of_others(role))
    }

    /// sql-drop-owned also removes default privileges.
    fn default_privileges(&self, _role: &str, _schema: Option<&str>) -> Vec<String> {
        Vec::new()
    }
}

impl DependencyStatements for CockroachDb {
    /// show-databases. DROP ROLE checks all databases of the cluster and names the database only in its message.
    fn databases_with_dependents(&self, _role: &str) -> String {
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

    /// alter-default-privileges; since v25.2.x a role whose own privileges were revoked cannot be dropped
    /// (cockroachdb/cockroach#151879). A REVOKE that leaves an entry without effect removes the entry
    /// (`catprivilege.RevokeDefaultPrivileges`); a GRANT does not.
    fn reset_default_privileges(&self, role: &str) -> Vec<Statement> {
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
}
