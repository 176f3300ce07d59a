//! Why a call of RabbitMQ's HTTP API failed.

use crate::broker::backends::{ServiceError, cloud_error::foreign, outcome::MISCONFIGURED};

/// The text for users when the server does not answer or misbehaves; the log has the cause.
const UNUSABLE: &str = "the message broker cannot be used at present; try again later";

/// A failed call. `Display` is for the operator's log and has no credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum RabbitMqError {
    #[error("the CA {file} cannot be used: {problem}; name a PEM file with the certificates of CAs")]
    Ca { file: String, problem: String },
    #[error("no usable answer to {call}: {problem}")]
    NoAnswer { call: String, problem: String },
    #[error("{call} was answered with {status}: {reason}")]
    Refused { call: String, status: u16, reason: String },
    #[error("user {user} exists and does not carry this installation's mark")]
    Foreign { user: String },
}

impl RabbitMqError {
    /// Whether a repetition may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Ca { .. } | Self::Foreign { .. } => false,
        }
    }

    /// The error as users and the log see it.
    pub(super) fn for_users(&self, backend: &str) -> ServiceError {
        match self {
            Self::Foreign { user } => foreign(backend, &format!("user {user} of the message broker")),
            passing if passing.is_passing() => {
                ServiceError::new(backend, UNUSABLE).detailed(passing).passing()
            }
            lasting => ServiceError::new(backend, MISCONFIGURED).detailed(lasting),
        }
    }
}
