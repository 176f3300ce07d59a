//! The account statements that differ between the engines, as data. Nothing here does IO, so tests can compare
//! statements. The constructors of [`Statement`] are the same for both engines.

mod mariadb;
mod mysql;

use secrecy::SecretString;

use super::{
    error::NO_SUCH_SESSION,
    quote::{account, identifier},
};
use crate::broker::backends::sql::plan::Access;

pub(super) use self::{mariadb::MariaDb, mysql::MySql};

/// Overrides `default_password_lifetime`: the broker expires credentials itself, and nobody renews a password
/// (<https://dev.mysql.com/doc/refman/8.4/en/password-management.html>,
/// <https://mariadb.com/kb/en/user-password-expiry/>).
const NEVER_EXPIRES: &str = "PASSWORD EXPIRE NEVER";

const CHANGES_OWN: &str = "change the administrator's password";

/// A statement, and the errors that mean that nothing is left to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// What the statement does, for error messages.
    pub(super) does: &'static str,
    pub(super) done_already: &'static [u16],
}

/// How a login may connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) login: &'a str,
    pub(super) password: &'a SecretString,
    /// Only over TLS.
    pub(super) is_encrypted: bool,
    /// The account is locked.
    pub(super) is_locked: bool,
    /// The maximum number of open connections; `None` is the server's default.
    pub(super) connections: Option<u32>,
}

impl Entry<'_> {
    fn require(&self) -> &'static str {
        if self.is_encrypted { "REQUIRE SSL" } else { "REQUIRE NONE" }
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/user-resources.html>: 0 means the server's `max_user_connections`.
    fn limit(&self) -> String {
        format!("WITH MAX_USER_CONNECTIONS {}", self.connections.unwrap_or(0))
    }

    fn lock(&self) -> &'static str {
        if self.is_locked { "ACCOUNT LOCK" } else { "ACCOUNT UNLOCK" }
    }
}

/// The account statements of one engine.
pub(super) trait Dialect: Send + Sync {
    /// Creates a login that does not exist yet.
    fn create_login(&self, entry: Entry<'_>) -> Statement;

    /// Gives an existing login a new password, and locks or unlocks it.
    fn set_password(&self, entry: Entry<'_>) -> Statement;

    /// Changes the password of the administrator that is logged in. Open sessions continue.
    fn change_own_password(&self, next: &SecretString) -> Statement;

    /// Turns a generated password into one that the engine accepts.
    fn password(&self, generated: SecretString) -> SecretString;

    /// The name of a database in GRANT.
    fn grant_name(&self, database: &str) -> String;

    /// The right to end sessions of other accounts.
    fn ending_right(&self) -> &'static str;
}

impl Statement {
    pub(super) fn new(does: &'static str, sql: String) -> Self {
        Self { sql, does, done_already: &[] }
    }

    fn unless(mut self, done_already: &'static [u16]) -> Self {
        self.done_already = done_already;
        self
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/create-database.html>, <https://mariadb.com/kb/en/create-database/>. A
    /// character set other than the default brings its own collation.
    pub(super) fn create_database(name: &str, encoding: Option<&str>) -> Self {
        let encoding = match encoding {
            // The name comes from the plan. It is not an identifier, but the engines accept it quoted as one.
            Some(encoding) => format!("CHARACTER SET {}", identifier(encoding)),
            None => "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci".to_owned(),
        };
        let sql = format!("CREATE DATABASE IF NOT EXISTS {} {encoding}", identifier(name));
        Self::new("create the database", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/drop-database.html>. Grants on the database stay.
    pub(super) fn drop_database(name: &str) -> Self {
        Self::new("drop the database", format!("DROP DATABASE IF EXISTS {}", identifier(name)))
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html>; `database` is already quoted.
    pub(super) fn grant(access: Access, database: &str, login: &str) -> Self {
        let rights = match access {
            Access::Owner => "ALL PRIVILEGES",
            Access::ReadWrite => {
                "SELECT, INSERT, UPDATE, DELETE, EXECUTE, CREATE TEMPORARY TABLES, LOCK TABLES"
            }
            Access::ReadOnly => "SELECT, SHOW VIEW",
        };
        let sql = format!("GRANT {rights} ON {database}.* TO {}", account(login));
        Self::new("grant the login its access", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/revoke.html>: needs only CREATE USER.
    pub(super) fn revoke_all(login: &str) -> Self {
        let sql = format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {}", account(login));
        Self::new("take back what was granted to the login", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/account-locking.html>: open sessions continue, and so does what runs
    /// as the account.
    pub(super) fn lock_login(login: &str) -> Self {
        let sql = format!("ALTER USER IF EXISTS {} ACCOUNT LOCK", account(login));
        Self::new("lock the login", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/alter-user.html>: other properties of the account stay.
    pub(super) fn limit_connections(login: &str, connections: Option<u32>) -> Self {
        let limit = connections.unwrap_or(0);
        let sql = format!("ALTER USER IF EXISTS {} WITH MAX_USER_CONNECTIONS {limit}", account(login));
        Self::new("limit the login's connections", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/account-locking.html>.
    pub(super) fn unlock_login(login: &str) -> Self {
        let sql = format!("ALTER USER IF EXISTS {} ACCOUNT UNLOCK", account(login));
        Self::new("unlock the login", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/kill.html>.
    pub(super) fn end_session(id: u64) -> Self {
        Self::new("end the login's session", format!("KILL CONNECTION {id}")).unless(&[NO_SUCH_SESSION])
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/drop-user.html>: drops the account's grants, too; open sessions
    /// continue.
    pub(super) fn drop_login(login: &str) -> Self {
        Self::new("drop the login", format!("DROP USER IF EXISTS {}", account(login)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(password: &SecretString) -> Entry<'_> {
        Entry { login: "b", password, is_encrypted: true, is_locked: false, connections: Some(5) }
    }

    #[test]
    fn mariadb_gets_a_hash() {
        let password = MariaDb.password("secret".into());
        let sql = MariaDb.create_login(entry(&password)).sql;
        // SELECT PASSWORD('secret')
        let hash = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
        assert_eq!(
            sql,
            format!(
                "CREATE USER 'b'@'%' IDENTIFIED VIA mysql_native_password USING '{hash}' REQUIRE SSL \
                 WITH MAX_USER_CONNECTIONS 5 PASSWORD EXPIRE NEVER"
            )
        );
        assert!(!MariaDb.set_password(entry(&password)).sql.contains("secret"));
    }

    #[test]
    fn mysql_gets_a_password_that_its_policy_takes() {
        let engine = MySql { literal_grants: false };
        let password = engine.password("secret".into());
        let sql = engine.set_password(entry(&password)).sql;
        assert_eq!(
            sql,
            "ALTER USER 'b'@'%' IDENTIFIED WITH caching_sha2_password BY 'secret-0aA' REQUIRE SSL \
             WITH MAX_USER_CONNECTIONS 5 ACCOUNT UNLOCK PASSWORD EXPIRE NEVER"
        );
    }

    #[test]
    fn the_administrator_changes_its_own_password_only() {
        let next = SecretString::from("secret");
        let hash = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
        assert_eq!(MariaDb.change_own_password(&next).sql, format!("SET PASSWORD = '{hash}'"));
        let on_mysql = MySql { literal_grants: false }.change_own_password(&next);
        assert_eq!(on_mysql.sql, "ALTER USER USER() IDENTIFIED BY 'secret'");
    }

    /// `_` matches any character, unless partial revokes are enabled.
    #[test]
    fn a_grant_is_for_one_database() {
        for engine in [&MariaDb as &dyn Dialect, &MySql { literal_grants: false }] {
            assert_eq!(engine.grant_name("cf_a"), r"`cf\_a`");
        }
        assert_eq!(MySql { literal_grants: true }.grant_name("cf_a"), "`cf_a`");
        assert_eq!(
            Statement::grant(Access::ReadOnly, r"`cf\_a`", "b").sql,
            r"GRANT SELECT, SHOW VIEW ON `cf\_a`.* TO 'b'@'%'"
        );
    }

    #[test]
    fn a_database_has_the_default_encoding_or_the_plans() {
        assert_eq!(
            Statement::create_database("d", None).sql,
            "CREATE DATABASE IF NOT EXISTS `d` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
        );
        assert_eq!(
            Statement::create_database("d", Some("latin1")).sql,
            "CREATE DATABASE IF NOT EXISTS `d` CHARACTER SET `latin1`"
        );
    }
}
