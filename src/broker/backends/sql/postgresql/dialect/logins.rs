//! Statements about logins, one for each binding.

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    CockroachDb, InstanceNames, Login, PostgreSql, RoleStatements, Statement,
    cockroachdb::options,
    postgresql::{attributes, limit},
};

pub(in crate::broker::backends::sql::postgresql) trait LoginStatements {
    /// Creates a login that does not exist yet.
    fn create_login(&self, login: Login<'_>) -> Statement;

    /// Gives an existing login a new password and allows it to log in.
    fn renew_login(&self, login: Login<'_>) -> Statement;

    /// Gives a login the rights of its group. An owner's login acts as the owner in the instance's database.
    fn grant_login_rights(&self, login: Login<'_>, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Changes a login's connection limit; `None` where the engine has no such limit.
    fn limit_connections(&self, _login: &str, _connections: Option<u32>) -> Option<Statement> {
        None
    }

    /// Whether the engine limits the connections of a login.
    fn limits_connections(&self) -> bool {
        self.limit_connections("", None).is_some()
    }

    /// Prevents a role from logging in permanently.
    fn disable_login(&self, role: &str) -> Statement;

    /// Prevents a role from logging in until [`Self::unlock_login`].
    fn lock_login(&self, role: &str) -> Statement {
        Statement::new("lock the login", format!("ALTER ROLE {} NOLOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// Allows a role to log in again.
    fn unlock_login(&self, role: &str) -> Statement {
        Statement::new("unlock the login", format!("ALTER ROLE {} LOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// A query for expired logins that can still log in or have sessions, among the members of groups with the mark
    /// `$1`.
    fn expired_logins(&self) -> &'static str;

    /// A query for whether a role has expired.
    fn is_expired(&self, role: &str) -> String {
        let role = literal(role);
        format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = {role} AND rolvaliduntil <= now()")
    }
}

impl LoginStatements for PostgreSql {
    /// sql-createrole; the server stores a SCRAM verifier as it is. VALID UNTIL applies only to passwords, so
    /// [`Self::expired_logins`] are locked out as well.
    fn create_login(&self, login: Login<'_>) -> Statement {
        let (attributes, group) = (attributes(login), identifier(login.group));
        let (login, administered) = (identifier(login.name), self.administered());
        let sql = format!("CREATE ROLE {login} LOGIN {attributes} IN ROLE {group}{administered}");
        Statement::new("create the login", sql)
    }

    /// sql-alterrole.
    fn renew_login(&self, login: Login<'_>) -> Statement {
        let sql = format!("ALTER ROLE {} LOGIN {}", identifier(login.name), attributes(login));
        Statement::new("renew the login", sql)
    }

    /// sql-alterrole (IN DATABASE … SET role): the owner role owns what its logins create, so all of these logins can
    /// use it.
    fn grant_login_rights(&self, login: Login<'_>, names: InstanceNames<'_>) -> Vec<Statement> {
        if login.group != names.owner {
            return Vec::new();
        }
        let (login, owner) = (identifier(login.name), literal(names.owner));
        let sql = format!("ALTER ROLE {login} IN DATABASE {} SET role = {owner}", identifier(names.database));
        vec![Statement::new("make the login act as the owner", sql)]
    }

    /// sql-alterrole (CONNECTION LIMIT): superusers are not limited.
    fn limit_connections(&self, login: &str, connections: Option<u32>) -> Option<Statement> {
        let sql = format!("ALTER ROLE {} CONNECTION LIMIT {}", identifier(login), limit(connections));
        Some(Statement::new("limit the login's connections", sql).unless(&[SqlState::UNDEFINED_OBJECT]))
    }

    /// sql-alterrole.
    fn disable_login(&self, role: &str) -> Statement {
        Statement::new("disable the login", format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(role)))
    }

    fn expired_logins(&self) -> &'static str {
        "SELECT DISTINCT l.rolname::text FROM pg_roles k JOIN pg_auth_members gm ON k.oid IN (gm.member, gm.roleid) \
         JOIN pg_auth_members lm ON lm.roleid IN (gm.member, gm.roleid) AND lm.roleid <> k.oid \
         JOIN pg_roles l ON l.oid = lm.member \
         WHERE k.rolname::text = $1 AND l.rolvaliduntil <= now() \
           AND (l.rolcanlogin OR EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.usesysid = l.oid))"
    }
}

impl LoginStatements for CockroachDb {
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
    fn grant_login_rights(&self, login: Login<'_>, _names: InstanceNames<'_>) -> Vec<Statement> {
        vec![self.grant_role(login.group, login.name)]
    }

    /// alter-user.
    fn disable_login(&self, role: &str) -> Statement {
        let sql = format!("ALTER USER IF EXISTS {} WITH NOLOGIN PASSWORD NULL", identifier(role));
        Statement::new("disable the login", sql)
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
}
