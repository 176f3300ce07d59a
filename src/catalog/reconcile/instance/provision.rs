//! Creates an instance: finds its class and plan, records the ExternalResource, asks the broker, and polls until the
//! instance exists.

use std::time::Duration;

use kube::{Api, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{deprovision::is_used, rollback::withdraw};
use crate::{
    apis::servicecatalog::{
        ClusterServiceBroker, ConditionType, ExternalResource, ExternalResourceKind, ExternalResourceSpec,
        ServiceInstance, ServiceInstanceSpec, ServiceInstanceStatus,
        instance::{InstanceOperation, InstanceProperties, ProvisionStatus, ReleaseStatus},
        reasons,
    },
    catalog::{
        client::{ClientError, Progress},
        connections::{BrokerError, remembered},
        context::{Context, NamespaceState},
        ledger::{Recorded, external_resource_name, how_to_adopt},
        reconcile::{
            Next, ReconcileError,
            delete_external::{self, Released, poll_wait},
            has_finalizer, namespace_termination, now, patch,
            resolve::{self, Offer, Unresolved},
            status, with_finalizer,
        },
    },
    k8s::trim::{is_cut, too_deep},
    osb::{Object, Operation, OperationState, ProvisionRequest},
};

/// The wait for a namespace that the watch has not seen yet. The namespace's appearance ends the wait.
const UNKNOWN_NAMESPACE: Duration = Duration::from_secs(1);

/// One attempt to create an instance, and the status to write.
struct Attempt<'a> {
    context: &'a Context,
    instance: ServiceInstance,
    offer: Offer,
    broker: &'a ClusterServiceBroker,
    external_resource: ExternalResource,
    /// Whether this is the first request to the broker for the id.
    is_first: bool,
    status: ServiceInstanceStatus,
    /// The uid of the namespace.
    space: String,
}

pub(super) async fn reconcile(instance: &ServiceInstance, context: &Context) -> Result<Next, ReconcileError> {
    let namespace = instance.namespace().unwrap_or_default();
    let space = match context.namespace(&namespace) {
        // The bindings that use the instance are deleted first; their removal enqueues the instance.
        NamespaceState::Terminating { .. } if is_used(instance, context) => return Ok(Next::Settled),
        NamespaceState::Terminating { .. } => return namespace_termination::delete(instance, context).await,
        NamespaceState::Unknown => return Ok(Next::After(UNKNOWN_NAMESPACE)),
        NamespaceState::Active { uid } => uid,
    };
    let api: Api<ServiceInstance> = Api::namespaced(context.client.clone(), &namespace);
    let old = instance.status.clone().unwrap_or_default();
    let offer = resolve::resolve(&instance.spec, &context.stores).and_then(|offer| readable(instance, offer));
    if old.provision_status == Some(ProvisionStatus::Provisioned) {
        let new = compare(instance, offer, old.clone());
        status::write(context, &api, instance, &old, new).await?;
        return Ok(Next::Settled);
    }
    if old.conditions.is_true(ConditionType::Failed)
        && Some(old.observed_generation) == instance.metadata.generation
    {
        return Ok(Next::Settled);
    }
    let instance = prepare(context, &api, instance, offer.as_ref().ok()).await?;
    let mut new = old.clone();
    new.observed_generation = instance.metadata.generation.unwrap_or_default();
    new.provision_status = Some(ProvisionStatus::NotProvisioned);
    (new.user_specified_class_name, new.user_specified_plan_name) =
        resolve::user_specified(&instance.spec, offer.as_ref().ok());
    let next = match offer.and_then(|offer| with_broker(offer, context)) {
        Err(Unresolved { reason, message }) => {
            status::set_ready(&mut new, false, reason, message);
            Next::Settled
        }
        Ok((offer, broker)) => {
            let external_resource = external_resource(&instance, &space, &offer, &broker);
            let _turn = context.turns.take(&external_resource.name_any()).await;
            let registered = |name: &str| context.stores.broker(name).is_some();
            match context.ledger.record(external_resource.spec, registered).await? {
                Recorded::Taken => {
                    status::set_ready(&mut new, false, reasons::ERROR_EXTERNAL_ID_TAKEN, TAKEN);
                    Next::Retry
                }
                Recorded::OtherNamespace(held) => {
                    let message = format!(
                        "spec.externalID is taken: {}; or delete this ServiceInstance and create it with another \
                        externalID or without one",
                        how_to_adopt(&held, &space)
                    );
                    status::set_ready(&mut new, false, reasons::NAMESPACE_RECREATED, message);
                    Next::Retry
                }
                Recorded::Elsewhere(held) if Some(&held.spec.uid) == instance.metadata.uid.as_ref() => {
                    withdraw(context, &held, &mut new).await?
                }
                // What an earlier object of this name created may be in use, so it is not deleted to make room.
                Recorded::Elsewhere(held) => {
                    let message = format!("{INHERITED}: {}", held.name_any());
                    status::set_ready(&mut new, false, reasons::ERROR_EXTERNAL_ID_TAKEN, message);
                    Next::Retry
                }
                Recorded::Ours { external_resource, is_new } => {
                    let mut attempt = Attempt {
                        context,
                        instance: instance.clone(),
                        offer,
                        broker: &broker,
                        external_resource,
                        is_first: is_new,
                        status: new,
                        space,
                    };
                    let next = attempt.step().await?;
                    new = attempt.status;
                    next
                }
            }
        }
    };
    status::write(context, &api, &instance, &old, new).await?;
    Ok(next)
}

/// Returns the offer if the parameters can be read.
fn readable(instance: &ServiceInstance, offer: Offer) -> Result<Offer, Unresolved> {
    if instance.spec.parameters.iter().flat_map(Object::values).any(is_cut) {
        return Err(Unresolved {
            reason: reasons::ERROR_WITH_PARAMETERS,
            message: too_deep("spec.parameters"),
        });
    }
    Ok(offer)
}

const TAKEN: &str = "spec.externalID is the id of another ServiceInstance; delete this ServiceInstance and \
    create it with another externalID or without one";
const HELD_BY_THE_BROKER: &str = "the broker already holds spec.externalID for another owner, perhaps another \
    cluster; delete this ServiceInstance, which does not touch the other instance, and create it with another \
    externalID or without one";
const INHERITED: &str = "spec.externalID belongs to an earlier ServiceInstance of this name with another class \
    or plan. Set the earlier class and plan, or delete this ServiceInstance, which also deletes its instance at \
    the broker, and create it with another externalID. See kubectl describe extres";

fn with_broker(
    offer: Offer,
    context: &Context,
) -> Result<(Offer, std::sync::Arc<ClusterServiceBroker>), Unresolved> {
    let name = &offer.class.spec.cluster_service_broker_name;
    let broker = context.stores.broker(name).filter(|broker| broker.metadata.deletion_timestamp.is_none());
    match broker {
        Some(broker) => Ok((offer, broker)),
        None => Err(Unresolved {
            reason: reasons::REFERENCES_NONEXISTENT_BROKER,
            message: format!(
                "the ClusterServiceBroker {name:?} of the class does not exist or is being deleted; create it"
            ),
        }),
    }
}

/// Completes the instance in one step: the finalizer (only before the instance is first reconciled, so that it is
/// never put back), the id, and the references to class and plan.
async fn prepare(
    context: &Context,
    api: &Api<ServiceInstance>,
    instance: &ServiceInstance,
    offer: Option<&Offer>,
) -> Result<ServiceInstance, ReconcileError> {
    let mut changes = json!({});
    if instance.status.is_none() && !has_finalizer(instance) {
        changes["metadata"] = json!({"finalizers": with_finalizer(instance)});
    }
    if instance.spec.external_id.is_none() {
        changes["spec"]["externalID"] = json!(Uuid::new_v4().to_string());
    }
    if let Some(offer) = offer {
        let name = |reference: &Option<crate::apis::servicecatalog::LocalReference>| {
            reference.as_ref().map(|reference| reference.name.clone())
        };
        if name(&instance.spec.cluster_service_class_ref) != offer.class.metadata.name
            || name(&instance.spec.cluster_service_plan_ref) != offer.plan.metadata.name
        {
            changes["spec"]["clusterServiceClassRef"] = json!({"name": offer.class.name_any()});
            changes["spec"]["clusterServicePlanRef"] = json!({"name": offer.plan.name_any()});
        }
    }
    if changes == json!({}) {
        return Ok(instance.clone());
    }
    Ok(patch(context, api, instance, changes).await?)
}

/// The ExternalResource for this instance.
fn external_resource(
    instance: &ServiceInstance,
    space: &str,
    offer: &Offer,
    broker: &ClusterServiceBroker,
) -> ExternalResource {
    let id = instance.spec.external_id.clone().unwrap_or_default();
    let spec = ExternalResourceSpec {
        broker: remembered(broker),
        kind: ExternalResourceKind::ServiceInstance,
        namespace: instance.namespace().unwrap_or_default(),
        namespace_uid: Some(space.to_owned()),
        space_guid: None,
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
        instance_id: id.clone(),
        binding_id: None,
        service_id: offer.class.spec.external_id.clone(),
        plan_id: offer.plan.spec.external_id.clone(),
    };
    ExternalResource::new(&external_resource_name(ExternalResourceKind::ServiceInstance, &id), spec)
}

impl Attempt<'_> {
    /// Takes the next step.
    async fn step(&mut self) -> Result<Next, ReconcileError> {
        status::start(&mut self.status);
        if self.is_first {
            // The status describes an operation on an ExternalResource that is gone.
            self.status.orphan_mitigation_in_progress = false;
            self.ended();
        }
        if self.status.orphan_mitigation_in_progress {
            return self.undo().await;
        }
        self.status.current_operation = Some(InstanceOperation::Provision);
        if self.status.async_op_in_progress { Ok(self.poll().await) } else { self.ask().await }
    }

    async fn ask(&mut self) -> Result<Next, ReconcileError> {
        let request = self.request();
        let id = self.external_resource.spec.instance_id.as_str().into();
        let asked = async {
            let client = self.context.connections.of(self.broker).await?;
            Ok::<_, BrokerError>(client.provision(&id, &request).await?)
        };
        Ok(match asked.await {
            Ok(answer) => {
                self.status.dashboard_url = answer.dashboard_url;
                match answer.progress {
                    Progress::Done => self.provisioned(),
                    Progress::InProgress(operation) => {
                        self.begun(operation.map(|operation| operation.to_string()))
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
                self.given_up(reasons::ERROR_EXTERNAL_ID_TAKEN, HELD_BY_THE_BROKER)
            }
            Err(BrokerError::Client(error)) => self.refused(&error),
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
            space_guid: self.external_resource.spec.space_guid.clone().unwrap_or_else(|| self.space.clone()),
            parameters: self.instance.spec.parameters.clone().filter(|parameters| !parameters.is_empty()),
            maintenance_info: None,
        }
    }

    fn refused(&mut self, error: &ClientError) -> Next {
        if matches!(error, ClientError::Unauthorized { .. }) {
            self.context.connections.forget(&self.broker.name_any());
        }
        if error.is_terminal() {
            let message = format!("Error provisioning: {error}; change the spec to try again");
            return self.given_up(reasons::PROVISION_CALL_FAILED, &message);
        }
        let (reason, what) = if error.is_answer() {
            (reasons::PROVISION_CALL_FAILED, "Error provisioning")
        } else {
            (reasons::ERROR_CALLING_PROVISION, "Error communicating with the broker for provisioning")
        };
        status::set_ready(&mut self.status, false, reason, format!("{what}: {error}"));
        Next::Retry
    }

    fn given_up(&mut self, reason: &str, message: &str) -> Next {
        status::set_failed(&mut self.status, reason, message);
        self.status.current_operation = None;
        self.status.operation_start_time = None;
        Next::Settled
    }

    fn begun(&mut self, operation: Option<String>) -> Next {
        self.status.async_op_in_progress = true;
        self.status.last_operation = operation;
        let message = "The instance is being provisioned asynchronously";
        status::set_ready(&mut self.status, false, reasons::PROVISIONING, message);
        Next::After(poll_wait(self.status.operation_start_time.as_ref(), None))
    }

    fn ended(&mut self) {
        self.status.async_op_in_progress = false;
        self.status.last_operation = None;
    }

    fn provisioned(&mut self) -> Next {
        self.ended();
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
        Next::Settled
    }

    async fn poll(&mut self) -> Next {
        let operation = self.status.last_operation.clone().map(Operation::from);
        let key = delete_external::key(&self.external_resource);
        let asked = async {
            let client = self.context.connections.of(self.broker).await?;
            Ok::<_, BrokerError>(client.last_operation(&key, operation.as_ref()).await?)
        };
        let polled = match asked.await {
            Ok(polled) => polled,
            Err(BrokerError::Client(ClientError::Rejected { status: 404, .. })) => return self.forgotten(),
            Err(error) => {
                let message = format!("Error polling last operation: {error}");
                status::set_ready(&mut self.status, false, reasons::ERROR_POLLING_LAST_OPERATION, message);
                return Next::Retry;
            }
        };
        let Some(last) = polled.operation else { return self.forgotten() };
        match last.state {
            OperationState::Succeeded => self.provisioned(),
            OperationState::InProgress => {
                let about = last.description.map(|text| format!(" ({text})")).unwrap_or_default();
                let message = format!("The instance is being provisioned asynchronously{about}");
                status::set_ready(&mut self.status, false, reasons::PROVISIONING, message);
                Next::After(poll_wait(self.status.operation_start_time.as_ref(), polled.retry_after))
            }
            OperationState::Failed => {
                let about = last.description.unwrap_or_else(|| "the broker gives no reason".to_owned());
                let message = format!("Provisioning failed: {about}; change the spec to try again");
                status::set_ready(&mut self.status, false, reasons::PROVISION_CALL_FAILED, message);
                self.ended();
                // The platform deletes an instance whose state is uncertain (spec.md, "Orphan Mitigation").
                self.status.orphan_mitigation_in_progress = true;
                Next::After(Duration::from_secs(1))
            }
        }
    }

    /// The broker does not know the operation, so bindery requests the instance again under the same id.
    fn forgotten(&mut self) -> Next {
        self.ended();
        Next::Retry
    }

    /// Deletes at the broker what a failed creation left. `Ready` keeps the reason of the failure.
    async fn undo(&mut self) -> Result<Next, ReconcileError> {
        let operation = self.status.last_operation.clone().map(Operation::from);
        let begun = self.status.async_op_in_progress.then_some(operation);
        Ok(match delete_external::instance(self.context, &self.external_resource, begun).await {
            Ok(Released::Done) => {
                self.context.ledger.remove(&self.external_resource).await?;
                self.ended();
                self.status.orphan_mitigation_in_progress = false;
                let ready = self.status.conditions.get(ConditionType::Ready);
                let message = ready.map(|ready| ready.message.clone()).unwrap_or_default();
                self.given_up(reasons::PROVISION_CALL_FAILED, &message)
            }
            Ok(Released::InProgress { operation, wait }) => {
                self.status.async_op_in_progress = true;
                self.status.last_operation = operation;
                Next::After(poll_wait(self.status.operation_start_time.as_ref(), wait))
            }
            Ok(Released::Failed(_)) | Err(_) => {
                self.ended();
                Next::Retry
            }
        })
    }
}

/// What the broker was told, for comparison with later specs.
fn properties(spec: &ServiceInstanceSpec, offer: &Offer) -> InstanceProperties {
    InstanceProperties {
        cluster_service_plan_external_name: offer.plan.spec.external_name.clone(),
        cluster_service_plan_external_id: offer.plan.spec.external_id.clone(),
        parameter_checksum: spec
            .parameters
            .as_ref()
            .filter(|parameters| !parameters.is_empty())
            .map(checksum),
    }
}

fn checksum(parameters: &Object) -> String {
    // serde_json sorts members, so equal parameters have equal text.
    let text = json!(parameters).to_string();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares an existing instance with its spec, and reports a difference.
fn compare(
    instance: &ServiceInstance,
    offer: Result<Offer, Unresolved>,
    mut status: ServiceInstanceStatus,
) -> ServiceInstanceStatus {
    let generation = instance.metadata.generation.unwrap_or_default();
    if generation == status.reconciled_generation {
        status.conditions.remove(ConditionType::Current);
        return status;
    }
    status.observed_generation = generation;
    let wanted = offer.map(|offer| properties(&instance.spec, &offer));
    if wanted.as_ref().ok() == status.external_properties.as_ref() {
        status.reconciled_generation = generation;
        status.conditions.remove(ConditionType::Current);
        return status;
    }
    let plan =
        status.external_properties.as_ref().map(|known| known.cluster_service_plan_external_name.clone());
    let message = format!(
        "The instance keeps the plan {:?} and the parameters with which it was made: bindery does not update \
        instances. Undo the change of plan or parameters, or delete the instance and create it again",
        plan.unwrap_or_default()
    );
    status.conditions.set(ConditionType::Current, false, reasons::UPDATES_NOT_SUPPORTED, message, now().0);
    status
}
