//! Decides which ExternalResources describe what the brokers hold for existing objects. Pure.

use std::collections::HashMap;

use kube::ResourceExt;

use super::Inventory;
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ExternalResource, ExternalResourceKind, ExternalResourceSpec, ServiceBinding,
            ServiceBindingStatus, ServiceInstance, ServiceInstanceStatus,
            instance::{ProvisionStatus, ReleaseStatus},
        },
    },
    catalog::ledger::external_resource_name,
};

/// What to record.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) external_resources: Vec<ExternalResource>,
    /// Objects that cannot be taken over, and what to do.
    pub(super) problems: Vec<String>,
}

/// Plans the ExternalResources of all instances and bindings that a broker holds.
pub(super) fn plan(inventory: &Inventory) -> Plan {
    let mut plan = Plan::default();
    let mut of_instances: HashMap<(String, String), ExternalResourceSpec> = HashMap::new();
    for instance in inventory.instances.iter().filter(|instance| is_held(instance.status.as_ref())) {
        match of_instance(inventory, instance) {
            Ok(spec) => {
                of_instances.insert((spec.namespace.clone(), spec.name.clone()), spec.clone());
                plan.push(spec);
            }
            Err(why) => plan.problems.push(format!("ServiceInstance {}: {why}", full_name(instance))),
        }
    }
    for binding in inventory.bindings.iter().filter(|binding| is_bound(binding.status.as_ref())) {
        let instance = (binding.namespace().unwrap_or_default(), binding.spec.instance_ref.name.clone());
        match of_binding(inventory, binding, of_instances.get(&instance)) {
            Ok(spec) => plan.push(spec),
            Err(why) => plan.problems.push(format!("ServiceBinding {}: {why}", full_name(binding))),
        }
    }
    plan
}

impl Plan {
    fn push(&mut self, spec: ExternalResourceSpec) {
        let id = spec.binding_id.as_ref().unwrap_or(&spec.instance_id);
        let name = external_resource_name(spec.kind, id);
        self.external_resources.push(ExternalResource::new(&name, spec));
    }
}

/// Whether the broker holds the instance, or may hold it.
fn is_held(status: Option<&ServiceInstanceStatus>) -> bool {
    status.is_some_and(|status| {
        status.provision_status == Some(ProvisionStatus::Provisioned)
            || status.deprovision_status.is_some_and(|status| status != ReleaseStatus::NotRequired)
            || status.current_operation.is_some()
    })
}

fn is_provisioned(instance: &ServiceInstance) -> bool {
    let status = instance.status.as_ref();
    status.is_some_and(|status| status.provision_status == Some(ProvisionStatus::Provisioned))
}

/// Whether the broker holds the binding, or may hold it.
fn is_bound(status: Option<&ServiceBindingStatus>) -> bool {
    status.is_some_and(|status| {
        status.unbind_status.is_some_and(|status| status != ReleaseStatus::NotRequired)
            || status.current_operation.is_some()
    })
}

fn of_instance(inventory: &Inventory, instance: &ServiceInstance) -> Result<ExternalResourceSpec, String> {
    let spec = &instance.spec;
    let namespace = instance.namespace().unwrap_or_default();
    let id =
        spec.external_id.clone().ok_or("spec.externalID is empty, so its id at the broker is unknown")?;
    let (class_ref, scope) = match (&spec.cluster_service_class_ref, &spec.service_class_ref) {
        (Some(class), _) => (class, None),
        (None, Some(class)) => (class, Some(namespace.clone())),
        (None, None) => return Err("it has no reference to a class; restore it from a backup".to_owned()),
    };
    let is_class = |name: &str, of: Option<String>| name == class_ref.name && of == scope;
    let class = inventory
        .classes
        .iter()
        .find(|class| is_class(class.object_name(), class.broker().namespace))
        .ok_or_else(|| format!("its class {:?} does not exist; register its broker first", class_ref.name))?;
    let key = class.broker();
    let broker = inventory
        .brokers
        .iter()
        .find(|broker| broker.key() == key)
        .ok_or_else(|| format!("the {key} of its class does not exist; register it first"))?;
    Ok(ExternalResourceSpec {
        broker: ExternalResourceBroker::of(broker.as_ref()),
        kind: ExternalResourceKind::ServiceInstance,
        namespace_uid: inventory.namespaces.get(&namespace).cloned(),
        namespace,
        space_guid: None,
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
        instance_id: id,
        binding_id: None,
        predecessor_id: None,
        service_id: class.common().external_id.clone(),
        plan_id: plan_in_force(inventory, instance, scope.as_deref())?,
        new_plan_id: None,
        provisioned: is_provisioned(instance),
    })
}

/// The id of the plan that the broker has been told: that of the last successful operation, else the spec's.
fn plan_in_force(
    inventory: &Inventory,
    instance: &ServiceInstance,
    scope: Option<&str>,
) -> Result<String, String> {
    let in_force = instance.status.as_ref().and_then(|status| status.external_properties.as_ref());
    let ids =
        in_force.map(|known| [&known.cluster_service_plan_external_id, &known.service_plan_external_id]);
    if let Some(id) = ids.into_iter().flatten().find(|id| !id.is_empty()) {
        return Ok(id.clone());
    }
    let spec = &instance.spec;
    let reference = spec.cluster_service_plan_ref.as_ref().or(spec.service_plan_ref.as_ref());
    let name = &reference.ok_or("it has no reference to a plan; restore it from a backup")?.name;
    inventory
        .plans
        .iter()
        .find(|plan| plan.object_name() == name && plan.broker().namespace.as_deref() == scope)
        .map(|plan| plan.common().external_id.clone())
        .ok_or_else(|| format!("its plan {name:?} does not exist; register its broker first"))
}

fn of_binding(
    inventory: &Inventory,
    binding: &ServiceBinding,
    instance: Option<&ExternalResourceSpec>,
) -> Result<ExternalResourceSpec, String> {
    let id = binding.spec.external_id.clone();
    let id = id.ok_or("spec.externalID is empty, so its id at the broker is unknown")?;
    let instance = instance.ok_or_else(|| {
        format!("its ServiceInstance {:?} is not taken over", binding.spec.instance_ref.name)
    })?;
    let namespace = binding.namespace().unwrap_or_default();
    Ok(ExternalResourceSpec {
        kind: ExternalResourceKind::ServiceBinding,
        namespace_uid: inventory.namespaces.get(&namespace).cloned(),
        namespace,
        name: binding.name_any(),
        uid: binding.uid().unwrap_or_default(),
        binding_id: Some(id),
        new_plan_id: None,
        provisioned: false,
        ..instance.clone()
    })
}

fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::apis::servicecatalog::{ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan};

    fn object<K: serde::de::DeserializeOwned>(metadata: Value, spec: Value, status: Value) -> K {
        let object = Value::from_iter([("metadata", metadata), ("spec", spec), ("status", status)]);
        serde_json::from_value(object).unwrap()
    }

    /// The objects as service-catalog v0.3.1 stored them.
    fn inventory() -> Inventory {
        let broker: ClusterServiceBroker = object(
            json!({"name": "mysql-broker"}),
            json!({"url": "http://user:hunter2@mysql-broker.brokers", "relistBehavior": "Duration", "relistRequests": 0}),
            Value::Null,
        );
        let class: ClusterServiceClass = object(
            json!({"name": "997b8372-8dac-40ac-ae65-758b4a5075a5"}),
            json!({"externalName": "mysqldb", "externalID": "997B8372", "description": "", "bindable": true,
                "clusterServiceBrokerName": "mysql-broker"}),
            json!({"removedFromBrokerCatalog": false}),
        );
        let plan: ClusterServicePlan = object(
            json!({"name": "p1"}),
            json!({"externalName": "small", "externalID": "P1", "description": "", "free": true,
                "clusterServiceBrokerName": "mysql-broker", "clusterServiceClassRef": {"name": class.name_any()}}),
            Value::Null,
        );
        let instance = object(
            json!({"namespace": "shop", "name": "orders", "uid": "u1"}),
            json!({"clusterServiceClassExternalName": "mysqldb", "externalID": "i1", "updateRequests": 0,
                "clusterServiceClassRef": {"name": class.name_any()}, "clusterServicePlanRef": {"name": "p1"}}),
            json!({"provisionStatus": "Provisioned", "deprovisionStatus": "Required",
                "externalProperties": {"clusterServicePlanExternalName": "large", "clusterServicePlanExternalID": "P0"}}),
        );
        let binding = object(
            json!({"namespace": "shop", "name": "orders-binding", "uid": "u2"}),
            json!({"instanceRef": {"name": "orders"}, "externalID": "b1", "secretName": "orders-binding"}),
            json!({"unbindStatus": "Required"}),
        );
        Inventory {
            brokers: vec![Arc::new(broker)],
            classes: vec![Arc::new(class)],
            plans: vec![Arc::new(plan)],
            instances: vec![instance],
            bindings: vec![binding],
            namespaces: HashMap::from([("shop".to_owned(), "n1".to_owned())]),
        }
    }

    #[test]
    fn what_a_broker_holds_is_recorded_with_the_plan_in_force() {
        let plan = plan(&inventory());
        assert_eq!(plan.problems, Vec::<String>::new());
        let [instance, binding] = &plan.external_resources[..] else { panic!("{plan:?}") };
        assert_eq!(instance.name_any(), "instance-i1");
        assert_eq!(instance.spec.uid, "u1");
        assert_eq!(instance.spec.namespace_uid.as_deref(), Some("n1"));
        assert_eq!((&*instance.spec.service_id, &*instance.spec.plan_id), ("997B8372", "P0"));
        assert_eq!(instance.spec.broker.url.expose(), "http://mysql-broker.brokers");
        assert_eq!(binding.name_any(), "binding-b1");
        assert_eq!((&*binding.spec.instance_id, &*binding.spec.uid), ("i1", "u2"));
        assert!(!format!("{plan:?}").contains("hunter2"));
    }

    #[test]
    fn what_no_broker_was_asked_for_is_not_recorded() {
        let mut inventory = inventory();
        inventory.instances[0].status = None;
        inventory.bindings[0].status.as_mut().unwrap().unbind_status = Some(ReleaseStatus::NotRequired);
        let plan = plan(&inventory);
        assert!(plan.external_resources.is_empty() && plan.problems.is_empty(), "{plan:?}");
    }

    #[test]
    fn a_missing_broker_or_class_is_a_problem_with_a_remedy() {
        let mut inventory = inventory();
        inventory.brokers.clear();
        let plan_without_broker = plan(&inventory);
        assert_eq!(
            plan_without_broker.problems,
            [
                "ServiceInstance shop/orders: the ClusterServiceBroker \"mysql-broker\" of its class does not exist; \
                register it first",
                "ServiceBinding shop/orders-binding: its ServiceInstance \"orders\" is not taken over",
            ]
        );
        inventory.classes.clear();
        let problem = &plan(&inventory).problems[0];
        assert!(problem.contains("758b4a5075a5\" does not exist; register its broker first"), "{problem}");
    }
}
