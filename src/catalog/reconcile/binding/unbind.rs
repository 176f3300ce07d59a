//! Deletes a binding: the broker deletes the credentials, then the Secrets, the ExternalResource and the finalizer
//! are removed.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};

use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceKind, ServiceBinding, ServiceBindingStatus,
        binding::BindingOperation, instance::ReleaseStatus, reasons,
    },
    bindings::secrets,
    catalog::{
        connections::BrokerError,
        context::Context,
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError, delete_external, has_finalizer,
            namespace_termination::{broker_timeout, retry_deletion},
            remove_finalizer, status,
        },
    },
    k8s::events::Event,
};

pub(super) async fn reconcile(binding: &ServiceBinding, context: &Context) -> Result<Next, ReconcileError> {
    if !has_finalizer(binding) {
        return Ok(Next::AwaitChange); // If there is an ExternalResource, its reconciler deletes the credentials once the object is gone.
    }
    let namespace = binding.namespace().unwrap_or_default();
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let old = binding.status.clone().unwrap_or_default();
    let id = binding.spec.external_id.clone().unwrap_or_default();
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceBinding, &id)).await;
    let uid = binding.metadata.uid.as_deref();
    if let Some(external_resource) =
        context.ledger.find(ExternalResourceKind::ServiceBinding, &id, uid).await?
    {
        let limit = broker_timeout(context, binding);
        if let Err(error) = delete_external::within(
            limit,
            &external_resource,
            delete_external::binding(context, &external_resource),
        )
        .await
        {
            let new = failed(old.clone(), &external_resource, &error);
            status::write(context, &api, binding, &old, new).await?;
            return retry_deletion(context, &api, binding, Next::Retry).await;
        }
        secrets::remove(&secrets, binding).await?;
        context.ledger.remove(&external_resource).await?;
        let note = "The binding was deleted successfully".to_owned();
        let event = Event::normal("Unbind", reasons::UNBOUND_SUCCESSFULLY, note);
        context.recorder.record(&binding.object_ref(&()), &event).await;
    }
    remove_finalizer(context, &api, binding).await?;
    Ok(Next::AwaitChange)
}

/// Reports a failed deletion: what blocks it, since when, and what to do.
fn failed(
    mut status: ServiceBindingStatus,
    external_resource: &ExternalResource,
    error: &BrokerError,
) -> ServiceBindingStatus {
    if status.current_operation != Some(BindingOperation::Unbind) {
        status.current_operation = Some(BindingOperation::Unbind);
        status.operation_start_time = None;
    }
    status.unbind_status = Some(ReleaseStatus::Required);
    let since = status::start(&mut status).0;
    let reason = match error {
        BrokerError::Credentials(_) => reasons::ERROR_GETTING_AUTH_CREDENTIALS,
        BrokerError::NotApproved(_) => reasons::SECRET_NOT_APPROVED,
        BrokerError::Client(error) if error.is_answer() => reasons::UNBIND_CALL_FAILED,
        BrokerError::Client(_) => reasons::ERROR_CALLING_UNBIND,
    };
    let message = format!(
        "The broker {} has not deleted the binding since {since:.0}: {error}. bindery retries. To stop retrying \
        and leave the binding at the broker: kubectl delete extres {}",
        external_resource.spec.broker.name,
        external_resource.name_any()
    );
    status::set_ready(&mut status, false, reason, message);
    status
}
