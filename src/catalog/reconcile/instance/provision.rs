//! Creates an instance: finds its class and plan, records the ExternalResource, asks the broker, and polls until the
//! instance exists.

use std::time::Duration;

use kube::{Api, ResourceExt};
use serde_json::json;
use uuid::Uuid;

use super::{attempt::Attempt, deprovision::is_used, rollback::roll_back, spec_drift::report_drift};
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ConditionType, ExternalResource, ExternalResourceKind, ExternalResourceSpec, LocalReference,
            ServiceInstance, ServiceInstanceSpec,
            instance::ProvisionStatus,
            reasons,
            scope::{BrokerKey, BrokerObject},
        },
    },
    catalog::{
        context::{Context, NamespaceState},
        labels,
        ledger::{Recorded, external_resource_name, how_to_adopt},
        reconcile::{
            Next, ReconcileError, has_finalizer, namespace_termination, patch,
            resolve::{self, Offer, Unresolved},
            status, with_finalizer,
        },
    },
    k8s::trim::{is_cut, too_deep},
    osb::Object,
};

/// The wait for a namespace that the watch has not seen yet. The namespace's appearance ends the wait.
const UNKNOWN_NAMESPACE_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn reconcile(instance: &ServiceInstance, context: &Context) -> Result<Next, ReconcileError> {
    let namespace = instance.namespace().unwrap_or_default();
    let namespace_uid = match context.namespace(&namespace) {
        // The bindings that use the instance are deleted first; their removal enqueues the instance.
        NamespaceState::Terminating { .. } if is_used(instance, context) => return Ok(Next::AwaitChange),
        NamespaceState::Terminating { .. } => return namespace_termination::delete(instance, context).await,
        NamespaceState::Unknown => return Ok(Next::After(UNKNOWN_NAMESPACE_WAIT)),
        NamespaceState::Active { uid } => uid,
    };
    let api: Api<ServiceInstance> = Api::namespaced(context.client.clone(), &namespace);
    let old = instance.status.clone().unwrap_or_default();
    let offer = resolve::resolve(&instance.spec, &namespace, &context.stores)
        .and_then(|offer| readable(instance, offer));
    if old.provision_status == Some(ProvisionStatus::Provisioned) {
        let new = report_drift(instance, offer, old.clone());
        status::write(context, &api, instance, &old, new).await?;
        return Ok(Next::AwaitChange);
    }
    if old.conditions.is_true(ConditionType::Failed)
        && Some(old.observed_generation) == instance.metadata.generation
    {
        return Ok(Next::AwaitChange);
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
            Next::AwaitChange
        }
        Ok((offer, broker)) => {
            let external_resource = external_resource(&instance, &namespace_uid, &offer, broker.as_ref());
            let _lock = context.locks.lock(&external_resource.name_any()).await;
            let registered = |broker: &BrokerKey| context.stores.broker(broker).is_some();
            match context.ledger.record(external_resource.spec, registered).await? {
                Recorded::Taken => {
                    status::set_ready(&mut new, false, reasons::ERROR_EXTERNAL_ID_TAKEN, TAKEN);
                    Next::Retry
                }
                Recorded::OtherNamespace(held) => {
                    let message = format!(
                        "spec.externalID is taken: {}; or delete this ServiceInstance and create it with another \
                        externalID or without one",
                        how_to_adopt(&held, &namespace_uid)
                    );
                    status::set_ready(&mut new, false, reasons::NAMESPACE_RECREATED, message);
                    Next::Retry
                }
                Recorded::OtherRequest(held) if Some(&held.spec.uid) == instance.metadata.uid.as_ref() => {
                    roll_back(context, &held, &mut new).await?
                }
                // What an earlier object of this name created may be in use, so it is not deleted to make room.
                Recorded::OtherRequest(held) => {
                    let message = format!("{INHERITED}: {}", held.name_any());
                    status::set_ready(&mut new, false, reasons::ERROR_EXTERNAL_ID_TAKEN, message);
                    Next::Retry
                }
                Recorded::Ours { external_resource, is_new } => {
                    let mut attempt = Attempt {
                        context,
                        instance: instance.clone(),
                        offer,
                        broker: broker.as_ref(),
                        external_resource,
                        is_first: is_new,
                        status: new,
                        namespace_uid,
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
const INHERITED: &str = "spec.externalID belongs to an earlier ServiceInstance of this name with another class \
    or plan. Set the earlier class and plan, or delete this ServiceInstance, which also deletes its instance at \
    the broker, and create it with another externalID. See kubectl describe extres";

fn with_broker(
    offer: Offer,
    context: &Context,
) -> Result<(Offer, std::sync::Arc<dyn BrokerObject>), Unresolved> {
    let name = offer.class.broker();
    let broker = context.stores.broker(&name).filter(|broker| !broker.is_being_deleted());
    match broker {
        Some(broker) => Ok((offer, broker)),
        None => Err(Unresolved {
            reason: reasons::REFERENCES_NONEXISTENT_BROKER,
            message: format!("the {name} of the class does not exist or is being deleted; create it"),
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
    let mut completed = instance.clone();
    if let Some(offer) = offer {
        for (field, name) in set_references(&mut completed.spec, offer) {
            changes["spec"][field] = json!({"name": name});
        }
    }
    let wanted = labels::of_instance(&completed);
    if wanted.iter().any(|(name, value)| instance.labels().get(name) != Some(value)) {
        changes["metadata"]["labels"] = json!(wanted);
    }
    if changes == json!({}) {
        return Ok(instance.clone());
    }
    Ok(patch(context, api, instance, changes).await?)
}

/// Sets the references to class and plan, of the cluster or of the namespace. Returns the changed fields and the names.
fn set_references<'a>(spec: &mut ServiceInstanceSpec, offer: &'a Offer) -> Vec<(&'static str, &'a str)> {
    let (class, plan) = (offer.class.object_name(), offer.plan.object_name());
    let references = if offer.class.broker().namespace.is_none() {
        [
            ("clusterServiceClassRef", &mut spec.cluster_service_class_ref, class),
            ("clusterServicePlanRef", &mut spec.cluster_service_plan_ref, plan),
        ]
    } else {
        [
            ("serviceClassRef", &mut spec.service_class_ref, class),
            ("servicePlanRef", &mut spec.service_plan_ref, plan),
        ]
    };
    let mut changed = Vec::new();
    for (field, reference, name) in references {
        let wanted = Some(LocalReference { name: name.to_owned() });
        if *reference != wanted {
            *reference = wanted;
            changed.push((field, name));
        }
    }
    changed
}

/// The ExternalResource for this instance.
fn external_resource(
    instance: &ServiceInstance,
    namespace_uid: &str,
    offer: &Offer,
    broker: &dyn BrokerObject,
) -> ExternalResource {
    let id = instance.spec.external_id.clone().unwrap_or_default();
    let spec = ExternalResourceSpec {
        broker: ExternalResourceBroker::of(broker),
        kind: ExternalResourceKind::ServiceInstance,
        namespace: instance.namespace().unwrap_or_default(),
        namespace_uid: Some(namespace_uid.to_owned()),
        space_guid: None,
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
        instance_id: id.clone(),
        binding_id: None,
        service_id: offer.class.common().external_id.clone(),
        plan_id: offer.plan.common().external_id.clone(),
    };
    ExternalResource::new(&external_resource_name(ExternalResourceKind::ServiceInstance, &id), spec)
}
