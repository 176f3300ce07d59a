//! Orphan mitigation: after a creation whose outcome is unknown, or that failed, the broker is asked to delete what it
//! may hold (spec.md, "Orphan Mitigation"). Afterwards the creation starts again, unless it failed for good.

use super::attempt::Attempt;
use crate::{
    apis::servicecatalog::{ConditionType, reasons},
    catalog::reconcile::{
        Next, ReconcileError,
        delete_external::{self, Released},
        now,
        polling::poll_interval,
        status,
    },
    osb::Operation,
};

const STARTED: &str = "The instance provision call failed with an ambiguous error; attempting to deprovision the \
    instance in order to mitigate an orphaned resource";
const DONE: &str = "Orphan mitigation was completed successfully";

impl Attempt<'_> {
    /// Starts to delete what the broker may hold, unless the instance has been in use: then it holds data.
    pub(super) fn start_orphan_mitigation(&mut self) -> Next {
        if self.external_resource.spec.provisioned {
            return Next::Retry;
        }
        self.clear_async();
        self.status.polling_start_time = None;
        self.status.orphan_mitigation_in_progress = true;
        self.set_orphan_mitigation(reasons::STARTING_INSTANCE_ORPHAN_MITIGATION, STARTED);
        Next::Retry
    }

    /// Deletes at the broker what a creation left. `Ready` keeps the reason of the failure.
    pub(super) async fn mitigate_orphan(&mut self) -> Result<Next, ReconcileError> {
        if self.external_resource.spec.provisioned {
            return Ok(self.stop_orphan_mitigation());
        }
        let operation = self.status.last_operation.clone().map(Operation::from);
        let begun = self.status.async_op_in_progress.then_some(operation);
        let identity = self.identity();
        let asked =
            delete_external::instance(self.context, &self.external_resource, begun, identity.as_ref()).await;
        let about = match asked {
            Ok(Released::Done) => {
                self.context.ledger.remove(&self.external_resource).await?;
                return Ok(self.stop_orphan_mitigation());
            }
            Ok(Released::InProgress { operation, wait }) => {
                self.status.async_op_in_progress = true;
                self.status.last_operation = operation;
                return Ok(Next::After(poll_interval(self.status.operation_start_time.as_ref(), wait)));
            }
            Ok(Released::Failed(about)) => about,
            Err(error) => error.to_string(),
        };
        self.clear_async();
        let message = format!(
            "The broker {} has not deleted what the failed creation may have left: {about}. bindery retries",
            self.external_resource.spec.broker.name
        );
        self.set_orphan_mitigation(reasons::ORPHAN_MITIGATION_FAILED, &message);
        Ok(Next::Retry)
    }

    /// The broker holds nothing any more.
    fn stop_orphan_mitigation(&mut self) -> Next {
        self.status.orphan_mitigation_in_progress = false;
        self.status.conditions.remove(ConditionType::OrphanMitigation);
        if self.status.conditions.is_true(ConditionType::Failed) {
            self.end_operation();
            return Next::AwaitChange;
        }
        // The time of the first attempt is kept, so that the retries end.
        self.clear_async();
        self.status.current_operation = None;
        self.status.in_progress_properties = None;
        status::set_ready(&mut self.status, false, reasons::ORPHAN_MITIGATION_SUCCESSFUL, DONE);
        Next::Retry
    }

    fn set_orphan_mitigation(&mut self, reason: &str, message: &str) {
        self.status.conditions.set(ConditionType::OrphanMitigation, true, reason, message, now().0);
    }
}
