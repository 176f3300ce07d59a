//! The errors of a database server that PostgreSQL and MySQL share; each engine's `error` module adds its own. The texts
//! are for the operator; [`SharedSqlError::user_message`] is the text for users.

use std::time::Duration;

use crate::broker::{
    backends::{
        Unacceptable,
        outcome::{MISCONFIGURED, UNUSABLE},
    },
    config::ConfigError,
    tls::TlsError,
};

/// Why a connection to a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SharedConnectError {
    #[error("did not answer within {} seconds; check that it runs, its host, port and the network", .0.as_secs())]
    Timeout(Duration),
    #[error("{0}")]
    PasswordSource(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why work on a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SharedSqlError {
    #[error("cannot {does}: no answer in time")]
    Timeout { does: &'static str },
    #[error("cannot {does}: the answer makes no sense")]
    Answer { does: &'static str },
    #[error(
        "{what} exists and does not carry this installation's mark; bindery leaves it alone. Remove or rename it"
    )]
    Foreign { what: String },
    #[error("{what} is missing though it was provisioned; delete the instance and provision it again")]
    Lost { what: String },
    #[error("is {found}, which is too old; use {oldest} or later")]
    TooOld { found: String, oldest: &'static str },
    #[error("sessions of login {login} do not end; try again later")]
    SessionsStay { login: String },
    #[error("{0}")]
    Unacceptable(#[from] Unacceptable),
}

impl SharedSqlError {
    /// The text for users: without address, account, file or error code.
    pub(super) fn user_message(&self) -> String {
        match self {
            Self::Timeout { .. } => UNUSABLE.to_owned(),
            Self::TooOld { .. } => MISCONFIGURED.to_owned(),
            Self::Foreign { what } => format!(
                "{what} exists and does not carry this installation's mark; bindery leaves it alone. Ask the operator to \
                 remove or rename it"
            ),
            other => other.to_string(),
        }
    }
}
