//! Administrator connections to a server: login, TLS, timeouts, statements, and detection of the engine. Passwords,
//! the CA and the client certificate are read again for each connection.

use std::{fmt, time::Duration};

use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, Row, SslOpts, Value, prelude::Queryable};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    super::{
        admin_login::log_in,
        error::{SharedConnectError, SharedSqlError},
        settings::ServerSettings,
    },
    dialect::{self, Dialect, Statement},
    error::{ConnectError, SqlError, is_ended},
};
use crate::broker::{config::SslMode, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any read takes on a healthy server.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Dropping a large database takes long.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(5);
/// Shorter than the time after which gateways and firewalls drop an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// In seconds; must match [`SET_UP`].
pub(super) const LOCK_WAIT: u64 = 10;
/// The settings of every session: waiting for a lock ends with an error (the default for tables is a year), the server
/// ends a session that the broker abandoned, and neither quoting nor time zones depend on the server's settings.
const SET_UP: &str = "SET SESSION autocommit = 1, lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, wait_timeout = 600, \
    time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// The engine and version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    MySql {
        major: u32,
        minor: u32,
        /// `partial_revokes`: GRANT takes a database's name literally, not as a pattern.
        literal_grants: bool,
    },
    MariaDb {
        major: u32,
        minor: u32,
    },
}

impl Engine {
    /// Parses the result of `SELECT VERSION()`.
    pub(super) fn parse(version: &str) -> Option<Self> {
        let is_mariadb = version.contains("MariaDB");
        // Some proxies keep the prefix that MariaDB sends to old replicas.
        let numbers = version.strip_prefix("5.5.5-").filter(|_| is_mariadb).unwrap_or(version);
        let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        if is_mariadb {
            Some(Self::MariaDb { major, minor })
        } else if version.contains("TiDB") {
            None
        } else {
            Some(Self::MySql { major, minor, literal_grants: false })
        }
    }

    pub(super) fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::MySql { literal_grants: false, .. } => &dialect::MySql { literal_grants: false },
            Self::MySql { literal_grants: true, .. } => &dialect::MySql { literal_grants: true },
            Self::MariaDb { .. } => &dialect::MariaDb,
        }
    }

    /// The oldest supported version, if this version is older. MySQL before 8.0 has neither a separate right to end
    /// other accounts' sessions (`CONNECTION_ADMIN`) nor `caching_sha2_password`. MariaDB has `CONNECTION ADMIN` since
    /// 10.5.2, and 10.6 is its first long-term release with it.
    pub(super) fn too_old(self) -> Option<&'static str> {
        match self {
            Self::MySql { major, .. } if major < 8 => Some("MySQL 8.0"),
            Self::MariaDb { major, minor } if (major, minor) < (10, 6) => Some("MariaDB 10.6"),
            _ => None,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { major, minor, .. } => write!(f, "MySQL {major}.{minor}"),
            Self::MariaDb { major, minor } => write!(f, "MariaDB {major}.{minor}"),
        }
    }
}

/// A row of the text protocol.
pub(super) type Texts = Vec<Option<String>>;

/// An open connection to a server.
pub(super) struct Session {
    conn: Conn,
    engine: Engine,
    /// Whether a statement has no answer yet, or the connection broke.
    is_unanswered: bool,
    /// Held while the session is in use.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(super) async fn open(server: &ServerSettings) -> Result<Self, ConnectError> {
        timeout(CONNECT_TIMEOUT, Self::connect(server))
            .await
            .map_err(|_| SharedConnectError::Timeout(CONNECT_TIMEOUT))?
    }

    async fn connect(server: &ServerSettings) -> Result<Self, ConnectError> {
        let with = |password| Self::log_in(server, password);
        log_in(server.password.as_ref(), with, ConnectError::is_wrong_login).await
    }

    async fn log_in(server: &ServerSettings, password: Option<SecretString>) -> Result<Self, ConnectError> {
        let mut conn = Conn::new(settings(server, password.as_ref()).await?).await?;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
        let mut engine = version.as_deref().and_then(Engine::parse).ok_or(ConnectError::UnknownEngine)?;
        if let Engine::MySql { literal_grants, .. } = &mut engine {
            // https://dev.mysql.com/doc/refman/8.4/en/partial-revokes.html. Servers before 8.0.16 do not know the
            // variable, so SHOW finds no row where SELECT would fail.
            let row: Option<Row> = conn.query_first("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'").await?;
            *literal_grants = row.is_some_and(|row| texts(row).get(1) == Some(&Some("ON".to_owned())));
        }
        // MySQL's super_read_only sets read_only, too.
        let read_only: Option<String> = conn.query_first("SELECT @@GLOBAL.read_only").await?;
        if read_only.is_some_and(|value| !["0", "OFF"].contains(&value.as_str())) {
            return Err(ConnectError::ReadOnly);
        }
        Ok(Self { conn, engine, is_unanswered: false, permit: None })
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    pub(super) fn dialect(&self) -> &'static dyn Dialect {
        self.engine.dialect()
    }

    /// Whether the session can be used again.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_unanswered
    }

    /// Runs statements one after the other, without a transaction: on both engines, statements that change the schema
    /// or accounts commit implicitly.
    pub(super) async fn run(
        &mut self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Result<(), SqlError> {
        for Statement { sql, does, done_already } in statements {
            self.is_unanswered = true;
            let ran = timeout(CHANGE_TIMEOUT, self.conn.query_drop(sql)).await;
            let ran = ran.map_err(|_| SharedSqlError::Timeout { does })?;
            self.is_unanswered = breaks(&ran);
            match ran {
                Err(mysql_async::Error::Server(refusal)) if done_already.contains(&refusal.code) => {}
                Err(error) => return Err(SqlError::Failed { does, error }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The rows of a read-only query.
    pub(super) async fn rows(&mut self, does: &'static str, sql: &str) -> Result<Vec<Texts>, SqlError> {
        self.is_unanswered = true;
        let ran = timeout(READ_TIMEOUT, self.conn.query(sql)).await;
        let ran = ran.map_err(|_| SharedSqlError::Timeout { does })?;
        self.is_unanswered = breaks(&ran);
        let rows: Vec<Row> = ran.map_err(|error| SqlError::Failed { does, error })?;
        Ok(rows.into_iter().map(texts).collect())
    }

    /// The first column of a query.
    pub(super) async fn column(&mut self, does: &'static str, sql: &str) -> Result<Vec<String>, SqlError> {
        let rows = self.rows(does, sql).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }
}

/// Whether an error ends the connection. The server's own errors do not, except those that report the session's end.
fn breaks<T>(answer: &Result<T, mysql_async::Error>) -> bool {
    match answer {
        Ok(_) => false,
        Err(mysql_async::Error::Server(refusal)) => is_ended(Some(refusal.code)),
        Err(_) => true,
    }
}

/// The text protocol has only bytes and NULL.
fn texts(row: Row) -> Texts {
    let text = |value| match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    };
    row.unwrap().into_iter().map(text).collect()
}

async fn settings(server: &ServerSettings, password: Option<&SecretString>) -> Result<Opts, ConnectError> {
    let mut builder = OptsBuilder::default()
        .ip_or_hostname(server.host.as_str())
        .tcp_port(server.port)
        .user(Some(server.user.as_str()))
        .tcp_keepalive(Some(KEEPALIVE))
        .pass(password.map(ExposeSecret::expose_secret))
        // Connect to the configured address even on the same machine.
        .prefer_socket(false)
        .stmt_cache_size(0)
        // A fixed value saves a query per connection.
        .max_allowed_packet(Some(16 << 20))
        .wait_timeout(Some(600))
        .init(vec![SET_UP])
        .connect_attribute("program_name", "bindery");
    if server.sslmode != SslMode::Disable {
        builder = builder.ssl_opts(tls(server).await?);
    }
    Ok(builder.into())
}

/// The server name that `verify-ca` uses.
const ANY_NAME: &str = "NotValidForName";

/// The TLS settings of libpq's `sslmode`, as in [`tls`].
async fn tls(server: &ServerSettings) -> Result<SslOpts, ConnectError> {
    // The driver's errors do not name the file, so check the files first.
    drop(tls::client_config(server.protection()).await.map_err(SharedConnectError::from)?);
    let mut options = SslOpts::default();
    if let (Some(certificate), Some(key)) = (server.cert_file.clone(), server.key_file.clone()) {
        options = options.with_client_identity(Some(ClientIdentity::new(certificate.into(), key.into())));
    }
    let Some(ca_file) = server.ca_file.clone() else {
        // The server proves only that it has the key of its certificate. The driver needs root certificates anyway.
        return Ok(options.with_danger_accept_invalid_certs(true));
    };
    options = options.with_root_certs(vec![ca_file.into()]).with_disable_built_in_roots(true);
    Ok(match server.sslmode {
        SslMode::VerifyFull => options,
        // mysql_async 0.37 accepts any TLS error whose text contains this word as an error of the server's name. The
        // error of rustls, raised after the chain was verified, lacks the word but contains the expected name.
        _ => {
            options.with_danger_skip_domain_validation(true).with_danger_tls_hostname_override(Some(ANY_NAME))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("10.11.19-MariaDB-0+deb12u1", "MariaDB 10.11")]
    #[case("5.5.5-10.6.3-MariaDB-log", "MariaDB 10.6")]
    #[case("8.0.36", "MySQL 8.0")]
    #[case("8.4.2-2-Percona", "MySQL 8.4")]
    fn engines_are_recognized(#[case] version: &str, #[case] shown: &str) {
        let engine = Engine::parse(version).unwrap();
        assert_eq!(engine.to_string(), shown);
        assert_eq!(engine.too_old(), None);
    }

    #[test]
    fn old_and_unknown_engines_are_found_out() {
        assert_eq!(Engine::parse("8.0.11-TiDB-v7.5.0"), None);
        assert_eq!(Engine::parse("PostgreSQL 15.1"), None);
        assert_eq!(Engine::parse("5.7.44-log").unwrap().too_old(), Some("MySQL 8.0"));
        assert_eq!(Engine::parse("10.5.23-MariaDB").unwrap().too_old(), Some("MariaDB 10.6"));
    }
}
