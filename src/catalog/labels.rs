//! The labels by which `svcat` and other clients of the old Service Catalog find objects: the value of a field as
//! SHA-224 in hex, because a label cannot hold every name (service-catalog `pkg/util`, `GenerateSHA`). Pure.

use std::collections::BTreeMap;

use sha2::{Digest, Sha224};

use crate::apis::servicecatalog::{
    ServiceInstance,
    scope::{BrokerKey, ClassObject, PlanObject},
};

/// The labels of an object, by name.
pub(super) type Labels = BTreeMap<String, String>;

/// The labels of a class.
pub(super) fn of_class(class: &dyn ClassObject) -> Labels {
    let common = class.common();
    labels([
        ("externalName", common.external_name.as_str()),
        ("externalID", common.external_id.as_str()),
        broker_name(&class.broker()),
    ])
}

/// The labels of a plan.
pub(super) fn of_plan(plan: &dyn PlanObject) -> Labels {
    let (common, broker) = (plan.common(), plan.broker());
    let class =
        if broker.namespace.is_none() { "clusterServiceClassRef.name" } else { "serviceClassRef.name" };
    labels([
        ("externalName", common.external_name.as_str()),
        ("externalID", common.external_id.as_str()),
        broker_name(&broker),
        (class, plan.class_name()),
    ])
}

/// The labels of an instance: one for each reference to a class or plan that is set.
pub(super) fn of_instance(instance: &ServiceInstance) -> Labels {
    let spec = &instance.spec;
    let references = [
        ("clusterServiceClassRef.name", &spec.cluster_service_class_ref),
        ("clusterServicePlanRef.name", &spec.cluster_service_plan_ref),
        ("serviceClassRef.name", &spec.service_class_ref),
        ("servicePlanRef.name", &spec.service_plan_ref),
    ];
    labels(references.into_iter().filter_map(|(field, to)| Some((field, to.as_ref()?.name.as_str()))))
}

fn broker_name(broker: &BrokerKey) -> (&'static str, &str) {
    let field = if broker.namespace.is_none() { "clusterServiceBrokerName" } else { "serviceBrokerName" };
    (field, &broker.name)
}

fn labels<'a>(fields: impl IntoIterator<Item = (&'static str, &'a str)>) -> Labels {
    let label = |(field, value)| (format!("servicecatalog.k8s.io/spec.{field}"), sha224(value));
    fields.into_iter().map(label).collect()
}

fn sha224(value: &str) -> String {
    hex::encode(Sha224::digest(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apis::servicecatalog::{ClusterServiceClass, ServicePlan};

    /// The value is from `printf cockroachdb | sha224sum`.
    #[test]
    fn a_class_has_the_labels_that_svcat_looks_for() {
        let class: ClusterServiceClass = serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {
            "externalName": "cockroachdb", "externalID": "id", "description": "", "bindable": true,
            "clusterServiceBrokerName": "bindery"}}))
        .unwrap();
        let labels = of_class(&class);
        assert_eq!(
            labels["servicecatalog.k8s.io/spec.externalName"],
            "acdc51c41832d50ce406b136908f878d90818dbdb69391d469b8ac86"
        );
        let names: Vec<_> = labels.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "servicecatalog.k8s.io/spec.clusterServiceBrokerName",
                "servicecatalog.k8s.io/spec.externalID",
                "servicecatalog.k8s.io/spec.externalName"
            ]
        );
    }

    #[test]
    fn plans_and_instances_are_labelled_with_their_references() {
        let plan: ServicePlan =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {
            "externalName": "small", "externalID": "id", "description": "", "free": true,
            "serviceBrokerName": "b", "serviceClassRef": {"name": "c"}}}))
            .unwrap();
        let labels = of_plan(&plan);
        assert_eq!(labels["servicecatalog.k8s.io/spec.serviceClassRef.name"], sha224("c"));
        assert_eq!(labels["servicecatalog.k8s.io/spec.serviceBrokerName"], sha224("b"));
        let mut instance: ServiceInstance =
            serde_json::from_value(json!({"metadata": {"name": "i"}, "spec": {}})).unwrap();
        assert_eq!(of_instance(&instance), Labels::new());
        instance.spec.cluster_service_class_ref =
            Some(crate::apis::servicecatalog::NameReference { name: "c".to_owned() });
        let labels = of_instance(&instance);
        assert_eq!(labels["servicecatalog.k8s.io/spec.clusterServiceClassRef.name"], sha224("c"));
        assert_eq!(labels.len(), 1);
    }
}
