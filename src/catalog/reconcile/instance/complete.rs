//! Adds to instances that need nothing else what earlier versions of bindery, or other controllers, left out: the labels by which
//! svcat finds them, and the mark in the ledger that keeps bindery from deleting them as the remains of a failed creation.

use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};
use serde_json::json;

use crate::{
    apis::servicecatalog::{ExternalResourceKind, ServiceInstance},
    catalog::{
        context::Context,
        labels,
        ledger::external_resource_name,
        reconcile::{ReconcileError, patch},
    },
};

/// Completes a provisioned instance. The caches tell whether anything is missing, so that this costs no requests otherwise.
pub(super) async fn settled(
    instance: &ServiceInstance,
    context: &Context,
    api: &Api<ServiceInstance>,
) -> Result<(), ReconcileError> {
    let labels = labels::of_instance(instance);
    if labels.iter().any(|(name, value)| instance.labels().get(name) != Some(value)) {
        patch(context, api, instance, json!({"metadata": {"labels": labels}})).await?;
    }
    let id = instance.spec.external_id.as_deref().unwrap_or_default();
    let name = external_resource_name(ExternalResourceKind::ServiceInstance, id);
    let held = context.stores.external_resources.get(&ObjectRef::new(&name));
    let Some(held) = held.filter(|held| !held.spec.provisioned) else { return Ok(()) };
    if Some(&held.spec.uid) == instance.metadata.uid.as_ref() {
        context.ledger.mark_provisioned(&held).await?;
    }
    Ok(())
}
