//! Deletes credentials at the broker: the former ones after a rotation, or the new ones after a rotation that failed.

use std::time::Duration;

use uuid::Uuid;

use super::{
    super::{identity, unbind::reason_of},
    INJECTED, Rotating, STAY, asked, give_up, report, schedule,
};
use crate::{
    apis::servicecatalog::{ExternalResourceKind, ServiceBindingStatus, binding::Rotation, reasons},
    catalog::{
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError, delete_binding, delete_external::Released, now, polling::poll_interval,
        },
    },
    osb::Operation,
};

/// How far a deletion is.
enum Removal {
    Done,
    /// The broker is deleting; bindery polls after this time.
    InProgress(Duration),
    Failed {
        reason: &'static str,
        message: String,
    },
}

impl Rotating<'_> {
    /// Deletes the former credentials once pods have had time to read the new ones.
    pub(super) async fn revoke(
        &self,
        mut rotation: Rotation,
        new: &mut ServiceBindingStatus,
        next: Next,
    ) -> Result<Next, ReconcileError> {
        let is_asked_again =
            asked(self.binding).is_some_and(|asked| Some(asked) != new.rotation_request.as_deref());
        let wait = schedule::until_revocation(&rotation, is_asked_again, now().0);
        if !wait.is_zero() {
            new.rotation = Some(rotation);
            return Ok(match next {
                Next::After(next) => Next::After(next.min(wait)),
                _ => Next::After(wait),
            });
        }
        let id = rotation.predecessor_id.clone();
        let next = match self.remove(&id, &mut rotation).await? {
            Removal::Done => {
                report(new, reasons::INJECTED_BIND_RESULT, INJECTED.to_owned());
                return Ok(Next::After(Duration::ZERO));
            }
            Removal::InProgress(wait) => Next::After(wait),
            Removal::Failed { reason, message } => {
                let message = format!(
                    "The Secrets hold the new credentials, but the broker has not deleted the former ones: {message}. bindery \
                    retries. To stop retrying and leave them at the broker: kubectl delete extres {}",
                    external_resource_name(ExternalResourceKind::ServiceBinding, &id)
                );
                report(new, reason, message);
                Next::Retry
            }
        };
        new.rotation = Some(rotation);
        Ok(next)
    }

    /// Deletes what a failed rotation may have left. The credentials in use are not touched.
    pub(super) async fn withdraw(
        &self,
        mut rotation: Rotation,
        new: &mut ServiceBindingStatus,
    ) -> Result<Next, ReconcileError> {
        let id = rotation.external_id.clone();
        let next = match self.remove(&id, &mut rotation).await? {
            Removal::Done => {
                if let Some(failure) = rotation.failure {
                    give_up(&failure, new);
                    return Ok(Next::After(Duration::ZERO));
                }
                rotation.external_id = Uuid::new_v4().to_string();
                rotation.orphan_mitigation_in_progress = false;
                Next::Retry
            }
            Removal::InProgress(wait) => Next::After(wait),
            Removal::Failed { message, .. } => {
                let message = format!(
                    "{STAY}. The broker has not yet deleted what the failed rotation may have left: {message}. bindery retries"
                );
                report(new, reasons::ROTATION_FAILED, message);
                Next::Retry
            }
        };
        new.rotation = Some(rotation);
        Ok(next)
    }

    /// Deletes the credentials with this id, if the ledger says that they are the binding's.
    async fn remove(&self, id: &str, rotation: &mut Rotation) -> kube::Result<Removal> {
        let Self { binding, context, .. } = self;
        let kind = ExternalResourceKind::ServiceBinding;
        let _lock = context.locks.lock(&external_resource_name(kind, id)).await;
        let Some(held) = context.ledger.find(kind, id, binding.metadata.uid.as_deref()).await? else {
            rotation.clear_operation();
            return Ok(Removal::Done);
        };
        let begun =
            rotation.async_op_in_progress.then(|| rotation.last_operation.clone().map(Operation::from));
        let asked = delete_binding::step(context, &held, begun, identity(binding).as_ref()).await;
        rotation.clear_operation();
        Ok(match asked {
            Ok(Released::Done) => {
                context.ledger.remove(&held).await?;
                Removal::Done
            }
            Ok(Released::InProgress { operation, wait }) => {
                rotation.async_op_in_progress = true;
                rotation.last_operation = operation;
                Removal::InProgress(poll_interval(Some(&rotation.start_time), wait))
            }
            Ok(Released::Failed(message)) => Removal::Failed { reason: reasons::UNBIND_CALL_FAILED, message },
            Err(error) => Removal::Failed { reason: reason_of(&error), message: error.to_string() },
        })
    }
}
