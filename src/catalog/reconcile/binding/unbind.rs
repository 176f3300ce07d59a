//! Deletes a binding: the broker deletes the credentials, then the Secrets, the ExternalResource and the finalizer
//! are removed.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use tokio::sync::OwnedMutexGuard;

use super::{clear_operation, identity};
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
            Next, ReconcileError, delete_binding,
            delete_external::{self, Released},
            has_finalizer,
            namespace_termination::{broker_timeout, retry_deletion},
            polling::poll_interval,
            remove_finalizer, status,
        },
    },
    k8s::{events::Event, explain},
    osb::Operation,
};

pub(super) async fn reconcile(binding: &ServiceBinding, context: &Context) -> Result<Next, ReconcileError> {
    if !has_finalizer(binding) {
        return Ok(Next::AwaitChange); // If there is an ExternalResource, its reconciler deletes the credentials once the object is gone.
    }
    let namespace = binding.namespace().unwrap_or_default();
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    let mut old = binding.status.clone().unwrap_or_default();
    if let Some((external_resource, _lock)) = next_held(binding, context, None).await? {
        let limit = broker_timeout(context, binding);
        let is_first = old.current_operation != Some(BindingOperation::Unbind) && limit.is_none();
        if is_first {
            old = status::write(context, &api, binding, &old, in_flight(old.clone())).await?;
        }
        let is_polled = old.async_op_in_progress && old.current_operation == Some(BindingOperation::Unbind);
        let begun = is_polled.then(|| old.last_operation.clone().map(Operation::from));
        let identity = identity(binding);
        let asked = delete_binding::step(context, &external_resource, begun, identity.as_ref());
        let (new, next) = match delete_external::within(limit, &external_resource, asked).await {
            Ok(Released::Done) => {
                let released = external_resource.spec.binding_id.as_deref();
                if next_held(binding, context, released).await?.is_some() {
                    context.ledger.remove(&external_resource).await?;
                    let mut new = old.clone();
                    clear_operation(&mut new);
                    status::write(context, &api, binding, &old, new).await?;
                    return Ok(Next::After(Duration::ZERO));
                }
                return finish(binding, context, &api, &old, &external_resource, is_first).await;
            }
            Ok(Released::InProgress { operation, wait }) => {
                let new = in_progress(old.clone(), operation);
                let wait = poll_interval(new.operation_start_time.as_ref(), wait);
                (new, Next::After(wait))
            }
            Ok(Released::Failed(about)) => {
                let mut new = failed(old.clone(), &external_resource, reasons::UNBIND_CALL_FAILED, &about);
                clear_operation(&mut new);
                (new, Next::Retry)
            }
            Err(error) => {
                let reason = reason_of(&error);
                (failed(old.clone(), &external_resource, reason, &error.to_string()), Next::Retry)
            }
        };
        status::write(context, &api, binding, &old, new).await?;
        return retry_deletion(context, &api, binding, next).await;
    }
    remove_finalizer(context, &api, binding).await?;
    Ok(Next::AwaitChange)
}

/// The next of the binding's ExternalResources, and the lock on it. While credentials are being replaced there are several; they
/// are deleted one after the other, always in the same order, because the status holds one operation.
async fn next_held(
    binding: &ServiceBinding,
    context: &Context,
    released: Option<&str>,
) -> kube::Result<Option<(ExternalResource, OwnedMutexGuard<()>)>> {
    let (kind, uid) = (ExternalResourceKind::ServiceBinding, binding.metadata.uid.as_deref());
    let named = binding.broker_ids();
    // Those that a changed status does not name.
    let known = context.ledger.of_binding(binding);
    let others = known.iter().filter_map(|held| held.spec.binding_id.as_deref());
    let others: BTreeSet<&str> = others.filter(|id| !named.contains(id)).collect();
    for id in named.iter().copied().chain(others).filter(|id| Some(*id) != released) {
        let lock = context.locks.lock(&external_resource_name(kind, id)).await;
        if let Some(held) = context.ledger.find(kind, id, uid).await? {
            return Ok(Some((held, lock)));
        }
    }
    Ok(None)
}

/// The broker holds nothing any more: removes the Secrets, the ExternalResource and the finalizer. `is_outdated` is whether the
/// object's status was written since it was read.
async fn finish(
    binding: &ServiceBinding,
    context: &Context,
    api: &Api<ServiceBinding>,
    old: &ServiceBindingStatus,
    external_resource: &ExternalResource,
    is_outdated: bool,
) -> Result<Next, ReconcileError> {
    let secrets: Api<Secret> =
        Api::namespaced(context.client.clone(), &binding.namespace().unwrap_or_default());
    if let Err(error) = secrets::remove(&secrets, binding).await {
        let mut new = old.clone();
        clear_operation(&mut new);
        let message = format!(
            "Error ejecting binding: the broker has deleted the credentials, but the Secrets cannot be deleted: {}. bindery \
            retries",
            explain(&error)
        );
        status::set_ready(&mut new, false, reasons::ERROR_EJECTING_SERVICE_BINDING, message);
        status::write(context, api, binding, old, new).await?;
        return retry_deletion(context, api, binding, Next::Retry).await;
    }
    context.ledger.remove(external_resource).await?;
    let note = "The binding was deleted successfully".to_owned();
    let event = Event::normal("Unbind", reasons::UNBOUND_SUCCESSFULLY, note);
    context.recorder.record(&binding.object_ref(&()), &event).await;
    if !is_outdated {
        remove_finalizer(context, api, binding).await?;
    } else if let Some(current) = api.get_opt(&binding.name_any()).await?
        && current.metadata.uid == binding.metadata.uid
    {
        remove_finalizer(context, api, &current).await?;
    }
    Ok(Next::AwaitChange)
}

/// The first request for the deletion is under way.
fn in_flight(mut status: ServiceBindingStatus) -> ServiceBindingStatus {
    begin(&mut status);
    let message = "Unbind request for ServiceBinding in-flight to Broker";
    status::set_ready(&mut status, false, reasons::UNBINDING_REQUEST_IN_FLIGHT, message);
    status
}

/// The broker is deleting.
fn in_progress(mut status: ServiceBindingStatus, operation: Option<String>) -> ServiceBindingStatus {
    begin(&mut status);
    status.async_op_in_progress = true;
    status.last_operation = operation;
    let message = "The binding is being deleted asynchronously";
    status::set_ready(&mut status, false, reasons::UNBINDING, message);
    status
}

/// Makes the deletion the operation of the status.
fn begin(status: &mut ServiceBindingStatus) {
    if status.current_operation != Some(BindingOperation::Unbind) {
        status.current_operation = Some(BindingOperation::Unbind);
        status.operation_start_time = None;
        status.polling_start_time = None;
        status.orphan_mitigation_in_progress = false;
        clear_operation(status);
    }
    status.unbind_status = Some(ReleaseStatus::Required);
    status::start(status);
}

pub(super) fn reason_of(error: &BrokerError) -> &'static str {
    match error {
        BrokerError::Credentials(_) => reasons::ERROR_GETTING_AUTH_CREDENTIALS,
        BrokerError::NotApproved(_) => reasons::SECRET_NOT_APPROVED,
        BrokerError::Client(error) if error.is_answer() => reasons::UNBIND_CALL_FAILED,
        BrokerError::Client(_) => reasons::ERROR_CALLING_UNBIND,
    }
}

/// Reports a failed deletion: what blocks it, since when, and what to do.
fn failed(
    mut status: ServiceBindingStatus,
    external_resource: &ExternalResource,
    reason: &'static str,
    about: &str,
) -> ServiceBindingStatus {
    begin(&mut status);
    let since = status::start(&mut status).0;
    let message = format!(
        "The broker {} has not deleted the binding since {since:.0}: {about}. bindery retries. To stop retrying \
        and leave the binding at the broker: kubectl delete extres {}",
        external_resource.spec.broker.name,
        external_resource.name_any()
    );
    status::set_ready(&mut status, false, reason, message);
    status
}
