//! Taking back what was asked for before the class or plan of an instance changed that is not there yet.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::{ExternalResource, ServiceInstanceStatus},
    catalog::{
        context::Context,
        reconcile::{
            Next, ReconcileError,
            delete_external::{self, Released, poll_wait},
            status,
        },
    },
    osb::Operation,
};

/// Has what was asked for before the class or plan changed deleted where it was asked for: an answer may have been
/// lost, or a creation may still run. Then the id is free to be asked for anew.
pub(super) async fn withdraw(
    context: &Context,
    held: &ExternalResource,
    new: &mut ServiceInstanceStatus,
) -> Result<Next, ReconcileError> {
    // An operation that runs may be the creation: a deletion ends it (spec.md, "Deprovisioning").
    let begun = (new.orphan_mitigation_in_progress && new.async_op_in_progress)
        .then(|| new.last_operation.clone().map(Operation::from));
    new.orphan_mitigation_in_progress = true;
    new.async_op_in_progress = false;
    new.last_operation = None;
    status::start(new);
    let (broker, name) = (&held.spec.broker.name, held.name_any());
    let about = match delete_external::instance(context, held, begun).await {
        Ok(Released::Done) => {
            context.ledger.remove(held).await?;
            new.orphan_mitigation_in_progress = false;
            new.current_operation = None;
            new.operation_start_time = None;
            let message = format!("What the broker {broker} was asked for before the change is deleted");
            status::set_ready(new, false, "Provisioning", message);
            return Ok(Next::After(Duration::ZERO));
        }
        Ok(Released::InProgress { operation, wait }) => {
            new.async_op_in_progress = true;
            new.last_operation = operation;
            let message = format!("The broker {broker} is deleting what it was asked for before the change");
            status::set_ready(new, false, "Provisioning", message);
            return Ok(Next::After(poll_wait(new.operation_start_time.as_ref(), wait)));
        }
        Ok(Released::Failed(about)) => about,
        Err(error) => error.to_string(),
    };
    let message = format!(
        "The broker {broker} must first delete what it was asked for before the change, which does not work: {about}. It \
         is tried again. To give up and leave it at the broker: kubectl delete extres {name}"
    );
    status::set_ready(new, false, "DeprovisionCallFailed", message);
    Ok(Next::Retry)
}
