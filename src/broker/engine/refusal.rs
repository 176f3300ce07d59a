//! Why an operation failed, in the specification's terms. [`Refusal::user_message`] is the text for users; `Display`
//! has the details, for the log.

use super::super::{
    backends::{ServiceError, Unacceptable, reference},
    store::{StoreError, cipher::CipherError, records::RecordError},
};
use crate::{
    broker::config::{BackendName, Violations},
    osb::InstanceId,
};

/// Why an operation failed, with its HTTP status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// 400: the request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// 404: the instance or binding does not exist.
    #[error("{0}")]
    NotFound(String),
    /// 409: the id is in use with other attributes.
    #[error("{0}")]
    Conflict(String),
    /// 410: there is nothing to delete.
    #[error("{0}")]
    Gone(String),
    /// 422: the platform must poll.
    #[error("this plan takes time; send accepts_incomplete=true and poll for the last operation")]
    AsyncRequired,
    /// 422: another operation on the instance is in progress.
    #[error("another operation on service instance {0} is in progress; try again later")]
    Concurrency(InstanceId),
    /// 422: the backend's limit is reached.
    #[error("as many operations as its limit allows are under way on the service's backend; try again later")]
    Busy,
    /// 422: the binding needs an application's id.
    #[error("{0}")]
    RequiresApp(String),
    /// 422: not possible in the present state.
    #[error("{0}")]
    NotReady(String),
    /// 422: the update changes something immutable.
    #[error("{0}")]
    Unsupported(String),
    /// 422: the maintenance version in the request does not match the catalog.
    #[error(
        "maintenance_info.version is {given:?}, the catalog says {offered:?}; fetch the catalog again, and leave it out where the catalog has none"
    )]
    MaintenanceInfo {
        /// The version in the request.
        given: String,
        /// The version in the catalog.
        offered: String,
    },
    /// 500: the backend reported an error.
    #[error("{}", in_full(.0))]
    Service(ServiceError),
    /// 500, or 422 if the instance's state is the cause: the update failed.
    #[error("{problem}")]
    Update {
        /// What failed, and whether it was reverted.
        problem: String,
        /// Whether the update was reverted: the instance is as before and can be updated again.
        is_taken_back: bool,
        /// Whether the instance's state is the cause, which the user can change.
        is_of_state: bool,
    },
    /// 500: the delete failed and will be retried.
    #[error("{0}; what is left is removed as soon as that can be done")]
    Delete(String),
    /// 500: a delete interrupted the operation.
    #[error("halted, for it is being deleted")]
    Halted,
    /// 500: the record could not be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// 500: the record cannot be decrypted.
    #[error("{0}")]
    Cipher(#[from] CipherError),
    /// 500: a record names a backend that is not configured.
    #[error("backend {0} is no longer configured, but instances live on it; add it to `backends` again")]
    UnknownBackend(BackendName),
    /// 500: the operation ended without an outcome.
    #[error("the operation was interrupted; repeat the request")]
    Interrupted,
}

fn in_full(error: &ServiceError) -> String {
    format!("{error} (reference {})", error.reference())
}

impl Refusal {
    /// The text for users: without server, address and error code, but with the reference that finds these in the log.
    pub(crate) fn user_message(&self) -> String {
        match self {
            Self::Service(error) => error.user_message(),
            Self::Store(_) | Self::Cipher(_) | Self::UnknownBackend(_) => {
                let reference = reference();
                tracing::warn!(reference, error = %self, "a request cannot be carried out");
                format!(
                    "the broker cannot carry this out at present; try again later (reference {reference})"
                )
            }
            other => other.to_string(),
        }
    }
}

impl From<Unacceptable> for Refusal {
    fn from(unacceptable: Unacceptable) -> Self {
        match unacceptable {
            Unacceptable::Invalid(why) => Self::Invalid(why),
            Unacceptable::Unsupported(why) => Self::Unsupported(why),
            Unacceptable::RequiresApp(why) => Self::RequiresApp(why),
        }
    }
}

impl From<Violations> for Refusal {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations.to_string())
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(error) => Self::Store(error),
            RecordError::Cipher(error) => Self::Cipher(error),
        }
    }
}
