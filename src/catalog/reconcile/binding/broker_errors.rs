//! What the broker's answers to a bind request mean for the binding: the condition and the retry for each HTTP status.

use super::{NotBound, Remedy};
use crate::{
    apis::servicecatalog::{reasons, scope::BrokerKey},
    catalog::{client::ClientError, connections::BrokerError, context::Context},
};

/// The advice to somebody whose bind was refused.
pub(super) const OTHER_PARAMETERS: &str = "; delete the binding and create it with other parameters";

/// The condition for an error of a bind request: 400 sets `Failed`, until the spec changes. Everything else is retried with
/// exponential backoff: 401 and 403 after the credentials for the broker were read again; 409 (the broker holds other credentials
/// under the id), 422 and 5xx as `BindCallFailed`; no answer as `ErrorCallingBind`.
pub(super) fn condition_of(context: &Context, broker: &BrokerKey, error: BrokerError) -> NotBound {
    match error {
        BrokerError::Credentials(message) => {
            NotBound::new(reasons::ERROR_GETTING_AUTH_CREDENTIALS, message, Remedy::Retry)
        }
        BrokerError::NotApproved(message) => {
            NotBound::new(reasons::SECRET_NOT_APPROVED, message, Remedy::Retry)
        }
        BrokerError::Client(error) if error.is_terminal() => {
            let message = format!("Error binding: {error}{OTHER_PARAMETERS}");
            NotBound::new(reasons::BIND_CALL_FAILED, message, Remedy::Never)
        }
        BrokerError::Client(error) => {
            if matches!(error, ClientError::Unauthorized { .. }) {
                context.connections.forget(broker);
            }
            let (reason, what) = if error.is_answer() {
                (reasons::BIND_CALL_FAILED, "Error binding")
            } else {
                (reasons::ERROR_CALLING_BIND, "Error communicating with the broker for binding")
            };
            NotBound::new(reason, format!("{what}: {error}"), Remedy::Retry)
        }
    }
}
