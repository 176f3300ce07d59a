//! One attempt to create an instance at the broker: requests it, polls an asynchronous creation, and deletes what a failed
//! creation left (orphan mitigation).

use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;

use super::spec_drift::properties;
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResource, ServiceInstance, ServiceInstanceStatus,
        instance::{InstanceOperation, ProvisionStatus, ReleaseStatus},
        reasons,
        scope::BrokerObject,
    },
    catalog::{
        client::{ClientError, Progress},
        connections::BrokerError,
        context::Context,
        reconcile::{
            Next, ReconcileError,
            delete_external::{self, Released},
            polling::poll_interval,
            resolve::Offer,
            status,
        },
    },
    osb::{Operation, OperationState, ProvisionRequest},
};

const HELD_BY_THE_BROKER: &str = "the broker already holds spec.externalID for another owner, perhaps another \
    cluster; delete this ServiceInstance, which does not touch the other instance, and create it with another \
    externalID or without one";

/// One attempt to create an instance, and the status to write.
pub(super) struct Attempt<'a> {
    pub(super) context: &'a Context,
    pub(super) instance: ServiceInstance,
    pub(super) offer: Offer,
    pub(super) broker: &'a dyn BrokerObject,
    pub(super) external_resource: ExternalResource,
    /// Whether this is the first request to the broker for the id.
    pub(super) is_first: bool,
    pub(super) status: ServiceInstanceStatus,
    /// The uid of the namespace.
    pub(super) namespace_uid: String,
}

impl Attempt<'_> {
    /// Takes the next step.
    pub(super) async fn step(&mut self) -> Result<Next, ReconcileError> {
        status::start(&mut self.status);
        if self.is_first {
            // The status describes an operation on an ExternalResource that is gone.
            self.status.orphan_mitigation_in_progress = false;
            self.clear_operation();
        }
        if self.status.orphan_mitigation_in_progress {
            return self.mitigate_orphan().await;
        }
        self.status.current_operation = Some(InstanceOperation::Provision);
        if self.status.async_op_in_progress { Ok(self.poll().await) } else { self.send_provision().await }
    }

    async fn send_provision(&mut self) -> Result<Next, ReconcileError> {
        let request = self.request();
        let id = self.external_resource.spec.instance_id.as_str().into();
        let asked = async {
            let client = self.context.connections.of(self.broker).await?;
            Ok::<_, BrokerError>(client.provision(&id, &request, None).await?)
        };
        Ok(match asked.await {
            Ok(answer) => {
                self.status.dashboard_url = answer.dashboard_url;
                match answer.progress {
                    Progress::Done => self.set_provisioned(),
                    Progress::InProgress(operation) => {
                        self.set_in_progress(operation.map(|operation| operation.to_string()))
                    }
                }
            }
            Err(BrokerError::Credentials(message)) => {
                status::set_ready(&mut self.status, false, reasons::ERROR_GETTING_AUTH_CREDENTIALS, message);
                Next::Retry
            }
            Err(BrokerError::NotApproved(message)) => {
                status::set_ready(&mut self.status, false, reasons::SECRET_NOT_APPROVED, message);
                Next::Retry
            }
            // The broker holds the id although bindery never asked for it, so the instance is not ours. Without an
            // ExternalResource bindery will never delete it.
            Err(BrokerError::Client(ClientError::Rejected { status: 409, .. })) if self.is_first => {
                self.context.ledger.remove(&self.external_resource).await?;
                self.set_failed(reasons::ERROR_EXTERNAL_ID_TAKEN, HELD_BY_THE_BROKER)
            }
            Err(BrokerError::Client(error)) => self.set_request_failed(&error),
        })
    }

    fn request(&self) -> ProvisionRequest {
        let context = json!({
            "platform": "kubernetes",
            "namespace": self.instance.namespace(),
            "clusterid": self.context.cluster_id,
            "instance_name": self.instance.name_any(),
        });
        ProvisionRequest {
            service_id: self.external_resource.spec.service_id.as_str().into(),
            plan_id: self.external_resource.spec.plan_id.as_str().into(),
            context: context.as_object().cloned(),
            organization_guid: self.context.cluster_id.clone(),
            space_guid: self
                .external_resource
                .spec
                .space_guid
                .clone()
                .unwrap_or_else(|| self.namespace_uid.clone()),
            parameters: self.instance.spec.parameters.clone().filter(|parameters| !parameters.is_empty()),
            maintenance_info: None,
        }
    }

    fn set_request_failed(&mut self, error: &ClientError) -> Next {
        if matches!(error, ClientError::Unauthorized { .. }) {
            self.context.connections.forget(&self.broker.key());
        }
        if error.is_terminal() {
            let message = format!("Error provisioning: {error}; change the spec to try again");
            return self.set_failed(reasons::PROVISION_CALL_FAILED, &message);
        }
        let (reason, what) = if error.is_answer() {
            (reasons::PROVISION_CALL_FAILED, "Error provisioning")
        } else {
            (reasons::ERROR_CALLING_PROVISION, "Error communicating with the broker for provisioning")
        };
        status::set_ready(&mut self.status, false, reason, format!("{what}: {error}"));
        Next::Retry
    }

    fn set_failed(&mut self, reason: &str, message: &str) -> Next {
        status::set_failed(&mut self.status, reason, message);
        self.status.current_operation = None;
        self.status.operation_start_time = None;
        Next::AwaitChange
    }

    fn set_in_progress(&mut self, operation: Option<String>) -> Next {
        self.status.async_op_in_progress = true;
        self.status.last_operation = operation;
        let message = "The instance is being provisioned asynchronously";
        status::set_ready(&mut self.status, false, reasons::PROVISIONING, message);
        Next::After(poll_interval(self.status.operation_start_time.as_ref(), None))
    }

    fn clear_operation(&mut self) {
        self.status.async_op_in_progress = false;
        self.status.last_operation = None;
    }

    fn set_provisioned(&mut self) -> Next {
        self.clear_operation();
        let status = &mut self.status;
        status.provision_status = Some(ProvisionStatus::Provisioned);
        status.deprovision_status = Some(ReleaseStatus::Required);
        status.current_operation = None;
        status.operation_start_time = None;
        status.reconciled_generation = self.instance.metadata.generation.unwrap_or_default();
        status.external_properties = Some(properties(&self.instance.spec, &self.offer));
        status::set_ready(
            status,
            true,
            reasons::PROVISIONED_SUCCESSFULLY,
            "The instance was provisioned successfully",
        );
        Next::AwaitChange
    }

    async fn poll(&mut self) -> Next {
        let operation = self.status.last_operation.clone().map(Operation::from);
        let key = delete_external::key(&self.external_resource);
        let asked = async {
            let client = self.context.connections.of(self.broker).await?;
            Ok::<_, BrokerError>(client.last_operation(&key, operation.as_ref(), None).await?)
        };
        let polled = match asked.await {
            Ok(polled) => polled,
            Err(BrokerError::Client(ClientError::Rejected { status: 404, .. })) => {
                return self.request_again();
            }
            Err(error) => {
                let message = format!("Error polling last operation: {error}");
                status::set_ready(&mut self.status, false, reasons::ERROR_POLLING_LAST_OPERATION, message);
                return Next::Retry;
            }
        };
        let Some(last) = polled.operation else { return self.request_again() };
        match last.state {
            OperationState::Succeeded => self.set_provisioned(),
            OperationState::InProgress => {
                let about = last.description.map(|text| format!(" ({text})")).unwrap_or_default();
                let message = format!("The instance is being provisioned asynchronously{about}");
                status::set_ready(&mut self.status, false, reasons::PROVISIONING, message);
                Next::After(poll_interval(self.status.operation_start_time.as_ref(), polled.retry_after))
            }
            OperationState::Failed => {
                let about = last.description.unwrap_or_else(|| "the broker gives no reason".to_owned());
                let message = format!("Provisioning failed: {about}; change the spec to try again");
                status::set_ready(&mut self.status, false, reasons::PROVISION_CALL_FAILED, message);
                self.clear_operation();
                // The platform deletes an instance whose state is uncertain (spec.md, "Orphan Mitigation").
                self.status.orphan_mitigation_in_progress = true;
                Next::After(Duration::from_secs(1))
            }
        }
    }

    /// The broker does not know the operation, so bindery requests the instance again under the same id.
    fn request_again(&mut self) -> Next {
        self.clear_operation();
        Next::Retry
    }

    /// Deletes at the broker what a failed creation left. `Ready` keeps the reason of the failure.
    async fn mitigate_orphan(&mut self) -> Result<Next, ReconcileError> {
        let operation = self.status.last_operation.clone().map(Operation::from);
        let set_in_progress = self.status.async_op_in_progress.then_some(operation);
        Ok(match delete_external::instance(self.context, &self.external_resource, set_in_progress).await {
            Ok(Released::Done) => {
                self.context.ledger.remove(&self.external_resource).await?;
                self.clear_operation();
                self.status.orphan_mitigation_in_progress = false;
                let ready = self.status.conditions.get(ConditionType::Ready);
                let message = ready.map(|ready| ready.message.clone()).unwrap_or_default();
                self.set_failed(reasons::PROVISION_CALL_FAILED, &message)
            }
            Ok(Released::InProgress { operation, wait }) => {
                self.status.async_op_in_progress = true;
                self.status.last_operation = operation;
                Next::After(poll_interval(self.status.operation_start_time.as_ref(), wait))
            }
            Ok(Released::Failed(_)) | Err(_) => {
                self.clear_operation();
                Next::Retry
            }
        })
    }
}
