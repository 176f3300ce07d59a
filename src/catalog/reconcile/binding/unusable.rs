//! Giving credentials back that no Secret can hold, which only the broker's answer shows: they are deleted at the broker, so
//! that nothing is left there that nobody can use.

use super::{Failure, NotBound, Remedy};
use crate::{
    apis::servicecatalog::{
        ExternalResourceKind, ServiceBinding, ServiceBindingStatus, instance::ReleaseStatus,
    },
    bindings::secrets::SecretError,
    catalog::{context::Context, ledger::external_resource_name, reconcile::delete_external},
};

/// The reason of a binding whose credentials no Secret can hold.
const REASON: &str = "ErrorInjectingBindResult";

/// Has the broker delete the credentials, unless earlier ones of the binding are in use.
pub(super) async fn give_back(
    binding: &ServiceBinding,
    context: &Context,
    error: SecretError,
    new: &mut ServiceBindingStatus,
) -> Failure {
    if !new.secrets.is_empty() || !matches!(error, SecretError::Key(_) | SecretError::TooLarge { .. }) {
        return error.into();
    }
    match deleted(binding, context).await {
        Ok(Ok(())) => {
            new.unbind_status = Some(ReleaseStatus::NotRequired);
            let message = format!(
                "{error}. They were deleted at the broker again: ask its maintainers, or bind with parameters that give others"
            );
            NotBound::new(REASON, message, Remedy::Never).into()
        }
        Ok(Err(problem)) => {
            let message =
                format!("{error}. Deleting them at the broker does not work, and is tried again: {problem}");
            NotBound::new(REASON, message, Remedy::Retry).into()
        }
        Err(error) => error.into(),
    }
}

async fn deleted(binding: &ServiceBinding, context: &Context) -> kube::Result<Result<(), String>> {
    let id = binding.spec.external_id.clone().unwrap_or_default();
    let _turn = context.turns.take(&external_resource_name(ExternalResourceKind::ServiceBinding, &id)).await;
    let uid = binding.metadata.uid.as_deref();
    let Some(external_resource) = context.ledger.find(ExternalResourceKind::ServiceBinding, &id, uid).await?
    else {
        return Ok(Ok(()));
    };
    if let Err(error) = delete_external::binding(context, &external_resource).await {
        return Ok(Err(error.to_string()));
    }
    context.ledger.remove(&external_resource).await?;
    Ok(Ok(()))
}
