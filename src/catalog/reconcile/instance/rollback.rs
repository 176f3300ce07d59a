//! Deletes what an instance requested under an earlier class or plan, if the instance does not exist yet.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::{ExternalResource, ServiceInstanceStatus, reasons},
    catalog::{
        client::Identity,
        context::Context,
        reconcile::{
            Next, ReconcileError,
            delete_external::{self, Released},
            polling::poll_interval,
            status,
        },
    },
    osb::Operation,
};

/// Deletes at the former broker what was requested before the class or plan changed: a reply may have been lost, or a
/// creation may still be running. Afterwards the id can be used again.
pub(super) async fn roll_back(
    context: &Context,
    held: &ExternalResource,
    identity: Option<&Identity>,
    new: &mut ServiceInstanceStatus,
) -> Result<Next, ReconcileError> {
    // The running operation may be the creation; a deletion cancels it (spec.md, "Deprovisioning").
    let begun = (new.orphan_mitigation_in_progress && new.async_op_in_progress)
        .then(|| new.last_operation.clone().map(Operation::from));
    new.orphan_mitigation_in_progress = true;
    new.async_op_in_progress = false;
    new.last_operation = None;
    status::start(new);
    let (broker, name) = (&held.spec.broker.name, held.name_any());
    let about = match delete_external::instance(context, held, begun, identity).await {
        Ok(Released::Done) => {
            context.ledger.remove(held).await?;
            new.orphan_mitigation_in_progress = false;
            new.current_operation = None;
            new.operation_start_time = None;
            new.in_progress_properties = None;
            let message = format!("The broker {broker} has deleted the instance of the former class or plan");
            status::set_ready(new, false, reasons::PROVISIONING, message);
            return Ok(Next::After(Duration::ZERO));
        }
        Ok(Released::InProgress { operation, wait }) => {
            new.async_op_in_progress = true;
            new.last_operation = operation;
            let message = format!("The broker {broker} is deleting the instance of the former class or plan");
            status::set_ready(new, false, reasons::PROVISIONING, message);
            return Ok(Next::After(poll_interval(new.operation_start_time.as_ref(), wait)));
        }
        Ok(Released::Failed(about)) => about,
        Err(error) => error.to_string(),
    };
    let message = format!(
        "The broker {broker} must first delete the instance of the former class or plan, and this fails: \
        {about}. bindery retries. To stop retrying and leave that instance at the broker: kubectl delete extres \
        {name}"
    );
    status::set_ready(new, false, reasons::DEPROVISION_CALL_FAILED, message);
    Ok(Next::Retry)
}
