//! Reconciles ServiceBindings: `bind` creates credentials, `conversation` asks the broker, `orphans` deletes what a failed bind
//! left, `write_secrets` keeps the credentials in Secrets, `rotation` replaces them, `unbind` deletes them.

mod bind;
mod bound_instance;
mod broker_errors;
mod content;
mod conversation;
mod deadline;
mod expiry;
mod offer;
mod orphans;
mod parameters;
mod preparation;
mod request;
mod request_credentials;
mod revoke_unusable;
mod rotation;
mod spec_drift;
mod taken_over;
mod unbind;
mod write_secrets;

use std::{sync::Arc, time::Duration};

use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceBindingStatus, reasons},
    bindings::{secret_extras::ExtrasError, secrets::SecretError, variables::VariablesError},
    catalog::{
        client::Identity,
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
        Box::pin(unbind::reconcile(&binding, &context)).await
    } else {
        Box::pin(bind::reconcile(&binding, &context)).await
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
    /// Time: bindery looks again after it.
    After(Duration),
    /// The deletion of what a failed bind left, which goes on after this time, or is retried.
    Mitigate(Option<Duration>),
    /// Only a change of the spec.
    Never,
}

impl NotBound {
    fn new(reason: &'static str, message: impl Into<String>, remedy: Remedy) -> Self {
        Self { reason, message: message.into(), remedy }
    }
}

/// The operation at the broker has ended.
fn clear_operation(status: &mut ServiceBindingStatus) {
    status.async_op_in_progress = false;
    status.last_operation = None;
}

/// The user whose binding it is, for the broker.
fn identity(binding: &ServiceBinding) -> Option<Identity> {
    binding.spec.user_info.as_ref().map(Identity::of)
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
