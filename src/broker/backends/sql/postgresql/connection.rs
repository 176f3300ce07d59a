//! Administrator connections to a server: login, timeouts and statements. The password is read again for each
//! connection.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_postgres::{
    Client, Config, Connection, NoTls, Row,
    config::SslMode as TlsUse,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    super::{
        admin_login::log_in,
        error::{SharedConnectError, SharedSqlError},
        settings::ServerSettings,
    },
    dialect::{Dialect, Statement},
    engine::Engine,
    error::{ConnectError, SqlError},
    pooler,
    start::{self, CHANGE_TIMEOUT, Place, Signature},
};
use crate::broker::{config::SslMode, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any catalog query takes on a healthy server.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than the server's own timeout, so that the server reports what it cancelled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(365);
/// If the peer does not acknowledge data within this time, the connection is broken.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(35);
/// Shorter than the time after which gateways and firewalls drop an idle connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// An open connection to one database of a server.
pub(super) struct Session {
    client: Client,
    engine: Engine,
    /// The number of statements without an answer.
    unanswered: AtomicUsize,
    /// Whether the connection goes through a pooler.
    is_pooled: bool,
    /// Counts this session towards the limit on open sessions.
    permit: Option<OwnedSemaphorePermit>,
}

/// An authenticated connection, and the version that a `CockroachDB` server announces by itself.
struct Dialed {
    client: Client,
    announced: Option<String>,
}

impl Session {
    /// Opens a session. The engine may be known from another session.
    pub(super) async fn open(
        server: &ServerSettings,
        database: &str,
        known: Option<Engine>,
    ) -> Result<Self, ConnectError> {
        let signature = Signature::new();
        let opening = async {
            let Dialed { client, announced } =
                match dial(server, &settings(server, database, known, Some(&signature))).await {
                    Err(error) if error.refuses_options() => {
                        dial(server, &settings(server, database, known, None)).await?
                    }
                    dialed => dialed?,
                };
            let version = match announced {
                Some(version) => version,
                None => text(&client, "SELECT pg_catalog.version()").await?,
            };
            let engine = Engine::parse(&version).ok_or(ConnectError::UnknownEngine)?;
            let is_pooled = match engine {
                Engine::CockroachDb { .. } => false,
                Engine::PostgreSql { major } => {
                    let place =
                        if database == server.database { Place::Maintenance } else { Place::Instance };
                    !start::start(&client, major, place, &signature).await?
                }
            };
            Ok(Self { client, engine, unanswered: AtomicUsize::new(0), is_pooled, permit: None })
        };
        let session = within_connect_timeout(opening).await?;
        if session.is_pooled {
            let twin = within_connect_timeout(dial(server, &settings(server, database, known, None))).await;
            let Dialed { client: twin, .. } = twin.map_err(|_| ConnectError::PoolTooSmall)?;
            pooler::must_keep_sessions(&session.client, &twin).await?;
        }
        Ok(session)
    }

    pub(super) fn set_permit(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.permit = permit;
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    pub(super) fn dialect(&self) -> &'static dyn Dialect {
        self.engine.dialect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the session can be reused: it is open and has no abandoned statement. Sessions through a pooler are not
    /// reused: the pooler may change them at any time, and an idle one would occupy a connection of the pool.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_pooled && !self.is_closed() && self.unanswered.load(Ordering::Relaxed) == 0
    }

    /// Waits for an answer. After a timeout or cancellation the session is unusable.
    async fn answer<T>(
        &self,
        within: Duration,
        does: &'static str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<Result<T, tokio_postgres::Error>, SqlError> {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(within, asked).await.map_err(|_| SharedSqlError::Timeout { does })?;
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        Ok(answer)
    }

    /// Runs statements one after the other, each in its own transaction: neither engine creates or drops databases
    /// inside a transaction, and CockroachDB commits before every schema change.
    pub(super) async fn run(&self, statements: impl IntoIterator<Item = Statement>) -> Result<(), SqlError> {
        for Statement { sql, does, done_already } in statements {
            match self.answer(ANSWER_TIMEOUT, does, self.client.batch_execute(&sql)).await? {
                Err(error) if error.code().is_some_and(|code| done_already.contains(code)) => {}
                Err(error) => return Err(SqlError::Failed { does, error }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The rows of a read-only query.
    pub(super) async fn rows(
        &self,
        does: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, SqlError> {
        let answer = self.answer(READ_TIMEOUT, does, self.client.query_typed(sql, parameters)).await?;
        answer.map_err(|error| SqlError::Failed { does, error })
    }

    /// The first column of a query, as text.
    pub(super) async fn texts(&self, does: &'static str, sql: &str) -> Result<Vec<String>, SqlError> {
        Ok(self.rows(does, sql, &[]).await?.iter().map(|row| row.get(0)).collect())
    }
}

/// Settings that can prevent a session from starting or working, each with the first PostgreSQL version that knows it.
/// The owner of a database can change all of them there. The first statements of the session reset the owner's other
/// settings ([`start`]).
const AT_START: [(&str, &str, u32); 10] = [
    // A library that does not exist would end the session.
    ("local_preload_libraries", "", 0),
    ("role", "none", 0),
    ("lock_timeout", "3s", 0),
    ("exit_on_error", "off", 0),
    ("tcp_user_timeout", "0", 0),
    ("default_transaction_isolation", r"read\ committed", 0),
    ("default_transaction_deferrable", "off", 0),
    ("idle_session_timeout", "0", 14),
    ("client_connection_check_interval", "0", 14),
    ("transaction_timeout", "0", 17),
];

async fn within_connect_timeout<T>(
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    timeout(CONNECT_TIMEOUT, work).await.map_err(|_| SharedConnectError::Timeout(CONNECT_TIMEOUT))?
}

async fn dial(server: &ServerSettings, config: &Config) -> Result<Dialed, ConnectError> {
    let with = |password| dial_with(server, config.clone(), password);
    log_in(server.password.as_ref(), with, ConnectError::is_wrong_login).await
}

async fn dial_with(
    server: &ServerSettings,
    mut config: Config,
    password: Option<SecretString>,
) -> Result<Dialed, ConnectError> {
    if let Some(password) = password {
        config.password(password.expose_secret());
    }
    if server.sslmode == SslMode::Disable {
        config.ssl_mode(TlsUse::Disable);
        let (client, connection) = config.connect(NoTls).await?;
        return Ok(drive(client, connection));
    }
    config.ssl_mode(TlsUse::Require);
    let tls = tls::client_config(server.protection()).await.map_err(SharedConnectError::from)?;
    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
    Ok(drive(client, connection))
}

fn drive<S>(client: Client, connection: Connection<tokio_postgres::Socket, S>) -> Dialed
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let announced = connection.parameter("crdb_version").map(ToOwned::to_owned);
    // The task ends when the client is dropped, or with an error that the client reports at its next use.
    tokio::spawn(connection);
    Dialed { client, announced }
}

async fn text(client: &Client, sql: &str) -> Result<String, ConnectError> {
    let rows = client.query_typed(sql, &[]).await?;
    Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
}

/// The connection settings except the password and TLS.
///
/// The owner of a database can set defaults for all sessions in it, including the administrator's (ALTER DATABASE …
/// SET). Start-up options override these defaults (runtime-config: "Parameter Interaction via the Configuration File";
/// CockroachDB, connection-parameters: "Supported options parameters"), so that a tenant's timeout cannot end the
/// session before [`start`] sets everything by SQL. Poolers drop or reject options: `signature` only arrives on a
/// direct connection to the server.
fn settings(
    server: &ServerSettings,
    database: &str,
    known: Option<Engine>,
    signature: Option<&Signature>,
) -> Config {
    let mut config = Config::new();
    config
        .host(&server.host)
        .port(server.port)
        .user(&server.user)
        .dbname(database)
        .application_name("bindery")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(ACKNOWLEDGE_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    let Some(signature) = signature else { return config };
    let mut options = format!(
        "-c statement_timeout={} -c search_path=pg_catalog -c {signature}",
        CHANGE_TIMEOUT.as_millis()
    );
    // Only an administrator of the server can set defaults for the maintenance database.
    if database != server.database {
        options.push_str(" -c default_transaction_read_only=off");
    }
    // A server rejects settings that it does not know. The first session, which detects the engine, is in the
    // maintenance database, which no user owns.
    if let Some(Engine::PostgreSql { major }) = known {
        for (name, value, _) in AT_START.into_iter().filter(|(.., since)| *since <= major) {
            options.extend([" -c ", name, "=", value]);
        }
    }
    config.options(options);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_roles_have_their_five_minutes_and_idle_connections_are_kept_alive() {
        let server = ServerSettings {
            name: "main".into(),
            host: "h".to_owned(),
            port: 1,
            client_host: None,
            client_port: None,
            user: "u".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            sslmode: SslMode::Require,
            ca_file: None,
            cert_file: None,
            key_file: None,
            max_connections: 3,
            client_ca: None,
        };
        let signature = Signature::new();
        let config = settings(&server, "d", None, Some(&signature));
        let options = config.get_options().unwrap();
        let milliseconds = options.strip_prefix("-c statement_timeout=").unwrap().split(' ').next().unwrap();
        let on_server = Duration::from_millis(milliseconds.parse().unwrap());
        assert!(options.contains("-c search_path=pg_catalog") && !options.contains("idle_session_timeout"));
        for (major, known, unknown) in [
            (13, "-c local_preload_libraries= ", "idle_session_timeout"),
            (15, "-c idle_session_timeout=0", "transaction_timeout"),
            (17, "-c transaction_timeout=0", "nothing"),
        ] {
            let config = settings(&server, "d", Some(Engine::PostgreSql { major }), Some(&signature));
            let options = config.get_options().unwrap();
            assert!(options.contains(known) && !options.contains(unknown), "{options}");
        }
        assert!(on_server > Duration::from_mins(5) && on_server < ANSWER_TIMEOUT, "{on_server:?}");
        assert!(config.get_keepalives() && config.get_keepalives_idle() <= Duration::from_mins(1));
        assert!(config.get_keepalives_interval().is_some() && config.get_keepalives_retries().is_some());
    }
}
