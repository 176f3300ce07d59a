//! Reconciles ServiceBindings: `bind` creates credentials, `write_secrets` keeps them in Secrets, `unbind` deletes
//! them.

mod bind;
mod broker_errors;
mod content;
mod expiry;
mod offer;
mod request_credentials;
mod revoke_unusable;
mod unbind;
mod write_secrets;

use std::sync::Arc;

use crate::{
    apis::servicecatalog::{ServiceBinding, reasons},
    bindings::{secret_extras::ExtrasError, secrets::SecretError, variables::VariablesError},
    catalog::{
        context::Context,
        reconcile::{Next, ReconcileError},
    },
};

/// Reconciles a binding.
pub(in crate::catalog) async fn reconcile(
    binding: Arc<ServiceBinding>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    if binding.metadata.deletion_timestamp.is_some() {
        unbind::reconcile(&binding, &context).await
    } else {
        bind::reconcile(&binding, &context).await
    }
}

/// The condition of a binding that has no credentials or no Secrets yet.
struct NotBound {
    reason: &'static str,
    message: String,
    remedy: Remedy,
}

/// What can end that state.
#[derive(Clone, Copy)]
enum Remedy {
    /// A change of a watched object.
    Watched,
    /// No watched event, so bindery retries.
    Retry,
    /// Only a change of the spec.
    Never,
}

impl NotBound {
    fn new(reason: &'static str, message: impl Into<String>, remedy: Remedy) -> Self {
        Self { reason, message: message.into(), remedy }
    }
}

/// A step fails with a condition for the user, or with an error of the cluster.
enum Failure {
    NotBound(NotBound),
    Cluster(ReconcileError),
}

impl From<NotBound> for Failure {
    fn from(not_bound: NotBound) -> Self {
        Self::NotBound(not_bound)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(error.into())
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Cluster(error) => error.into(),
            SecretError::NameTaken(_) => {
                NotBound::new(reasons::SECRET_NAME_TAKEN, error.to_string(), Remedy::Retry).into()
            }
            SecretError::LongName { .. } => {
                NotBound::new(reasons::SECRET_NAME_TOO_LONG, error.to_string(), Remedy::Never).into()
            }
            SecretError::Transform(_) => {
                let message =
                    format!("{error}; delete the binding and create it with other secretTransforms");
                NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, message, Remedy::Never).into()
            }
            SecretError::Key(_) | SecretError::TooLarge { .. } | SecretError::Refused { .. } => {
                NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, error.to_string(), Remedy::Retry).into()
            }
        }
    }
}

impl From<VariablesError> for Failure {
    fn from(error: VariablesError) -> Self {
        NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, error.to_string(), Remedy::Watched).into()
    }
}

impl From<ExtrasError> for Failure {
    fn from(error: ExtrasError) -> Self {
        NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, error.to_string(), Remedy::Watched).into()
    }
}
