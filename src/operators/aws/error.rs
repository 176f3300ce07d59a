//! Why an object is not settled, and the word for it in `status.resourceStatus`.

use super::{
    accounts::UnknownAccount, ledger::LedgerError, outputs::OutputError, policies::BadAnnotation, reasons,
    references::Unresolved,
};
use crate::{
    cloud::aws::{AwsError, template::TemplateError},
    k8s::explain,
};

/// Why an object is not settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperatorError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("the API server cannot be asked: {}", explain(.0))]
    Kubernetes(#[from] kube::Error),
    #[error(transparent)]
    Annotation(#[from] BadAnnotation),
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    #[error(transparent)]
    Reference(#[from] Unresolved),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the stack is not deleted: {0}")]
    NotDeleted(String),
}

impl OperatorError {
    /// The word for `status.resourceStatus` where no stack exists that could give one.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Aws(_) | Self::NotDeleted(_) => reasons::AWS_CALL_FAILED,
            Self::Kubernetes(_) | Self::Output(_) | Self::Ledger(LedgerError::Kubernetes(_)) => {
                reasons::NOT_WRITTEN
            }
            Self::Ledger(LedgerError::OfAnother { .. }) => reasons::STACK_NAME_TAKEN,
            Self::Annotation(_) => reasons::INVALID_ANNOTATION,
            Self::Account(_) => reasons::ACCOUNT_NOT_ALLOWED,
            Self::Reference(_) => reasons::REFERENCE_NOT_READY,
            Self::Template(_) => reasons::TEMPLATE_UNREADABLE,
        }
    }

    /// Whether another client has changed the object, so that the same step is due again with the new version.
    pub(super) fn is_conflict(&self) -> bool {
        let (Self::Kubernetes(error) | Self::Output(OutputError::Kubernetes(error))) = self else {
            return false;
        };
        matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found())
    }
}
