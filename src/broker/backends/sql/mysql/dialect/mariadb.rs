//! MariaDB 10.6 and later. The tests run on MariaDB.

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};

use super::{
    super::quote::{account, pattern, quoted},
    CHANGES_OWN, Dialect, Entry, NEVER_EXPIRES, Statement,
};

/// The dialect of MariaDB.
pub(in crate::broker::backends::sql::mysql) struct MariaDb;

impl Dialect for MariaDb {
    /// <https://mariadb.com/kb/en/create-user/>: sends the hash instead of the password, so that no log has the
    /// password.
    fn create_login(&self, entry: Entry<'_>) -> Statement {
        let (login, hash, require) = (account(entry.login), hash(entry.password), entry.require());
        let sql = format!(
            "CREATE USER {login} IDENTIFIED VIA mysql_native_password USING {} {require} {} {NEVER_EXPIRES}",
            quoted(&hash),
            entry.limit()
        );
        Statement::new("create the login", sql)
    }

    /// <https://mariadb.com/kb/en/alter-user/>.
    fn set_password(&self, entry: Entry<'_>) -> Statement {
        let (login, hash) = (account(entry.login), hash(entry.password));
        let (require, lock) = (entry.require(), entry.lock());
        let sql = format!(
            "ALTER USER {login} IDENTIFIED VIA mysql_native_password USING {} {require} {} {lock} {NEVER_EXPIRES}",
            quoted(&hash),
            entry.limit()
        );
        Statement::new("set the login's password", sql)
    }

    /// <https://mariadb.com/kb/en/set-password/>: changes only the password of the current account; sends the hash, as
    /// for logins.
    fn change_own_password(&self, next: &SecretString) -> Statement {
        Statement::new(CHANGES_OWN, format!("SET PASSWORD = {}", quoted(&hash(next))))
    }

    fn password(&self, generated: SecretString) -> SecretString {
        generated
    }

    /// <https://mariadb.com/kb/en/grant/>, "Database Privileges".
    fn grant_name(&self, database: &str) -> String {
        pattern(database)
    }

    /// <https://mariadb.com/kb/en/grant/>, "Global Privileges".
    fn ending_right(&self) -> &'static str {
        "CONNECTION ADMIN"
    }
}

/// The result of `PASSWORD()`: <https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/>.
fn hash(password: &SecretString) -> String {
    let twice = Sha1::digest(Sha1::digest(password.expose_secret()));
    let hex: String = twice.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("*{hex}")
}
