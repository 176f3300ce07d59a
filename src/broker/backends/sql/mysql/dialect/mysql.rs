//! MySQL 8. Written from its manual (<https://dev.mysql.com/doc/refman/8.4/en/>, the page is named at each statement);
//! this project's tests did not run these statements on MySQL.

use secrecy::{ExposeSecret, SecretString};

use super::{
    super::{
        error::USED_BEFORE,
        quote::{account, identifier, pattern, quoted},
    },
    CHANGES_OWN, Dialect, Entry, NEVER_EXPIRES, Statement,
};
use crate::broker::backends::password::of_every_kind;

/// The dialect of MySQL.
pub(in crate::broker::backends::sql::mysql) struct MySql {
    /// <https://dev.mysql.com/doc/refman/8.4/en/partial-revokes.html>: with `partial_revokes`, `_` and `%` are
    /// literal.
    pub(in crate::broker::backends::sql::mysql) literal_grants: bool,
}

impl Dialect for MySql {
    /// <https://dev.mysql.com/doc/refman/8.4/en/create-user.html>. The server keeps the password out of its logs
    /// (<https://dev.mysql.com/doc/refman/8.4/en/password-logging.html>).
    fn create_login(&self, entry: Entry<'_>) -> Statement {
        let (login, require) = (account(entry.login), entry.require());
        let password = quoted(entry.password.expose_secret());
        let sql = format!(
            "CREATE USER {login} IDENTIFIED WITH caching_sha2_password BY {password} {require} {} {NEVER_EXPIRES}",
            entry.limit()
        );
        Statement::new("create the login", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/alter-user.html>; for the password, see [`Self::create_login`].
    fn set_password(&self, entry: Entry<'_>) -> Statement {
        let (login, require, lock) = (account(entry.login), entry.require(), entry.lock());
        let password = quoted(entry.password.expose_secret());
        let sql = format!(
            "ALTER USER {login} IDENTIFIED WITH caching_sha2_password BY {password} {require} {} {lock} {NEVER_EXPIRES}",
            entry.limit()
        );
        Statement::new("set the login's password", sql)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/alter-user.html>. Generated passwords are unique, so a password that
    /// was used before means that this change was interrupted after it succeeded.
    fn change_own_password(&self, next: &SecretString) -> Statement {
        let sql = format!("ALTER USER USER() IDENTIFIED BY {}", quoted(next.expose_secret()));
        Statement::new(CHANGES_OWN, sql).unless(&[USED_BEFORE])
    }

    fn password(&self, generated: SecretString) -> SecretString {
        of_every_kind(&generated)
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/grant.html>, "Database Privileges".
    fn grant_name(&self, database: &str) -> String {
        if self.literal_grants { identifier(database) } else { pattern(database) }
    }

    /// <https://dev.mysql.com/doc/refman/8.4/en/kill.html>.
    fn ending_right(&self) -> &'static str {
        "CONNECTION_ADMIN"
    }
}
