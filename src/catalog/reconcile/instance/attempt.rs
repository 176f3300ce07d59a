//! One attempt to bring an instance closer to its spec at the broker, and the status to write.

use std::time::Duration;

use kube::{Api, ResourceExt};
use serde_json::json;

use super::properties::plan_id;
use crate::{
    apis::servicecatalog::{
        ExternalResource, ServiceInstance, ServiceInstanceStatus,
        instance::{InstanceOperation, InstanceProperties, ReleaseStatus},
        reasons,
    },
    catalog::{
        client::Identity,
        context::Context,
        reconcile::{ReconcileError, deadline, now, status},
    },
    osb::{Object, Operation},
};

/// One attempt, and the status to write.
pub(super) struct Attempt<'a> {
    pub(super) context: &'a Context,
    pub(super) api: Api<ServiceInstance>,
    pub(super) instance: ServiceInstance,
    pub(super) external_resource: ExternalResource,
    /// Whether this is the first request to the broker for the id.
    pub(super) is_first: bool,
    /// The status that the API server has.
    pub(super) written: ServiceInstanceStatus,
    pub(super) status: ServiceInstanceStatus,
    /// The uid of the namespace.
    pub(super) namespace_uid: String,
}

impl Attempt<'_> {
    /// The user who wishes the operation.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.instance.spec.user_info.as_ref().map(Identity::of)
    }

    /// The origin of a request on the platform.
    pub(super) fn origin(&self) -> Object {
        let mut origin = Object::new();
        origin.insert("platform".to_owned(), json!("kubernetes"));
        origin.insert("namespace".to_owned(), json!(self.instance.namespace()));
        origin.insert("clusterid".to_owned(), json!(self.context.cluster_id));
        origin.insert("instance_name".to_owned(), json!(self.instance.name_any()));
        origin
    }

    /// Records in the status what the broker is about to be asked for. A repeated request is recorded already.
    pub(super) async fn begin(
        &mut self,
        operation: InstanceOperation,
        properties: InstanceProperties,
    ) -> Result<(), ReconcileError> {
        let status = &mut self.status;
        if status.current_operation == Some(operation)
            && status.in_progress_properties.as_ref() == Some(&properties)
        {
            return Ok(());
        }
        status.current_operation = Some(operation);
        status.in_progress_properties = Some(properties);
        status.observed_generation = self.instance.metadata.generation.unwrap_or_default();
        status.deprovision_status = Some(ReleaseStatus::Required);
        status::start(status);
        let (reason, message) = if operation == InstanceOperation::Update {
            (
                reasons::UPDATE_INSTANCE_REQUEST_IN_FLIGHT,
                "Update request for ServiceInstance in-flight to Broker",
            )
        } else {
            (
                reasons::PROVISION_REQUEST_IN_FLIGHT,
                "Provision request for ServiceInstance in-flight to Broker",
            )
        };
        status::set_ready(status, false, reason, message);
        self.write().await
    }

    /// Writes the status.
    pub(super) async fn write(&mut self) -> Result<(), ReconcileError> {
        let new = self.status.clone();
        self.written = status::write(self.context, &self.api, &self.instance, &self.written, new).await?;
        self.status = self.written.clone();
        Ok(())
    }

    /// No asynchronous operation is in progress any more.
    pub(super) fn clear_async(&mut self) {
        self.status.async_op_in_progress = false;
        self.status.last_operation = None;
    }

    /// The operation is over.
    pub(super) fn end_operation(&mut self) {
        self.clear_async();
        self.status.current_operation = None;
        self.status.operation_start_time = None;
        self.status.polling_start_time = None;
        self.status.in_progress_properties = None;
    }

    /// Whether the operation has been retried or polled for as long as the settings allow.
    pub(super) fn is_out_of_time(&self) -> bool {
        deadline::is_over(self.status.operation_start_time.as_ref(), self.context.retry_duration, now().0)
    }

    /// The broker carries out the request asynchronously.
    pub(super) fn accepted(&mut self, operation: Option<Operation>) {
        self.status.async_op_in_progress = true;
        self.status.last_operation = operation.map(|operation| operation.to_string());
        self.status.polling_start_time.get_or_insert_with(now);
    }

    /// The plan's limit for polling the operation, if it is exceeded.
    pub(super) fn exceeded_polling(&self) -> Option<Duration> {
        let held = &self.external_resource.spec;
        let plan = self.status.in_progress_properties.as_ref().map_or(held.plan_id.as_str(), plan_id);
        let plan = self.context.stores.plan_with_id(&held.broker.key(), plan)?;
        let limit = deadline::longest_polling(plan.as_ref())?;
        deadline::is_over(self.status.polling_start_time.as_ref(), limit, now().0).then_some(limit)
    }
}
