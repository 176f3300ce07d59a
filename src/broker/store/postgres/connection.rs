//! Connections to the database: the pool, errors, and which errors to retry.

use std::{error::Error as _, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult},
};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Connection, NoTls, Row, Socket,
    config::SslMode as TlsUse,
    error::SqlState,
    tls::TlsStream,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use crate::broker::{
    config::{ConfigError, SslMode},
    tls::{self, Protection, TlsError},
};

/// Longer than the server's own timeout.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// The maximum number of sessions of a broker, each with one short transaction at a time.
const POOL_SIZE: usize = 10;
/// How long to wait for a session when all are in use.
const POOL_TIMEOUT: Duration = Duration::from_secs(10);

/// A typed parameter of a statement; giving the type saves a round trip.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a statement or a transaction failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("{}", refused(.0))]
    Refused(tokio_postgres::Error),
    #[error("{}", server_message(.0))]
    Failed(tokio_postgres::Error),
    #[error("no answer within {} seconds; check that it runs, and the network", .0.as_secs())]
    Timeout(Duration),
    #[error("all {POOL_SIZE} sessions are busy; check what the database waits for")]
    Busy,
    #[error(transparent)]
    Password(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Problem {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) | Self::Failed(error) => error.code(),
            _ => None,
        }
    }

    /// Whether an immediate retry may succeed: after a conflict, or when the server may have restarted.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(error) | Self::Failed(error) => {
                error.code().map_or_else(|| lost_its_connection(error), is_passing)
            }
            _ => false,
        }
    }

    /// Whether the work may have been committed despite the error.
    pub(super) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Failed(error) => error.code().is_none_or(|code| {
                *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
                    || code.code().starts_with("08")
                    || code.code().starts_with("57P")
            }),
            Self::Timeout(_) => true,
            _ => false,
        }
    }
}

/// Codes worth a retry: conflicts of transactions, which CockroachDB leaves to its clients
/// (<https://www.cockroachlabs.com/docs/stable/transaction-retry-error-reference>), including those with an unknown
/// outcome; and servers that shut down, start or fail over.
fn is_passing(code: &SqlState) -> bool {
    let known = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        // A primary that became a standby; another host may be the primary now.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    known.contains(code) || code.code().starts_with("08")
}

/// Whether the connection ended or could not be opened, as opposed to an error that the server reported.
fn lost_its_connection(error: &tokio_postgres::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    // An untrusted certificate is an `io::Error`, too.
    error.is_closed() || io.is_some_and(|io| io.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()))
}

/// The server's message with its code, or why the connection ended; never a statement or a detail.
fn server_message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Why a connection was refused, and the remedy.
fn refused(error: &tokio_postgres::Error) -> String {
    let message = server_message(error);
    let remedy = match error.code() {
        Some(code)
            if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) =>
        {
            "check user, password and sslcert"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "make the database, or name another",
        Some(code) if *code == SqlState::PROTOCOL_VIOLATION && message.contains("startup parameter") => {
            "a pooler that takes no start-up options is no place for the store; name the server itself in the URL"
        }
        Some(_) => "check the URL",
        None if message.contains("certificate") || message.contains("TLS") => "check sslrootcert and sslmode",
        None => "check that it runs, its host, port and the network",
    };
    format!("cannot connect: {message}; {remedy}")
}

/// Opens connections. Reads the password again for each.
struct Manager(Address);

impl managed::Manager for Manager {
    type Type = Client;
    type Error = Problem;

    async fn create(&self) -> Result<Client, Problem> {
        let address = &self.0;
        // Each host has its own connect timeout; this one also covers the steps after connecting.
        let hosts = u32::try_from(address.config.get_hosts().len()).unwrap_or(u32::MAX);
        let patience = address.connect_timeout * (hosts + 1);
        timeout(patience, connect(address)).await.map_err(|_| Problem::Timeout(patience))?
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Problem> {
        if client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

async fn connect(address: &Address) -> Result<Client, Problem> {
    let mut config = address.config.clone();
    if let Some(password) = &address.password {
        config.password(password.read().await?.expose_secret());
    }
    if address.sslmode == SslMode::Disable {
        config.ssl_mode(TlsUse::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(Problem::Refused)?;
        attend(connection);
        return Ok(client);
    }
    config.ssl_mode(TlsUse::Require);
    let protection = Protection {
        sslmode: address.sslmode,
        ca_file: address.ca_file.as_deref(),
        cert_file: address.cert_file.as_deref(),
        key_file: address.key_file.as_deref(),
    };
    let tls = MakeRustlsConnect::new(tls::client_config(protection).await?);
    let (client, connection) = config.connect(tls).await.map_err(Problem::Refused)?;
    attend(connection);
    Ok(client)
}

/// Drives the connection. It ends when the client is dropped, or with an error that the client reports at its next
/// use.
fn attend<S: TlsStream + Unpin + Send + 'static>(connection: Connection<Socket, S>) {
    tokio::spawn(connection);
}

/// A small pool of connections, opened on demand.
#[derive(Clone)]
pub(super) struct Pool(managed::Pool<Manager>);

impl Pool {
    #[expect(clippy::expect_used, reason = "a pool with a runtime is built")]
    pub(super) fn new(address: Address) -> Self {
        let builder = managed::Pool::builder(Manager(address)).max_size(POOL_SIZE);
        let builder = builder.runtime(Runtime::Tokio1).wait_timeout(Some(POOL_TIMEOUT));
        Self(builder.build().expect("its runtime is named"))
    }

    /// The rows of a query. Retries it, so the query must be idempotent.
    pub(super) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Problem> {
        (|| self.once(async |client| client.query_typed(sql, parameters).await))
            .retry(retries())
            .when(Problem::is_passing)
            .notify(|problem, _| tracing::debug!("the store is asked again: {problem}"))
            .await
    }

    /// Runs work on a connection. Discards a connection that did not answer or is in an unknown state.
    pub(super) async fn once<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Problem> {
        let mut client = self.0.get().await.map_err(|error| match error {
            PoolError::Backend(problem) => problem,
            _ => Problem::Busy,
        })?;
        let worked = timeout(ANSWER_TIMEOUT, work(&mut client)).await;
        let worked = worked
            .map_err(|_| Problem::Timeout(ANSWER_TIMEOUT))
            .and_then(|done| done.map_err(Problem::Failed));
        let is_spent = |problem: &Problem| {
            problem.code().is_none_or(|code| *code == SqlState::READ_ONLY_SQL_TRANSACTION)
        };
        if worked.as_ref().is_err_and(is_spent) {
            drop(Object::take(client));
        }
        worked
    }
}

/// Enough for a server restart and for several brokers that contend for one row.
pub(super) fn retries() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(10)
        .with_jitter()
}
