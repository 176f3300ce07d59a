//! Gives back credentials that no Secret can hold, which only the broker's answer shows. They are deleted at the
//! broker, so that no unusable credentials remain there.

use super::{Failure, NotBound, Remedy};
use crate::{
    apis::servicecatalog::{
        ExternalResourceKind, ServiceBinding, ServiceBindingStatus, instance::ReleaseStatus, reasons,
    },
    bindings::secrets::SecretError,
    catalog::{context::Context, ledger::external_resource_name, reconcile::delete_binding},
};

/// Deletes the credentials at the broker, unless earlier credentials of the binding are in use.
pub(super) async fn revoke_unusable(
    binding: &ServiceBinding,
    context: &Context,
    error: SecretError,
    new: &mut ServiceBindingStatus,
) -> Failure {
    if !new.secrets.is_empty()
        || !matches!(error, SecretError::Key(_) | SecretError::TooLarge { .. } | SecretError::Transform(_))
    {
        return error.into();
    }
    match delete(binding, context).await {
        Ok(Ok(())) => {
            new.unbind_status = Some(ReleaseStatus::NotRequired);
            let message = format!(
                "{error}. bindery has deleted the credentials at the broker. Ask the broker's maintainers, or \
                delete the binding and create it with other parameters or secretTransforms"
            );
            NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, message, Remedy::Never).into()
        }
        Ok(Err(problem)) => {
            let message = format!(
                "{error}. The credentials could not be deleted at the broker, and bindery retries: \
                    {problem}"
            );
            NotBound::new(reasons::ERROR_INJECTING_BIND_RESULT, message, Remedy::Retry).into()
        }
        Err(error) => error.into(),
    }
}

async fn delete(binding: &ServiceBinding, context: &Context) -> kube::Result<Result<(), String>> {
    let id = binding.broker_id().unwrap_or_default();
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceBinding, id)).await;
    let uid = binding.metadata.uid.as_deref();
    let Some(external_resource) = context.ledger.find(ExternalResourceKind::ServiceBinding, id, uid).await?
    else {
        return Ok(Ok(()));
    };
    if let Err(error) = delete_binding::at_once(context, &external_resource).await {
        return Ok(Err(error.to_string()));
    }
    context.ledger.remove(&external_resource).await?;
    Ok(Ok(()))
}
