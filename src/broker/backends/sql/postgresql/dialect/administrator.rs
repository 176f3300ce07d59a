//! Statements about what the administrator may do, and its membership in the roles that it acts as.

use super::{
    super::quote::{identifier, literal},
    CockroachDb, PostgreSql, Statement,
    postgresql::{LOGINS, groups},
};
use crate::broker::backends::sql::naming::RETAINED;

pub(in crate::broker::backends::sql::postgresql) trait AdministratorStatements {
    /// A query for the rights that the administrator lacks, one per row.
    fn missing_rights(&self) -> String;

    /// The statement with which a superuser gives the administrator its missing attributes.
    fn missing_rights_remedy(&self, _admin: &str, _missing: &[String]) -> Option<String> {
        None
    }

    /// A query for whether connections are reserved for the administrator; `None` where the engine has no such
    /// reserve.
    fn uses_reserved_connections(&self) -> Option<&'static str> {
        None
    }

    /// Changes the password of the role that is logged in.
    fn change_own_password(&self, role: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE {} PASSWORD {}", identifier(role), literal(verifier));
        Statement::new("change the administrator's password", sql)
    }

    /// Makes the administrator a member of a role, so that it can act as the role.
    fn join_role(&self, role: &str, admin: &str) -> Statement {
        // Both engines grant roles with this statement; repeating it has no effect.
        Statement::new("act for the role", format!("GRANT {} TO {}", identifier(role), identifier(admin)))
    }

    /// A query for the roles, of the installation's and the named ones, that the administrator cannot change or act as.
    /// Each row also says whether it has ADMIN OPTION on the role. The first name is that of the marker role.
    fn roles_without_admin_option(&self, _roles: &[&str]) -> Option<String> {
        None
    }

    /// Whether the administrator can grant itself ADMIN OPTION on such roles.
    fn can_take_admin_option(&self) -> bool {
        false
    }

    /// The statements with which a superuser allows an administrator to change the roles of an installation.
    fn admin_option_remedy(&self, _marker: &str, _admin: &str) -> Option<String> {
        None
    }

    /// Switches to another role; the session must not be reused.
    fn set_role(&self, role: &str) -> Statement {
        Statement::new("act as the role", format!("SET ROLE {}", identifier(role)))
    }

    /// Switches back to the administrator.
    fn reset_role(&self) -> Statement {
        Statement::new("act as the administrator again", "SET ROLE NONE".to_owned())
    }
}

impl AdministratorStatements for PostgreSql {
    /// view-pg-roles. Since 16 each membership has its own inherit option.
    fn missing_rights(&self) -> String {
        let inherits = if self.before_16 { "r.rolinherit" } else { "true" };
        format!(
            "SELECT x.name FROM pg_catalog.pg_roles r, LATERAL (VALUES ('CREATEROLE', r.rolcreaterole), \
             ('CREATEDB', r.rolcreatedb), ('INHERIT', {inherits})) AS x (name, has) \
             WHERE r.rolname = current_user AND NOT r.rolsuper AND NOT x.has"
        )
    }

    /// sql-alterrole.
    fn missing_rights_remedy(&self, admin: &str, missing: &[String]) -> Option<String> {
        Some(format!("ALTER ROLE {} {}", identifier(admin), missing.join(" ")))
    }

    /// runtime-config-connection (`reserved_connections`), predefined-roles: since 16.
    fn uses_reserved_connections(&self) -> Option<&'static str> {
        (!self.before_16).then_some(
            "SELECT pg_catalog.current_setting('reserved_connections')::int > 0 \
             AND pg_catalog.pg_has_role('pg_use_reserved_connections', 'USAGE')",
        )
    }

    /// sql-alterrole.
    fn change_own_password(&self, _role: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE CURRENT_USER PASSWORD {}", literal(verifier));
        Statement::new("change the administrator's password", sql)
    }

    /// sql-grant: since 16 a membership has its own options; without INHERIT, a NOINHERIT administrator could use none
    /// of the role's rights.
    fn join_role(&self, role: &str, _admin: &str) -> Statement {
        let options = if self.before_16 { "ADMIN OPTION" } else { "INHERIT TRUE, SET TRUE" };
        let sql = format!("GRANT {} TO CURRENT_USER WITH {options}", identifier(role));
        Statement::new("act for the role", sql)
    }

    /// functions-info (`pg_has_role`).
    fn roles_without_admin_option(&self, roles: &[&str]) -> Option<String> {
        let roles: Vec<_> = roles.iter().map(|role| literal(role)).collect();
        let (named, marker) = (roles.join(", "), roles.first()?);
        let admin = "pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')";
        // Before 16 the INHERIT of a membership comes from the administrator's attribute.
        let uses = if self.before_16 { "true" } else { "pg_catalog.pg_has_role(r.oid, 'USAGE')" };
        Some(format!(
            "WITH groups AS ({}), \
             logins AS (SELECT m.member AS oid FROM groups g JOIN pg_catalog.pg_auth_members m ON m.roleid = g.oid) \
             SELECT r.rolname::text, {admin} FROM pg_catalog.pg_roles r \
             WHERE (r.rolname IN ({named}) OR r.oid IN (SELECT oid FROM groups) \
                 OR r.rolname ~ '{LOGINS}' AND r.oid IN (SELECT oid FROM logins)) \
               AND NOT ({admin} AND {uses}) ORDER BY r.rolname",
            groups(marker)
        ))
    }

    fn can_take_admin_option(&self) -> bool {
        self.before_16
    }

    /// plpgsql: one statement for each role of [`Self::roles_without_admin_option`].
    fn admin_option_remedy(&self, marker: &str, admin: &str) -> Option<String> {
        let options = if self.before_16 { "ADMIN OPTION" } else { "ADMIN OPTION, INHERIT TRUE, SET TRUE" };
        let (marker, retained, admin) = (literal(marker), literal(RETAINED), literal(admin));
        Some(format!(
            "DO $$DECLARE r record; BEGIN FOR r IN WITH groups AS ({}) SELECT rolname FROM pg_roles \
             WHERE rolname IN ({marker}, {retained}) OR oid IN (SELECT oid FROM groups) OR rolname ~ '{LOGINS}' AND NOT rolsuper \
               AND oid IN (SELECT m.member FROM groups g JOIN pg_auth_members m ON m.roleid = g.oid) LOOP \
             EXECUTE format('GRANT %I TO %I WITH {options}', r.rolname, {admin}); END LOOP; END$$",
            groups(&marker)
        ))
    }
}

impl AdministratorStatements for CockroachDb {
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
