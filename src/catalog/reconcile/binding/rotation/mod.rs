//! Replaces the credentials of a binding without an outage (spec.md, "Binding Rotation"). `schedule` decides when, `replace`
//! asks the broker for new credentials under an id of their own and writes them into the Secrets, `remove` deletes the former
//! ones some time later, or the new ones if the rotation failed. The status names both ids before the ledger does, and the
//! ledger before the broker is asked, so that a rotation that was interrupted goes on and nothing stays at the broker.

mod remove;
mod replace;
mod schedule;

use std::time::Duration;

use kube::{Api, Resource, ResourceExt};
use uuid::Uuid;

use self::schedule::Todo;
use super::{expiry, offer::known_offer};
use crate::{
    apis::servicecatalog::{ConditionType, ServiceBinding, ServiceBindingStatus, binding::Rotation, reasons},
    catalog::{
        context::Context,
        reconcile::{Next, ReconcileError, now, status},
    },
    contract::binding as contract,
    k8s::events::Event,
};

const INJECTED: &str = "Injected bind result";
const STAY: &str = "The credentials stay as they were";

/// The value of the annotation that asks for a rotation.
pub(super) fn asked(binding: &ServiceBinding) -> Option<&str> {
    binding.annotations().get(contract::ROTATE).map(String::as_str).filter(|value| !value.is_empty())
}

fn overlap(binding: &ServiceBinding) -> Option<&str> {
    binding.annotations().get(contract::ROTATION_OVERLAP).map(String::as_str)
}

/// Whether the plan lets credentials be replaced, if the plan is known.
fn is_offered(binding: &ServiceBinding, context: &Context) -> Option<bool> {
    Some(known_offer(binding, context)?.plan.common().binding_rotatable == Some(true))
}

/// The next look at the binding, earlier if a rotation is to begin or to go on before.
pub(super) fn sooner(
    next: Next,
    binding: &ServiceBinding,
    status: &ServiceBindingStatus,
    context: &Context,
) -> Next {
    let wait = schedule::wait(status, asked(binding), is_offered(binding, context), now().0);
    match (next, wait) {
        (Next::After(next), Some(wait)) => Next::After(next.min(wait)),
        (next, _) => next,
    }
}

/// Takes the next step of a rotation. The Secrets are as they were written; `next` is when to look at them again.
pub(super) async fn step(
    binding: &ServiceBinding,
    context: &Context,
    api: &Api<ServiceBinding>,
    next: Next,
) -> Result<Next, ReconcileError> {
    let old = binding.status.clone().unwrap_or_default();
    let has_expired = expiry::time_left(&old, now().0).is_some_and(|left| left.is_zero());
    if has_expired && !expiry::is_reported(&old) {
        return Ok(Next::After(Duration::ZERO)); // The status was written meanwhile.
    }
    let rotating = Rotating { binding, context, api };
    let mut new = old.clone();
    let asked = asked(binding);
    let next = match schedule::todo(&old, asked, is_offered(binding, context), now().0) {
        Todo::Nothing => return Ok(sooner(next, binding, &old, context)),
        Todo::Forget => {
            new.rotation_request = None;
            report(&mut new, reasons::INJECTED_BIND_RESULT, INJECTED.to_owned());
            next
        }
        Todo::NotOffered => {
            new.rotation_request = asked.map(str::to_owned);
            let message = format!(
                "{STAY}: the plan of the instance does not offer to replace them; delete the binding and create it again"
            );
            report(&mut new, reasons::ROTATION_NOT_OFFERED, message);
            next
        }
        Todo::Expired => {
            new.rotation_request = asked.map(str::to_owned);
            let note = format!("{STAY}: they have expired; delete the binding and create it again");
            let event = Event::warning("Reconcile", reasons::ROTATION_FAILED, note);
            context.recorder.record(&binding.object_ref(&()), &event).await;
            next
        }
        Todo::Begin => match schedule::overlap(overlap(binding)) {
            Ok(_) => {
                begin(binding, &mut new);
                Next::After(Duration::ZERO)
            }
            Err(problem) => {
                report(&mut new, reasons::ROTATION_FAILED, format!("{STAY}: {problem}"));
                next
            }
        },
        Todo::Continue => rotating.proceed(&mut new, next).await?,
    };
    status::write(context, api, binding, &old, new).await?;
    Ok(next)
}

/// Writes the ids into the status. The broker is asked only once they are there.
fn begin(binding: &ServiceBinding, new: &mut ServiceBindingStatus) {
    let asked = asked(binding).map(str::to_owned);
    new.rotation = Some(Rotation {
        external_id: Uuid::new_v4().to_string(),
        predecessor_id: binding.broker_id().unwrap_or_default().to_owned(),
        requested: asked != new.rotation_request,
        start_time: now(),
        polling_start_time: None,
        async_op_in_progress: false,
        last_operation: None,
        orphan_mitigation_in_progress: false,
        failure: None,
        revoke_at: None,
    });
    new.rotation_request = asked;
    report(new, reasons::ROTATING_BINDING, "The credentials are being replaced".to_owned());
}

/// Sets the reason of `Ready`. Credentials in use stay usable, whatever becomes of the rotation, and expired ones expired.
fn report(new: &mut ServiceBindingStatus, reason: &str, message: String) {
    if new.conditions.is_true(ConditionType::Ready) {
        status::set_ready(new, true, reason, message);
    }
}

/// One step of a rotation.
struct Rotating<'a> {
    binding: &'a ServiceBinding,
    context: &'a Context,
    api: &'a Api<ServiceBinding>,
}

impl Rotating<'_> {
    /// Asks for the new credentials, deletes them after a failure, or deletes the former ones.
    async fn proceed(&self, new: &mut ServiceBindingStatus, next: Next) -> Result<Next, ReconcileError> {
        let Some(mut rotation) = new.rotation.take() else { return Ok(next) };
        if new.external_id.as_ref() == Some(&rotation.external_id) {
            return self.revoke(rotation, new, next).await;
        }
        if rotation.orphan_mitigation_in_progress {
            return self.withdraw(rotation, new).await;
        }
        let next = self.replace(&mut rotation, new).await;
        new.rotation = Some(rotation);
        next
    }
}

/// The failed rotation has left nothing at the broker.
fn give_up(failure: &str, new: &mut ServiceBindingStatus) {
    new.rotation_failed_at = Some(now());
    let message = format!("{STAY}, because the broker has not replaced them: {failure}");
    report(new, reasons::ROTATION_FAILED, message);
}

impl Rotation {
    /// No asynchronous operation is in progress any more.
    fn clear_operation(&mut self) {
        self.async_op_in_progress = false;
        self.last_operation = None;
        self.polling_start_time = None;
    }

    /// The new credentials are deleted. With a failure the rotation ends then, otherwise it starts again.
    fn fail(&mut self, failure: Option<String>) {
        self.clear_operation();
        self.orphan_mitigation_in_progress = true;
        self.failure = failure;
    }
}
