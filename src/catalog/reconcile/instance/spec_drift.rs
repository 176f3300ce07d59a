//! The difference between an existing instance and its spec: condition `Current`. Pure.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    apis::servicecatalog::{
        ConditionType, ServiceInstance, ServiceInstanceSpec, ServiceInstanceStatus,
        instance::InstanceProperties, reasons,
    },
    catalog::reconcile::{
        now,
        resolve::{Offer, Unresolved},
    },
    osb::Object,
};

/// What the broker was told, for comparison with later specs.
pub(super) fn properties(spec: &ServiceInstanceSpec, offer: &Offer) -> InstanceProperties {
    InstanceProperties {
        cluster_service_plan_external_name: offer.plan.common().external_name.clone(),
        cluster_service_plan_external_id: offer.plan.common().external_id.clone(),
        parameter_checksum: spec
            .parameters
            .as_ref()
            .filter(|parameters| !parameters.is_empty())
            .map(checksum),
        ..InstanceProperties::default()
    }
}

fn checksum(parameters: &Object) -> String {
    // serde_json sorts members, so equal parameters have equal text.
    let text = json!(parameters).to_string();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares an existing instance with its spec, and reports a difference.
pub(super) fn report_drift(
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
