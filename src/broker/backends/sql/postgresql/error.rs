//! Errors of a server, with texts for the operator: the server's message and SQLSTATE, never a statement, a detail or
//! a credential. [`SqlError::user_message`] is the text for users.

use std::{error::Error as _, path::PathBuf};

use tokio_postgres::error::SqlState;

use super::{certificate::CertificateError, dependents::Dependents, dialect::MARK_RETAINED, quote::literal};
use crate::broker::backends::{
    Unacceptable,
    outcome::{MISCONFIGURED, UNUSABLE},
    sql::{
        error::{SharedConnectError, SharedSqlError},
        obstacle::{Failure, Obstacle},
    },
};

/// The server has reached its connection limit, or is starting.
const NO_ROOM: [SqlState; 2] = [SqlState::TOO_MANY_CONNECTIONS, SqlState::CANNOT_CONNECT_NOW];

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Shared(#[from] SharedConnectError),
    #[error("{}", refused(.0))]
    Refused(#[from] tokio_postgres::Error),
    #[error("is neither PostgreSQL nor CockroachDB; check host and port")]
    UnknownEngine,
    #[error(
        "is a standby, on which nothing can be changed (pg_is_in_recovery); name the primary, or the address that follows it"
    )]
    Standby,
    #[error(
        "takes no changes: default_transaction_read_only is on for the administrator in the maintenance database; \
         end what it is on for, and set it to off"
    )]
    ReadOnly,
    #[error("does not take {what} as a session sets it; connect to the server itself")]
    Unsettled { what: &'static str },
    #[error(
        "is behind a pooler that does not keep a session on one server process (PgBouncer: pool_mode transaction or \
         statement); name the server itself, or a pool with pool_mode = session, as host and port, and the pooler as \
         clientHost and clientPort"
    )]
    Pooler,
    #[error(
        "is behind a pooler that lets no second session in, so that its mode cannot be told; give the administrator's pools \
         more connections, or name the server itself as host and port, and the pooler as clientHost and clientPort"
    )]
    PoolTooSmall,
}

impl ConnectError {
    /// Whether the server rejected the password.
    pub(super) fn is_wrong_login(&self) -> bool {
        self.code().is_some_and(is_wrong_login)
    }

    /// Whether a pooler rejects start-up options: `PgBouncer` with the first error, Amazon's RDS Proxy with the
    /// second.
    pub(super) fn refuses_options(&self) -> bool {
        let codes = [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];
        self.code().is_some_and(|code| codes.contains(code))
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }
}

/// Why work on a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("cannot {does}: {}", server_message(error))]
    Failed { does: &'static str, error: tokio_postgres::Error },
    #[error(transparent)]
    Shared(#[from] SharedSqlError),
    #[error("{what} is not on the server; make it, or take it out of the plan")]
    NoTemplate { what: String },
    #[error("template {name:?} is not in the plan any more; choose another template")]
    TemplateLeftPlan { name: String },
    #[error(
        "everybody may connect to {what} and could hinder its copies; REVOKE CONNECT ON DATABASE … FROM PUBLIC there"
    )]
    OpenTemplate { what: String },
    #[error("is {found}, and services of type postgresql need PostgreSQL; offer it as type cockroachdb")]
    OtherEngine { found: String },
    #[error(
        "is {found}, which has no limit of connections for a login; take maxConnectionsPerBinding out of the plan, and set the \
         cluster setting server.max_connections_per_gateway"
    )]
    NoConnectionLimit { found: String },
    #[error("file {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("{0}")]
    Differs(String),
    #[error("administrator {admin} lacks {missing}; {}", run_or(remedy.as_deref(), "give it these role attributes"))]
    MissingRights { admin: String, missing: String, remedy: Option<String> },
    #[error(
        "administrator {admin} lacks ADMIN OPTION on {count} of the roles that bindery made ({example}, …), as after an upgrade to \
         PostgreSQL 16 or later, a restore, or a change of `user`; {}", run_or(Some(remedy.as_str()), "")
    )]
    NotAdministrator { admin: String, count: usize, example: String, remedy: String },
    #[error("database {database} cannot be dropped: {}", held(sessions))]
    InUse { database: String, sessions: Vec<Holder> },
    #[error(
        "{what}, so that bindery leaves it alone, and nothing was removed. Drop it, or delete again after this: {remedy}"
    )]
    Astray { what: String, remedy: String },
    #[error(
        "role {owner} is retained and still carries the installation's mark, which somebody else gave it; let a superuser run: \
         {remedy}"
    )]
    StillMarked { owner: String, remedy: String },
    #[error(
        "login {login} cannot be locked: another session or transaction is changing that role; end it (pg_locks on pg_authid shows it)"
    )]
    StaysUnlocked { login: String },
    #[error(
        "prepared transaction {gid:?} in database {database} is in the way; connect to that database as a superuser and run \
         ROLLBACK PREPARED {}",
        literal(gid)
    )]
    Prepared { gid: String, database: String },
    #[error("role {role} has lost its rights and cannot be dropped yet: {on}")]
    Depended { role: String, on: Dependents },
}

/// A session that blocks the work.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) role: String,
}

/// The blocking sessions, and the remedy.
fn held(sessions: &[Holder]) -> String {
    let named: Vec<_> =
        sessions.iter().map(|Holder { pid, role }| format!("session {pid} of role {role}")).collect();
    let ends: Vec<_> =
        sessions.iter().map(|Holder { pid, .. }| format!("SELECT pg_terminate_backend({pid})")).collect();
    format!(
        "{} is in it, which bindery may not end; as a superuser, run {}",
        named.join(", "),
        ends.join("; ")
    )
}

impl SqlError {
    /// Whether the contents of the user's database prevent the work: something uses an extension, or has a name that
    /// the extension needs.
    pub(super) fn is_of_state(&self) -> bool {
        let in_the_way = [
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            SqlState::DUPLICATE_OBJECT,
            SqlState::DUPLICATE_FUNCTION,
            SqlState::DUPLICATE_TABLE,
            SqlState::OBJECT_IN_USE,
        ];
        matches!(self, Self::Failed { does: "create the extension" | "drop the extension", .. })
            && self.code().is_some_and(|code| in_the_way.contains(code))
    }

    /// The server's error code.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Connect(error) => error.code(),
            Self::Failed { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Whether something depends on the role to be dropped.
    pub(super) fn is_of_dependents(&self) -> bool {
        self.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST)
    }

    /// Whether the work conflicted with another session, or lost its session.
    pub(super) fn is_conflict(&self) -> bool {
        let conflicts = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
            SqlState::ADMIN_SHUTDOWN,
        ];
        match self {
            Self::Failed { error, .. } => {
                error.is_closed()
                    || is_concurrent(error)
                    || error.code().is_some_and(|code| conflicts.contains(code))
            }
            _ => false,
        }
    }

    /// Whether a database rejects the administrator, which its owner can cause: no right to connect, no connections
    /// allowed, or a limit on connections.
    pub(super) fn is_shut_out(&self) -> bool {
        let shut = [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        matches!(self, Self::Connect(error) if error.code().is_some_and(|code| shut.contains(code)))
    }

    /// Whether the administrator lacks a right.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Failed { .. }) && self.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// Whether the administrator lacks a right on the role that marks retained data, which another installation may
    /// have created.
    pub(super) fn concerns_retained(&self) -> bool {
        matches!(self, Self::Failed { does, .. } if *does == MARK_RETAINED)
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
            Self::Connect(_) => UNUSABLE.to_owned(),
            Self::NoTemplate { .. }
            | Self::OpenTemplate { .. }
            | Self::OtherEngine { .. }
            | Self::NoConnectionLimit { .. }
            | Self::File { .. }
            | Self::Certificate(_)
            | Self::MissingRights { .. }
            | Self::NotAdministrator { .. }
            | Self::StillMarked { .. } => MISCONFIGURED.to_owned(),
            Self::Failed { does, error } => match error.as_db_error() {
                Some(refusal) if self.is_of_state() => {
                    format!("cannot {does}: {}; remove what is in the way first", refusal.message())
                }
                Some(refusal) => format!("cannot {does}: {}", refusal.message()),
                None => UNUSABLE.to_owned(),
            },
            other => other.to_string(),
        }
    }

    fn is_foreign(&self) -> bool {
        matches!(self, Self::Astray { .. } | Self::Shared(SharedSqlError::Foreign { .. }))
    }

    fn obstacle(&self) -> Obstacle {
        let has_no_room = self.code().is_some_and(|code| NO_ROOM.contains(code));
        let is_passing = match self {
            Self::Failed { error, .. } => {
                error.is_closed() || self.code().is_some_and(is_passing) || is_concurrent(error)
            }
            Self::Connect(error) => error.code().is_some_and(is_passing),
            Self::InUse { .. } => true,
            _ => false,
        };
        match (has_no_room, is_passing) {
            (true, _) => Obstacle::NoRoom,
            (false, true) => Obstacle::Passing,
            (false, false) => Obstacle::Lasting,
        }
    }

    fn waits(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::StaysUnlocked { .. } | Self::Prepared { .. })
    }

    fn is_refusal(&self) -> bool {
        self.is_of_state()
    }
}

/// Whether a retry may succeed: conflicts between transactions, a database or template that is briefly in use, a role
/// that another session creates or changes at the same time, a node that shuts down.
fn is_passing(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_OBJECT,
        SqlState::OBJECT_IN_USE,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::LOCK_NOT_AVAILABLE,
    ]
    .contains(code)
}

/// Two sessions change the same role at once; PostgreSQL has no separate code for this.
fn is_concurrent(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|refusal| {
        *refusal.code() == SqlState::INTERNAL_ERROR && refusal.message().contains("concurrently")
    })
}

/// The server's message with its code, or why the connection ended.
fn server_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code()),
        None => chain(error),
    }
}

/// Why a connection was refused, and the remedy.
fn refused(error: &tokio_postgres::Error) -> String {
    match error.code() {
        Some(code) if is_wrong_login(code) => {
            format!(
                "refuses the administrator's login: {}; check user, passwordFile and certFile",
                server_message(error)
            )
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            format!("refuses the connection: {}; check the setting `database`", server_message(error))
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            format!(
                "takes no more connections: {}; end sessions there, and keep some for bindery as docs/databases.md tells \
                 (reserved_connections)",
                server_message(error)
            )
        }
        Some(_) => format!("refuses the connection: {}", server_message(error)),
        None => {
            let chain = chain(error);
            let remedy = if chain.contains("password missing") {
                "name its passwordFile, or a certFile and keyFile that it takes"
            } else if chain.contains("certificate") || chain.contains("TLS") {
                "check caFile and sslmode"
            } else {
                "check that it runs, its host, port and the network"
            };
            format!("cannot be reached: {chain}; {remedy}")
        }
    }
}

/// The remedy as SQL.
fn run_or(sql: Option<&str>, otherwise: &str) -> String {
    sql.map_or_else(|| otherwise.to_owned(), |sql| format!("let a superuser run: {sql}"))
}

fn is_wrong_login(code: &SqlState) -> bool {
    [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code)
}

fn chain(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn users_see_no_account_address_or_file() {
        let connect = || SqlError::Connect(SharedConnectError::Timeout(Duration::from_secs(1)).into());
        let rights = SqlError::MissingRights {
            admin: "root".to_owned(),
            missing: "CREATEDB".to_owned(),
            remedy: None,
        };
        let file = SqlError::File { path: "/etc/ca.key".into(), problem: "is empty".to_owned() };
        for error in
            [connect(), rights, file, SharedSqlError::TooOld { found: "9.6".to_owned(), oldest: "13" }.into()]
        {
            let message = error.user_message();
            assert!([UNUSABLE, MISCONFIGURED].contains(&message.as_str()), "{message}");
            assert_ne!(message, error.to_string());
        }
        let foreign = SqlError::from(SharedSqlError::Foreign { what: "database cf_x".to_owned() });
        assert!(foreign.to_string().ends_with("Remove or rename it"), "{foreign}");
        let message = foreign.user_message();
        assert!(
            message.contains("cf_x") && message.ends_with("Ask the operator to remove or rename it"),
            "{message}"
        );
        let template = SqlError::TemplateLeftPlan { name: "demo".to_owned() };
        assert_eq!(template.user_message(), template.to_string(), "users see what they can correct");
    }
}
