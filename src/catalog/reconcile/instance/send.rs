//! The request that creates an instance, and what its answer means.

use std::time::Duration;

use super::{attempt::Attempt, poll::PROVISIONING, properties::is_same_request, wanted::Wanted};
use crate::{
    apis::servicecatalog::{
        ConditionType,
        instance::{InstanceOperation, ProvisionStatus},
        reasons,
    },
    catalog::{
        client::{ClientError, Progress},
        connections::BrokerError,
        parameters::Parameters,
        reconcile::{Next, ReconcileError, deadline, delete_external, polling::poll_interval, status},
    },
    osb::ProvisionRequest,
};

const HELD_BY_THE_BROKER: &str = "the broker already holds spec.externalID for another owner, perhaps another \
    cluster; delete this ServiceInstance, which does not touch the other instance, and create it with another \
    externalID or without one";

impl Attempt<'_> {
    /// Takes the next step of a creation. `wanted` is what to ask for; without it only a running operation is followed.
    pub(super) async fn step(&mut self, wanted: Option<Wanted>) -> Result<Next, ReconcileError> {
        if self.is_first {
            // The status describes an operation on an ExternalResource that is gone.
            self.status.orphan_mitigation_in_progress = false;
            self.status.conditions.remove(ConditionType::OrphanMitigation);
            self.clear_async();
        }
        if self.is_out_of_time() {
            return Ok(self.give_up(self.context.retry_duration));
        }
        if self.status.orphan_mitigation_in_progress {
            return self.mitigate_orphan().await;
        }
        if self.status.async_op_in_progress {
            return self.poll().await;
        }
        match wanted {
            Some(wanted) => self.send_provision(wanted).await,
            None => Ok(Next::After(Duration::ZERO)),
        }
    }

    async fn send_provision(&mut self, wanted: Wanted) -> Result<Next, ReconcileError> {
        let asked_for = self.status.in_progress_properties.as_ref();
        if self.status.current_operation == Some(InstanceOperation::Provision)
            && asked_for.is_some_and(|asked_for| !is_same_request(asked_for, &wanted.properties))
            && !self.is_first
            && !self.external_resource.spec.provisioned
        {
            // The broker may have carried out the former request under this id.
            return Ok(self.start_orphan_mitigation());
        }
        self.begin(InstanceOperation::Provision, wanted.properties).await?;
        let (request, identity) = (self.request(&wanted.parameters), self.identity());
        let id = self.external_resource.spec.instance_id.as_str().into();
        let asked = async {
            let client = delete_external::connect(self.context, &self.external_resource).await?;
            Ok::<_, BrokerError>(client.provision(&id, &request, identity.as_ref()).await?)
        };
        match asked.await {
            Ok(answer) => match answer.progress {
                Progress::Done => self.set_provisioned(answer.dashboard_url).await,
                Progress::InProgress(operation) => {
                    self.status.dashboard_url = answer.dashboard_url;
                    self.accepted(operation);
                    status::set_ready(&mut self.status, false, reasons::PROVISIONING, PROVISIONING);
                    Ok(Next::After(poll_interval(self.status.operation_start_time.as_ref(), None)))
                }
            },
            Err(BrokerError::Credentials(message)) => {
                status::set_ready(&mut self.status, false, reasons::ERROR_GETTING_AUTH_CREDENTIALS, message);
                Ok(Next::Retry)
            }
            Err(BrokerError::NotApproved(message)) => {
                status::set_ready(&mut self.status, false, reasons::SECRET_NOT_APPROVED, message);
                Ok(Next::Retry)
            }
            Err(BrokerError::Client(error)) => self.set_provision_failed(&error, &wanted.parameters).await,
        }
    }

    fn request(&self, parameters: &Parameters) -> ProvisionRequest {
        let spec = &self.external_resource.spec;
        ProvisionRequest {
            service_id: spec.service_id.as_str().into(),
            plan_id: spec.plan_id.as_str().into(),
            context: Some(self.origin()),
            organization_guid: self.context.cluster_id.clone(),
            space_guid: spec.space_guid.clone().unwrap_or_else(|| self.namespace_uid.clone()),
            parameters: parameters.to_send(),
            maintenance_info: None,
        }
    }

    async fn set_provision_failed(
        &mut self,
        error: &ClientError,
        parameters: &Parameters,
    ) -> Result<Next, ReconcileError> {
        if matches!(error, ClientError::Unauthorized { .. }) {
            self.context.connections.forget(&self.external_resource.spec.broker.key());
        }
        // The broker holds the id although bindery never asked for it, so the instance is not ours. Without an
        // ExternalResource bindery will never delete it.
        if self.is_first && matches!(error, ClientError::Rejected { status: 409, .. }) {
            self.context.ledger.remove(&self.external_resource).await?;
            return Ok(self.set_failed(reasons::ERROR_EXTERNAL_ID_TAKEN, HELD_BY_THE_BROKER));
        }
        let about = parameters.redacted(&error.to_string());
        if error.is_terminal() {
            if self.is_first {
                // The broker has made nothing, so the deletion of the object need not wait for it.
                self.context.ledger.remove(&self.external_resource).await?;
            }
            let message = format!("Error provisioning: {about}; change the spec to try again");
            return Ok(self.set_failed(reasons::PROVISION_CALL_FAILED, &message));
        }
        let (reason, what) = if error.is_answer() {
            (reasons::PROVISION_CALL_FAILED, "Error provisioning")
        } else {
            (reasons::ERROR_CALLING_PROVISION, "Error communicating with the broker for provisioning")
        };
        status::set_ready(&mut self.status, false, reason, format!("{what}: {about}"));
        Ok(if error.needs_orphan_mitigation() { self.start_orphan_mitigation() } else { Next::Retry })
    }

    /// The creation failed for good.
    fn set_failed(&mut self, reason: &str, message: &str) -> Next {
        status::set_failed(&mut self.status, reason, message);
        self.end_operation();
        Next::AwaitChange
    }

    /// The creation has been retried for too long. What the broker may hold is deleted with the object.
    pub(super) fn give_up(&mut self, limit: Duration) -> Next {
        let ready = self.status.conditions.get(ConditionType::Ready);
        let former = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        let message = deadline::message(limit, &former, "Change the spec");
        let is_creating = self.status.async_op_in_progress && !self.status.orphan_mitigation_in_progress;
        status::set_failed(&mut self.status, reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT, &message);
        self.end_operation();
        if is_creating {
            return self.start_orphan_mitigation();
        }
        self.status.orphan_mitigation_in_progress = false;
        self.status.conditions.remove(ConditionType::OrphanMitigation);
        Next::AwaitChange
    }

    pub(super) async fn set_provisioned(
        &mut self,
        dashboard_url: Option<String>,
    ) -> Result<Next, ReconcileError> {
        let plan_id = self.external_resource.spec.plan_id.clone();
        self.context.ledger.set_provisioned(&self.external_resource, &plan_id).await?;
        let status = &mut self.status;
        if dashboard_url.is_some() {
            status.dashboard_url = dashboard_url;
        }
        status.provision_status = Some(ProvisionStatus::Provisioned);
        status.external_properties = status.in_progress_properties.take();
        status.reconciled_generation = status.observed_generation;
        status.update_requests = Some(self.instance.spec.update_requests.unwrap_or_default());
        status::set_ready(
            status,
            true,
            reasons::PROVISIONED_SUCCESSFULLY,
            "The instance was provisioned successfully",
        );
        self.end_operation();
        // The spec may have changed during an asynchronous creation.
        let is_current = Some(self.status.reconciled_generation) == self.instance.metadata.generation;
        Ok(if is_current { Next::AwaitChange } else { Next::After(Duration::ZERO) })
    }
}
