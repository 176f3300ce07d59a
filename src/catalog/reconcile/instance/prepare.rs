//! Completes an instance: the finalizer, the id, the default plan, the references to class and plan, and their labels.

use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    apis::servicecatalog::{NameReference, ServiceInstance, ServiceInstanceSpec},
    catalog::{
        context::Context,
        labels,
        reconcile::{ReconcileError, has_finalizer, patch, resolve::Offer, with_finalizer},
    },
};

/// Completes the instance in one step.
pub(super) async fn prepare(
    context: &Context,
    api: &Api<ServiceInstance>,
    instance: &ServiceInstance,
    offer: Option<&Offer>,
) -> Result<ServiceInstance, ReconcileError> {
    let changes = changes(instance, offer);
    if changes == json!({}) {
        return Ok(instance.clone());
    }
    Ok(patch(context, api, instance, changes).await?)
}

/// What is missing. The finalizer is added only before the instance is first reconciled, so that it is never put back.
fn changes(instance: &ServiceInstance, offer: Option<&Offer>) -> Value {
    let mut changes = json!({});
    if instance.status.is_none() && !has_finalizer(instance) {
        changes["metadata"]["finalizers"] = json!(with_finalizer(instance));
    }
    if instance.spec.external_id.is_none() {
        changes["spec"]["externalID"] = json!(Uuid::new_v4().to_string());
    }
    let mut completed = instance.clone();
    if let Some(offer) = offer {
        for (field, name) in set_references(&mut completed.spec, offer) {
            changes["spec"][field] = json!({"name": name});
        }
        if let Some((field, name)) = default_plan(&instance.spec, offer) {
            changes["spec"][field] = json!(name);
        }
    }
    let labels = labels::of_instance(&completed);
    if labels.iter().any(|(name, value)| instance.labels().get(name) != Some(value)) {
        changes["metadata"]["labels"] = json!(labels);
    }
    changes
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
        let wanted = Some(NameReference { name: name.to_owned() });
        if *reference != wanted {
            *reference = wanted;
            changed.push((field, name));
        }
    }
    changed
}

/// The field for the plan that the user left open, named the same way as the class.
fn default_plan<'a>(spec: &ServiceInstanceSpec, offer: &'a Offer) -> Option<(&'static str, &'a str)> {
    let plan = offer.plan.common();
    let (external_name, external_id) = (plan.external_name.as_str(), plan.external_id.as_str());
    let name = offer.plan.object_name();
    let ways = [
        (
            &spec.cluster_service_class_external_name,
            &spec.cluster_service_plan_external_name,
            "clusterServicePlanExternalName",
            external_name,
        ),
        (
            &spec.cluster_service_class_external_id,
            &spec.cluster_service_plan_external_id,
            "clusterServicePlanExternalID",
            external_id,
        ),
        (&spec.cluster_service_class_name, &spec.cluster_service_plan_name, "clusterServicePlanName", name),
        (
            &spec.service_class_external_name,
            &spec.service_plan_external_name,
            "servicePlanExternalName",
            external_name,
        ),
        (
            &spec.service_class_external_id,
            &spec.service_plan_external_id,
            "servicePlanExternalID",
            external_id,
        ),
        (&spec.service_class_name, &spec.service_plan_name, "servicePlanName", name),
    ];
    let way = ways.into_iter().find(|(class, ..)| class.is_some());
    way.filter(|(_, plan, ..)| plan.is_none()).map(|(_, _, field, name)| (field, name))
}
