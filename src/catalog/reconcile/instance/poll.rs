//! Follows an asynchronous creation or update of the broker.

use std::time::Duration;

use super::{attempt::Attempt, wanted};
use crate::{
    apis::servicecatalog::{instance::InstanceOperation, reasons},
    catalog::{
        client::ClientError,
        connections::BrokerError,
        reconcile::{Next, ReconcileError, delete_external, polling::poll_interval, status},
    },
    osb::{LastOperation, Operation, OperationState},
};

/// What the broker says about its operation.
enum Report {
    Done,
    InProgress {
        description: Option<String>,
        wait: Option<Duration>,
    },
    Failed(LastOperation),
    /// The broker does not know the operation.
    Unknown,
    /// The state could not be read.
    Unread(BrokerError),
}

impl Attempt<'_> {
    /// Polls the operation, and takes the next step.
    pub(super) async fn poll(&mut self) -> Result<Next, ReconcileError> {
        let is_update = self.status.current_operation == Some(InstanceOperation::Update);
        Ok(match self.ask_for_state().await {
            Report::Done if is_update => self.set_updated(None).await?,
            Report::Done => self.set_provisioned(None).await?,
            Report::InProgress { description, wait } => {
                let (reason, message) = if is_update {
                    (reasons::UPDATING_INSTANCE, UPDATING)
                } else {
                    (reasons::PROVISIONING, PROVISIONING)
                };
                // A description may quote parameters from Secrets.
                let shown = description.filter(|_| self.instance.spec.parameters_from.is_empty());
                let about = shown.map(|text| format!(" ({text})")).unwrap_or_default();
                status::set_ready(&mut self.status, false, reason, format!("{message}{about}"));
                if let Some(limit) = self.exceeded_polling() {
                    return Ok(self.give_up_polling(limit));
                }
                Next::After(poll_interval(self.status.operation_start_time.as_ref(), wait))
            }
            Report::Failed(last) => {
                let about = match &last.description {
                    Some(text) => wanted::redacted(self.context, &self.instance, text).await,
                    None => "the broker gives no reason".to_owned(),
                };
                if is_update {
                    self.set_update_failed(&last, &about)
                } else {
                    let message = format!("Provisioning failed: {about}; change the spec to try again");
                    status::set_failed(&mut self.status, reasons::PROVISION_CALL_FAILED, &message);
                    self.start_orphan_mitigation()
                }
            }
            // The request is repeated under the same id.
            Report::Unknown => {
                self.clear_async();
                Next::Retry
            }
            Report::Unread(error) => {
                let message = format!("Error polling last operation: {error}");
                status::set_ready(&mut self.status, false, reasons::ERROR_POLLING_LAST_OPERATION, message);
                match self.exceeded_polling() {
                    Some(limit) => self.give_up_polling(limit),
                    None => Next::Retry,
                }
            }
        })
    }

    /// The operation has been polled for as long as the plan allows.
    fn give_up_polling(&mut self, limit: Duration) -> Next {
        if self.status.current_operation == Some(InstanceOperation::Update) {
            self.give_up_update(limit)
        } else {
            self.give_up(limit)
        }
    }

    async fn ask_for_state(&self) -> Report {
        let operation = self.status.last_operation.clone().map(Operation::from);
        let identity = self.identity();
        let key = delete_external::key(&self.external_resource);
        let asked = async {
            let client = delete_external::connect(self.context, &self.external_resource).await?;
            Ok::<_, BrokerError>(client.last_operation(&key, operation.as_ref(), identity.as_ref()).await?)
        };
        let polled = match asked.await {
            Ok(polled) => polled,
            Err(BrokerError::Client(ClientError::Rejected { status: 404, .. })) => return Report::Unknown,
            // Brokers say so when an operation has failed for good (service-catalog issue 2505).
            Err(BrokerError::Client(error)) if error.is_terminal() => {
                let description = Some(error.to_string());
                return Report::Failed(LastOperation { description, ..LastOperation::default() });
            }
            Err(error) => return Report::Unread(error),
        };
        match polled.operation {
            None => Report::Unknown,
            Some(last) => match last.state {
                OperationState::Succeeded => Report::Done,
                OperationState::Failed => Report::Failed(last),
                OperationState::InProgress => {
                    Report::InProgress { description: last.description, wait: polled.retry_after }
                }
            },
        }
    }
}

pub(super) const PROVISIONING: &str = "The instance is being provisioned asynchronously";
pub(super) const UPDATING: &str = "The instance is being updated asynchronously";
