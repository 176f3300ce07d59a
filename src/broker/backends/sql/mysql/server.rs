//! One database server: its settings, its open sessions, and queries about it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    super::error::SharedSqlError,
    super::idle::Idle,
    connection::{Engine, LOCK_WAIT, Session},
    dialect::Statement,
    error::{ConnectError, SqlError},
    quote::literal,
};
use crate::broker::backends::sql::settings::ServerSettings;

/// How long a call waits for a session when all are in use.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A server and its sessions.
pub(super) struct Server {
    pub(super) settings: ServerSettings,
    /// One permit per session in use. Idle sessions are reused first, so that at most this many are open.
    in_use: Arc<Semaphore>,
    idle: SharedIdle,
    engine: OnceLock<Engine>,
}

type SharedIdle = Arc<Mutex<Idle<Session>>>;

/// A session in use. Dropping it returns the session to the idle ones, even after a failure: if clients use all
/// connections of the server, bindery cannot open another.
pub(super) struct Lent {
    /// `Some` until dropped.
    session: Option<Session>,
    idle: SharedIdle,
}

impl Deref for Lent {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "only the drop takes it")]
    fn deref(&self) -> &Session {
        self.session.as_ref().expect("a session")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "only the drop takes it")]
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take().filter(Session::is_usable) {
            // Release the permit only after the session is among the idle ones.
            let permit = session.permit.take();
            locked(&self.idle).put(session);
            drop(permit);
        }
    }
}

fn locked(idle: &SharedIdle) -> MutexGuard<'_, Idle<Session>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(super) fn new(settings: ServerSettings) -> Self {
        let in_use = Arc::new(Semaphore::new(settings.max_connections));
        Self { settings, in_use, idle: SharedIdle::default(), engine: OnceLock::new() }
    }

    /// Takes an idle session or opens one.
    pub(super) async fn session(&self) -> Result<Lent, SqlError> {
        let busy = || ConnectError::Busy { limit: self.settings.max_connections };
        let permit = timeout(BUSY_TIMEOUT, self.in_use.clone().acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        let idle = locked(&self.idle).take(Session::is_usable);
        let mut session = match idle {
            Some(session) => session,
            None => Session::open(&self.settings).await?,
        };
        if self.engine.set(session.engine()).is_ok() {
            tracing::info!(server = %self.settings.name, "engine: {}", session.engine());
        }
        session.permit = Some(permit);
        Ok(Lent { session: Some(session), idle: self.idle.clone() })
    }

    /// Closes the idle sessions: when one breaks, the others may be broken, too.
    pub(super) fn forget_idle(&self) {
        locked(&self.idle).clear();
    }
}

/// The time of the server's clock, which decides when credentials expire.
pub(super) async fn now(session: &mut Session) -> Result<Timestamp, SqlError> {
    const DOES: &str = "read the server's clock";
    let seconds = session.column(DOES, "SELECT UNIX_TIMESTAMP()").await?;
    let seconds = seconds.first().and_then(|seconds| seconds.parse().ok());
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| SharedSqlError::Answer { does: DOES }.into())
}

/// Whether the database exists.
pub(super) async fn has_database(session: &mut Session, name: &str) -> Result<bool, SqlError> {
    let sql = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(name));
    Ok(!session.rows("look for the database", &sql).await?.is_empty())
}

/// Whether the login exists.
pub(super) async fn has_login(session: &mut Session, name: &str) -> Result<bool, SqlError> {
    let sql = format!("SELECT 1 FROM mysql.user WHERE User = {} AND Host = '%'", literal(name));
    Ok(!session.rows("look for the login", &sql).await?.is_empty())
}

/// All databases.
pub(super) async fn databases(session: &mut Session) -> Result<Vec<String>, SqlError> {
    session.column("list databases", "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA").await
}

/// All accounts that are valid for any host.
pub(super) async fn logins(session: &mut Session) -> Result<Vec<String>, SqlError> {
    session.column("list logins", "SELECT User FROM mysql.user WHERE Host = '%'").await
}

/// Which sessions of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// Sessions of clients; events that run as the login continue.
    OfClients,
    /// All sessions.
    All,
}

/// Selects sessions of clients that can still run something. The command `Connect` also stands for running events,
/// which have no port.
pub(super) const OF_CLIENTS: &str = "(COMMAND <> 'Connect' OR HOST LIKE '%:%') AND COMMAND <> 'Killed'";

/// The ids of a login's sessions. MySQL has deprecated `information_schema.PROCESSLIST`, but it works with any
/// settings; the table in `performance_schema` is empty when that is disabled
/// (<https://dev.mysql.com/doc/refman/8.4/en/information-schema-processlist-table.html>).
pub(super) async fn sessions(
    session: &mut Session,
    login: &str,
    which: Sessions,
) -> Result<Vec<u64>, SqlError> {
    const DOES: &str = "list the login's sessions";
    let which = if which == Sessions::OfClients { OF_CLIENTS } else { "TRUE" };
    let sql =
        format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = {} AND {which}", literal(login));
    let ids = session.column(DOES, &sql).await?;
    ids.iter().map(|id| id.parse().map_err(|_| SharedSqlError::Answer { does: DOES }.into())).collect()
}

/// The sessions in a database, with their accounts.
pub(super) async fn sessions_in(session: &mut Session, database: &str) -> Result<Vec<String>, SqlError> {
    let sql = format!(
        "SELECT CONCAT(ID, ' of account ', USER) FROM information_schema.PROCESSLIST \
         WHERE DB = {} AND ID <> CONNECTION_ID() ORDER BY ID LIMIT 5",
        literal(database)
    );
    session.column("look for sessions in the database", &sql).await
}

/// Whether views, routines, triggers or events of a database may run as a login. They fail when the login is dropped,
/// and so does every INSERT into a table with such a trigger. The server silently omits what is locked after waiting
/// for it, so the only sign is the time that the query took.
pub(super) async fn defines(session: &mut Session, login: &str, database: &str) -> Result<bool, SqlError> {
    const WAIT: Duration = Duration::from_secs(1);
    let wait = |seconds: u64| {
        Statement::new("set the time to wait", format!("SET SESSION lock_wait_timeout = {seconds}"))
    };
    session.run([wait(WAIT.as_secs())]).await?;
    let started = Instant::now();
    let found = found_definitions(session, login, database).await;
    let waited = started.elapsed() >= WAIT;
    // Restore the setting whatever the result, because the session is reused.
    session.run([wait(LOCK_WAIT)]).await?;
    match found {
        Err(error) if error.is_locked() => Ok(true),
        found => Ok(found? || waited),
    }
}

async fn found_definitions(session: &mut Session, login: &str, database: &str) -> Result<bool, SqlError> {
    let (database, definer) = (literal(database), literal(&format!("{login}@%")));
    let of = |table: &str, schema: &str| {
        format!(
            "SELECT 1 FROM information_schema.{table} WHERE {schema} = {database} AND DEFINER = {definer}"
        )
    };
    let sql = [
        ("VIEWS", "TABLE_SCHEMA"),
        ("ROUTINES", "ROUTINE_SCHEMA"),
        ("TRIGGERS", "TRIGGER_SCHEMA"),
        ("EVENTS", "EVENT_SCHEMA"),
    ]
    .map(|(table, schema)| of(table, schema))
    .join(" UNION ALL ");
    Ok(!session.rows("look for what runs as the login", &sql).await?.is_empty())
}
