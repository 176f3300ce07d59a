//! Deletes an instance: once no binding uses it, the broker deletes it, then the ExternalResource and the finalizer
//! are removed.

use std::time::Duration;

use kube::{Api, Resource, ResourceExt};

use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceKind, ServiceBinding, ServiceInstance, ServiceInstanceStatus,
        instance::{InstanceOperation, ReleaseStatus},
        reasons,
    },
    catalog::{
        connections::BrokerError,
        context::Context,
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError,
            delete_external::{self, Released},
            has_finalizer,
            namespace_termination::{broker_timeout, retry_deletion},
            polling::poll_interval,
            remove_finalizer, status,
        },
    },
    k8s::events::Event,
    osb::Operation,
};

/// The wait before the next check for ExternalResources that block the deletion; their removal ends the wait.
const BLOCKED: Duration = Duration::from_secs(10);

pub(super) async fn reconcile(instance: &ServiceInstance, context: &Context) -> Result<Next, ReconcileError> {
    if !has_finalizer(instance) {
        return Ok(Next::AwaitChange); // If there is an ExternalResource, its reconciler deletes the instance once the object is gone.
    }
    let namespace = instance.namespace().unwrap_or_default();
    let api: Api<ServiceInstance> = Api::namespaced(context.client.clone(), &namespace);
    let old = instance.status.clone().unwrap_or_default();
    let mut new = old.clone();
    if let Some(blockers) = find_blockers(instance, context) {
        status::set_ready(&mut new, false, reasons::DEPROVISION_BLOCKED_BY_EXISTING_CREDENTIALS, blockers);
        status::write(context, &api, instance, &old, new).await?;
        return retry_deletion(context, &api, instance, Next::After(BLOCKED)).await;
    }
    let id = instance.spec.external_id.clone().unwrap_or_default();
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceInstance, &id)).await;
    let uid = instance.metadata.uid.as_deref();
    let Some(external_resource) =
        context.ledger.find(ExternalResourceKind::ServiceInstance, &id, uid).await?
    else {
        remove_finalizer(context, &api, instance).await?; // No broker holds anything for it.
        return Ok(Next::AwaitChange);
    };
    let asking = delete_external::instance(context, &external_resource, start_deprovision(&mut new));
    let next =
        match delete_external::within(broker_timeout(context, instance), &external_resource, asking).await {
            Ok(Released::Done) => {
                context.ledger.remove(&external_resource).await?;
                let note = "The instance was deprovisioned successfully".to_owned();
                let event = Event::normal("Deprovision", reasons::DEPROVISIONED_SUCCESSFULLY, note);
                context.recorder.record(&instance.object_ref(&()), &event).await;
                remove_finalizer(context, &api, instance).await?;
                return Ok(Next::AwaitChange);
            }
            Ok(Released::InProgress { operation, wait }) => {
                new.async_op_in_progress = true;
                new.last_operation = operation;
                let message = "The instance is being deprovisioned asynchronously";
                status::set_ready(&mut new, false, reasons::DEPROVISIONING, message);
                Next::After(poll_interval(new.operation_start_time.as_ref(), wait))
            }
            Ok(Released::Failed(about)) => {
                failed(&mut new, &external_resource, reasons::DEPROVISION_CALL_FAILED, &about)
            }
            Err(BrokerError::Credentials(about)) => {
                failed(&mut new, &external_resource, reasons::ERROR_GETTING_AUTH_CREDENTIALS, &about)
            }
            Err(BrokerError::NotApproved(about)) => {
                failed(&mut new, &external_resource, reasons::SECRET_NOT_APPROVED, &about)
            }
            Err(BrokerError::Client(error)) => {
                let reason = if error.is_answer() {
                    reasons::DEPROVISION_CALL_FAILED
                } else {
                    reasons::ERROR_CALLING_DEPROVISION
                };
                failed(&mut new, &external_resource, reason, &error.to_string())
            }
        };
    status::write(context, &api, instance, &old, new).await?;
    retry_deletion(context, &api, instance, next).await
}

/// Whether anything still uses the instance.
pub(super) fn is_used(instance: &ServiceInstance, context: &Context) -> bool {
    find_blockers(instance, context).is_some()
}

/// A message that names what still uses the instance.
fn find_blockers(instance: &ServiceInstance, context: &Context) -> Option<String> {
    let (namespace, name) = (instance.namespace(), instance.name_any());
    let of_instance = |binding: &ServiceBinding| {
        binding.spec.instance_ref.name == name && binding.namespace() == namespace && has_finalizer(binding)
    };
    let mut bindings: Vec<_> =
        context.stores.bindings.state_filter(of_instance).iter().map(|binding| binding.name_any()).collect();
    bindings.sort();
    if !bindings.is_empty() {
        let names = bindings.join(", ");
        return Some(format!("Delete its ServiceBindings first; still there: {names}"));
    }
    let id = instance.spec.external_id.as_deref().unwrap_or_default();
    let external_resources = context.ledger.binding_names(id, namespace.as_deref().unwrap_or_default());
    (!external_resources.is_empty()).then(|| {
        let names = external_resources.join(", ");
        format!(
            "The broker still holds bindings of this instance whose ServiceBindings are gone; see kubectl \
            describe extres {names}"
        )
    })
}

/// Records the start of the deletion, and returns the operation that is already running.
fn start_deprovision(status: &mut ServiceInstanceStatus) -> delete_external::Begun {
    if status.current_operation != Some(InstanceOperation::Deprovision) {
        // The running operation may be the creation; a deletion cancels it (spec.md, "Deprovisioning").
        status.current_operation = Some(InstanceOperation::Deprovision);
        status.async_op_in_progress = false;
        status.last_operation = None;
        status.operation_start_time = None;
    }
    status.deprovision_status = Some(ReleaseStatus::Required);
    status::start(status);
    status.async_op_in_progress.then(|| status.last_operation.clone().map(Operation::from))
}

/// Reports a failed deletion: what blocks it, since when, and what to do.
fn failed(
    status: &mut ServiceInstanceStatus,
    external_resource: &ExternalResource,
    reason: &str,
    about: &str,
) -> Next {
    status.async_op_in_progress = false;
    status.last_operation = None;
    let since = status::start(status).0;
    let message = format!(
        "The broker {} has not deleted the instance since {since:.0}: {about}. bindery retries. To stop retrying \
        and leave the instance at the broker: kubectl delete extres {}",
        external_resource.spec.broker.name,
        external_resource.name_any()
    );
    status::set_ready(status, false, reason, message);
    Next::Retry
}
