//! Errors of a server, with texts for the operator: the server's message and error number, never a statement or a
//! credential. [`SqlError::user_message`] is the text for users. The numbers are those of
//! <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>, which MariaDB shares below 1900.

use mysql_async::{DriverError, Error, IoError};

use crate::broker::{
    backends::{
        Unacceptable,
        outcome::{MISCONFIGURED, UNUSABLE},
        sql::{
            error::{SharedConnectError, SharedSqlError},
            obstacle::{Failure, Obstacle},
        },
    },
    config::ConfigError,
};

/// The server has reached its connection limit.
const TOO_MANY_CONNECTIONS: u16 = 1040;
const SERVER_ENDS: u16 = 1053;
/// The server's message quotes the statement.
const SYNTAX: u16 = 1064;
const WAITED_FOR_LOCK: u16 = 1205;
const DEADLOCK: u16 = 1213;
const ACCESS_DENIED: u16 = 1045;
const NO_SUCH_HOST: u16 = 1130;
const NO_RIGHT_TO_DATABASE: u16 = 1044;
const NO_RIGHT_TO_TABLE: u16 = 1142;
const NO_RIGHT: u16 = 1227;
/// MariaDB: this session was killed.
const KILLED: u16 = 1927;
const UNKNOWN_DATABASE: u16 = 1049;
const UNKNOWN_TABLE: u16 = 1146;

/// KILL of a session that has already ended.
pub(super) const NO_SUCH_SESSION: u16 = 1094;
/// MySQL since 8.0.22: DROP USER of an account that views, routines, triggers or events run as.
pub(super) const IS_DEFINER: u16 = 4006;

/// MySQL: `password_history` or `password_reuse_interval`.
pub(super) const USED_BEFORE: u16 = 3638;

/// The administrator's account has reached its session limit; the second code is for a limit set by `GRANT … WITH`.
const TOO_MANY_OF_USER: u16 = 1203;
const USER_LIMIT: u16 = 1226;
const NO_ROOM: [u16; 3] = [TOO_MANY_CONNECTIONS, TOO_MANY_OF_USER, USER_LIMIT];

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Shared(#[from] SharedConnectError),
    #[error("{}", refused(.0))]
    Refused(#[from] Error),
    #[error("is neither MySQL nor MariaDB; check host and port")]
    UnknownEngine,
    #[error(
        "takes no changes: read_only is on, as on a replica; name the primary, or the address that follows it, or set read_only \
         to off"
    )]
    ReadOnly,
    #[error("all {limit} sessions of the broker are in use; raise maxConnections, or ask again")]
    Busy { limit: usize },
}

impl ConnectError {
    /// Whether the server rejected the password.
    pub(super) fn is_wrong_login(&self) -> bool {
        matches!(self, Self::Refused(Error::Server(refusal)) if refusal.code == ACCESS_DENIED)
    }
}

/// Why work on a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("cannot {does}: {}", server_message(error))]
    Failed { does: &'static str, error: Error },
    #[error(transparent)]
    Shared(#[from] SharedSqlError),
    #[error("administrator {admin} lacks {missing}; docs/databases.md tells what to grant")]
    MissingRights { admin: String, missing: String },
    #[error("views, routines, triggers or events of another database run as login {login}; drop them")]
    StillDefiner { login: String },
    #[error("database {database} stays locked: {}", lockers(sessions))]
    StillLocked { database: String, sessions: Vec<String> },
    #[error("{0}")]
    CaFile(ConfigError),
}

impl SqlError {
    fn cause(&self) -> Option<&Error> {
        match self {
            Self::Connect(ConnectError::Refused(error)) | Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The server's error number.
    pub(super) fn code(&self) -> Option<u16> {
        match self.cause()? {
            Error::Server(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether an established connection broke.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Failed { error, .. } => error.is_fatal() || is_ended(self.code()),
            _ => false,
        }
    }

    /// Whether waiting for a lock timed out.
    pub(super) fn is_locked(&self) -> bool {
        self.code() == Some(WAITED_FOR_LOCK)
    }

    /// Whether the installation has no table of marks on this server yet.
    pub(super) fn is_without_marks(&self) -> bool {
        self.code().is_some_and(|code| [UNKNOWN_DATABASE, UNKNOWN_TABLE].contains(&code))
    }
}

impl From<Unacceptable> for SqlError {
    fn from(error: Unacceptable) -> Self {
        SharedSqlError::from(error).into()
    }
}

impl Failure for SqlError {
    fn user_message(&self) -> String {
        match self {
            Self::Shared(problem) => problem.user_message(),
            Self::MissingRights { .. } | Self::CaFile(_) => MISCONFIGURED.to_owned(),
            Self::Failed { does, error: Error::Server(refusal) } => match refusal.code {
                SYNTAX => format!("cannot {does}: the server does not understand it"),
                // The server's messages name the administrator's account and its host.
                ACCESS_DENIED | NO_RIGHT_TO_DATABASE | NO_RIGHT_TO_TABLE | NO_RIGHT => {
                    format!("cannot {does}: {MISCONFIGURED}")
                }
                _ => format!("cannot {does}: {}", refusal.message),
            },
            Self::Connect(_) | Self::Failed { .. } => UNUSABLE.to_owned(),
            other => other.to_string(),
        }
    }

    /// All work here is idempotent.
    fn obstacle(&self) -> Obstacle {
        let has_no_room = self.code().is_some_and(|code| NO_ROOM.contains(&code));
        let passes = |code| [WAITED_FOR_LOCK, DEADLOCK].contains(&code);
        let is_passing = self.is_lost() || is_ended(self.code()) || self.code().is_some_and(passes);
        match (has_no_room, is_passing) {
            (true, _) => Obstacle::NoRoom,
            (false, true) => Obstacle::Passing,
            (false, false) => Obstacle::Lasting,
        }
    }

    fn waits(&self) -> bool {
        matches!(self, Self::Connect(_))
    }

    fn is_foreign(&self) -> bool {
        matches!(self, Self::Shared(SharedSqlError::Foreign { .. }))
    }
}

/// What may lock a database after its logins are locked out, and the remedy.
fn lockers(sessions: &[String]) -> String {
    if sessions.is_empty() {
        return "a prepared transaction may keep it, which XA RECOVER shows and XA ROLLBACK ends, or a session that uses it from \
                another database"
            .to_owned();
    }
    format!("session {} is in it; end it with KILL, or wait until it ends", sessions.join(", session "))
}

/// Whether the server's or the client's certificate was rejected, or the server has no TLS.
fn is_of_tls(error: &Error) -> bool {
    match error {
        Error::Io(IoError::Tls(_)) | Error::Driver(DriverError::NoClientSslFlagFromServer) => true,
        Error::Io(IoError::Io(error)) => {
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
        }
        _ => false,
    }
}

/// Whether the error code means that the session has ended.
pub(super) fn is_ended(code: Option<u16>) -> bool {
    code.is_some_and(|code| [SERVER_ENDS, KILLED].contains(&code))
}

/// The server's message with its number, or why the connection ended.
fn server_message(error: &Error) -> String {
    match error {
        Error::Server(refusal) if refusal.code == SYNTAX => {
            format!("the server does not understand it (error {SYNTAX})")
        }
        Error::Server(refusal) => format!("{} (error {})", refusal.message, refusal.code),
        Error::Io(IoError::Io(error)) => error.to_string(),
        Error::Io(IoError::Tls(error)) => format!("TLS: {error}"),
        // Other errors may contain data that was sent or received.
        Error::Driver(DriverError::ConnectionClosed) => "the connection was closed".to_owned(),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => "the server offers no TLS".to_owned(),
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
            format!("the server asks for the login method {name}, which is not supported")
        }
        Error::Driver(_) | Error::Other(_) | Error::Url(_) => "the connection does not work".to_owned(),
    }
}

/// Why a connection was refused, and the remedy.
fn refused(error: &Error) -> String {
    let message = server_message(error);
    match error {
        Error::Server(refusal) if refusal.code == ACCESS_DENIED => {
            format!("refuses the administrator's login: {message}; check user, passwordFile and certFile")
        }
        Error::Server(refusal) if refusal.code == NO_SUCH_HOST => {
            format!(
                "refuses the connection: {message}; make the administrator's account for this host, or for '%'"
            )
        }
        Error::Server(refusal) if NO_ROOM.contains(&refusal.code) => {
            format!(
                "takes no more connections: {message}; end sessions there, and give bindery a way of its own as \
                 docs/databases.md tells"
            )
        }
        Error::Server(_) => format!("refuses the connection: {message}"),
        _ if is_of_tls(error) => format!("cannot be reached: {message}; check caFile and sslmode"),
        _ => format!("cannot be reached: {message}; check that it runs, its host, port and the network"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mysql_async::ServerError;

    use super::*;

    fn failed(code: u16, message: &str) -> SqlError {
        let error = ServerError { code, message: message.to_owned(), state: "HY000".to_owned() };
        SqlError::Failed { does: "create the login", error: error.into() }
    }

    /// The server quotes a statement that it cannot parse, and the statement may contain a password.
    #[test]
    fn no_error_contains_a_statement() {
        let shown = failed(1064, "You have an error near 'secret'").to_string();
        assert_eq!(shown, "cannot create the login: the server does not understand it (error 1064)");
        let shown = failed(1396, "Operation CREATE USER failed for 'u'@'%'").to_string();
        assert_eq!(shown, "cannot create the login: Operation CREATE USER failed for 'u'@'%' (error 1396)");
    }

    #[test]
    fn users_see_no_account_address_or_number() {
        let denied = "Access denied for user 'bindery'@'10.0.0.1' to database 'cf_x'";
        let message = failed(1044, denied).user_message();
        assert!(
            message.starts_with("cannot create the login: ") && !message.contains("10.0.0.1"),
            "{message}"
        );
        assert_eq!(
            failed(1064, "near 'secret'").user_message(),
            "cannot create the login: the server does not understand it"
        );
        assert_eq!(
            failed(1396, "Operation failed").user_message(),
            "cannot create the login: Operation failed"
        );
        let connect = SqlError::Connect(SharedConnectError::Timeout(Duration::from_secs(1)).into());
        assert_eq!(connect.user_message(), UNUSABLE);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for code in [1053, 1205, 1213, 1927] {
            assert_eq!(failed(code, "").obstacle(), Obstacle::Passing, "{code}");
        }
        for code in [1040, 1203, 1226] {
            assert_eq!(failed(code, "").obstacle(), Obstacle::NoRoom, "{code}");
        }
        for code in [1044, 1045, 1064, 1227, 1396] {
            assert_eq!(failed(code, "").obstacle(), Obstacle::Lasting, "{code}");
        }
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let lost = SqlError::Failed { does: "read", error: Error::Io(IoError::Io(broken)) };
        assert!(lost.is_lost() && lost.obstacle() == Obstacle::Passing);
    }
}
