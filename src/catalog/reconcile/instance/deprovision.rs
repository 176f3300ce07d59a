//! Deletes an instance: once no binding uses it, the broker deletes it, then the ExternalResource and the finalizer
//! are removed.

use std::time::Duration;

use kube::{Api, Resource, ResourceExt};

use super::blockers::{self, Blocked};
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResource, ExternalResourceKind, ServiceInstance, ServiceInstanceStatus,
        instance::{InstanceOperation, ReleaseStatus},
        reasons,
    },
    catalog::{
        client::Identity,
        connections::BrokerError,
        context::Context,
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError, deadline,
            delete_external::{self, Released},
            has_finalizer,
            namespace_termination::{broker_timeout, retry_deletion},
            now,
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
    if let Some(Blocked { reason, message, is_protected }) = blockers::find(instance, context).await? {
        status::set_ready(&mut new, false, reason, message);
        status::write(context, &api, instance, &old, new).await?;
        if is_protected {
            return Ok(Next::AwaitChange); // The change of the annotation enqueues the instance.
        }
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
    let begun = start_deprovision(&mut new);
    let old = status::write(context, &api, instance, &old, new).await?;
    let mut new = old.clone();
    let identity = instance.spec.user_info.as_ref().map(Identity::of);
    let asking = delete_external::instance(context, &external_resource, begun, identity.as_ref());
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
    give_up_in_time(&mut new, context);
    status::write(context, &api, instance, &old, new).await?;
    retry_deletion(context, &api, instance, next).await
}

/// After the time for retries the deletion counts as failed. The retries go on, because nothing else ends it.
fn give_up_in_time(status: &mut ServiceInstanceStatus, context: &Context) {
    let Some(ready) = status.conditions.get(ConditionType::Ready) else { return };
    let message = ready.message.clone();
    if deadline::is_over(status.operation_start_time.as_ref(), context.retry_duration, now().0) {
        status.deprovision_status = Some(ReleaseStatus::Failed);
        status::set_failed(status, reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT, &message);
    }
}

/// Records the start of the deletion, and returns the operation that is already running.
fn start_deprovision(status: &mut ServiceInstanceStatus) -> delete_external::Begun {
    if status.current_operation != Some(InstanceOperation::Deprovision) {
        // The running operation may be the creation; a deletion cancels it (spec.md, "Deprovisioning").
        status.current_operation = Some(InstanceOperation::Deprovision);
        status.async_op_in_progress = false;
        status.last_operation = None;
        status.operation_start_time = None;
        status.polling_start_time = None;
        status.in_progress_properties = None;
        status.orphan_mitigation_in_progress = false;
        status.conditions.remove(ConditionType::OrphanMitigation);
        let message = "Deprovision request for ServiceInstance in-flight to Broker";
        status::set_ready(status, false, reasons::DEPROVISION_REQUEST_IN_FLIGHT, message);
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
