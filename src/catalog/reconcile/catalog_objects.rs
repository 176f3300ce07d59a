//! Converts a catalog to class and plan objects. Entries that reuse the id of another entry, or of another broker's
//! entry, are skipped. Pure.

use std::collections::BTreeMap;

use kube::{Resource, ResourceExt};
use serde_json::Value;

use crate::{
    apis::servicecatalog::{
        CommonServiceClassSpec, CommonServicePlanSpec,
        scope::{ClassObject, PlanObject},
    },
    catalog::{
        client::LeftOut,
        names,
        restrictions::Restrictions,
        scopes::{BrokerKind, Offered},
    },
    osb::{Catalog, Plan, Service},
};

/// The objects of a catalog, by name.
#[derive(Debug)]
pub(super) struct Objects<B: BrokerKind> {
    pub(super) classes: BTreeMap<String, B::Class>,
    pub(super) plans: BTreeMap<String, B::Plan>,
}

/// Whether bindery made the class or plan for a broker of this kind and name, as the owner reference tells. Objects
/// without one are made by users. The uid does not count, because a broker may be created again under its name.
pub(super) fn is_made_for<B: BrokerKind>(broker: &B, object: &impl Resource) -> bool {
    let (kind, api_version, key) = (B::kind(&()), B::api_version(&()), broker.key());
    object
        .owner_references()
        .iter()
        .any(|owner| owner.kind == kind && owner.api_version == api_version && owner.name == key.name)
}

/// The objects of a catalog, by name. `owners` says which other broker offers a class or a plan; entries with an id
/// that is in use are skipped. Entries that `restrictions` exclude, and services that lose all plans by them, get no
/// objects. Pure.
pub(super) fn objects<B: BrokerKind>(
    broker: &B,
    catalog: &Catalog,
    (owner_of_class, owner_of_plan): (impl Fn(&str) -> Option<String>, impl Fn(&str) -> Option<String>),
    restrictions: &Restrictions,
    left_out: &mut Vec<LeftOut>,
) -> Objects<B> {
    let (mut classes, mut plans) = (BTreeMap::new(), BTreeMap::new());
    let mut leave_out = |problem: String, ids: Vec<String>| left_out.push(LeftOut { problem, ids });
    for service in &catalog.services {
        let class: B::Class = class(broker, service);
        let (class_name, named) = (class.name_any(), format!("service {:?}", service.name));
        if !restrictions.admit_class(&|property: &str| class_property(&class, property)) {
            continue;
        }
        let taken = owner_of_class(&class_name)
            .map(|other| format!("the broker {other} already offers an entry with this id"));
        let twice = classes.contains_key(&class_name).then(|| "another service has the same id".to_owned());
        if let Some(problem) = taken.or(twice) {
            leave_out(format!("{named}: {problem}"), Vec::new());
            continue;
        }
        let (mut of_class, mut is_excluded) = (BTreeMap::new(), false);
        for offered in &service.plans {
            let plan: B::Plan = plan(broker, offered, &class_name);
            let name = plan.name_any();
            if !restrictions.admit_plan(&|property: &str| plan_property(&plan, property)) {
                is_excluded = true;
                continue;
            }
            let taken = owner_of_plan(&name)
                .map(|other| format!("the broker {other} already offers an entry with this id"));
            let is_twice = plans.contains_key(&name) || of_class.contains_key(&name);
            match taken.or(is_twice.then(|| "another plan has the same id".to_owned())) {
                Some(problem) => {
                    leave_out(format!("{named}, plan {:?}: {problem}", offered.name), Vec::new());
                }
                None => drop(of_class.insert(name, plan)),
            }
        }
        if of_class.is_empty() && is_excluded {
            continue;
        }
        if of_class.is_empty() && !service.plans.is_empty() {
            leave_out(format!("{named}: none of its plans can be used"), vec![service.id.to_string()]);
            continue;
        }
        plans.extend(of_class);
        classes.insert(class_name, class);
    }
    Objects { classes, plans }
}

fn class<B: BrokerKind>(broker: &B, service: &Service) -> B::Class {
    let common = CommonServiceClassSpec {
        external_name: service.name.clone(),
        external_id: service.id.to_string(),
        description: service.description.clone(),
        bindable: service.bindable,
        binding_retrievable: service.bindings_retrievable,
        plan_updatable: service.plan_updateable,
        external_metadata: service.metadata.clone(),
        tags: service.tags.clone(),
        requires: service.requires.clone(),
        default_provision_parameters: None,
    };
    owned_by(broker, broker.class(&names::escaped(service.id.as_str()), common))
}

fn plan<B: BrokerKind>(broker: &B, plan: &Plan, class: &str) -> B::Plan {
    let schema = |path: &str| {
        plan.schemas
            .as_ref()
            .and_then(|schemas| schemas.pointer(path))
            .filter(|schema| schema.is_object())
            .cloned()
    };
    let schema = |path: &str| -> Option<Value> { schema(&format!("{path}/parameters")) };
    let common = CommonServicePlanSpec {
        external_name: plan.name.clone(),
        external_id: plan.id.to_string(),
        description: plan.description.clone(),
        bindable: plan.bindable,
        free: plan.free.unwrap_or(true),
        binding_rotatable: plan.binding_rotatable,
        maximum_polling_duration: plan
            .maximum_polling_duration
            .and_then(|seconds| i64::try_from(seconds).ok()),
        external_metadata: plan.metadata.clone(),
        instance_create_parameter_schema: schema("/service_instance/create"),
        instance_update_parameter_schema: schema("/service_instance/update"),
        service_binding_create_parameter_schema: schema("/service_binding/create"),
        service_binding_create_response_schema: None,
        default_provision_parameters: None,
    };
    owned_by(broker, broker.plan(&names::escaped(plan.id.as_str()), class, common))
}

/// The value of a property in a rule of `spec.catalogRestrictions`.
fn class_property(class: &dyn ClassObject, property: &str) -> String {
    match property {
        "spec.externalName" => class.common().external_name.clone(),
        "spec.externalID" => class.common().external_id.clone(),
        _ => class.object_name().to_owned(),
    }
}

fn plan_property(plan: &dyn PlanObject, property: &str) -> String {
    match property {
        "spec.externalName" => plan.common().external_name.clone(),
        "spec.externalID" => plan.common().external_id.clone(),
        "spec.free" => plan.common().free.to_string(),
        "name" => plan.object_name().to_owned(),
        _ => plan.class_name().to_owned(),
    }
}

/// The object with its labels and its owner.
fn owned_by<K: Offered>(broker: &impl BrokerKind, mut object: K) -> K {
    let labels = object.look_up_labels();
    object.meta_mut().labels = Some(labels);
    object.meta_mut().owner_references = broker.controller_owner_ref(&()).map(|owner| vec![owner]);
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceBrokerSpec, ClusterServiceClass, ClusterServicePlan,
        broker::CatalogRestrictions,
    };

    fn broker() -> ClusterServiceBroker {
        ClusterServiceBroker::new("b", ClusterServiceBrokerSpec::default())
    }

    fn catalog(json: Value) -> Catalog {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_catalog_becomes_classes_and_plans() {
        let offered = catalog(json!({"services": [{
            "id": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "name": "cockroachdb", "description": "SQL", "bindable": true,
            "metadata": {"displayName": "CockroachDB"}, "tags": ["SQL"],
            "plans": [{"id": "P1", "name": "default", "description": "Default", "binding_rotatable": true,
                "maximum_polling_duration": 600, "schemas": {"service_instance": {"create": {"parameters": {"type": "object"}}}}}]
        }]}));
        let (classes, plans, left_out) = made(&offered);
        assert_eq!(left_out, Vec::<String>::new());
        let class = &classes["e2e250b5-73f8-45fd-9a7f-93c8dddc5f00"];
        assert_eq!((&*class.spec.common.external_name, class.spec.common.bindable), ("cockroachdb", true));
        assert_eq!(class.spec.cluster_service_broker_name, "b");
        let plan = &plans["z50z1"];
        assert_eq!((&*plan.spec.common.external_id, plan.spec.common.free), ("P1", true));
        assert_eq!(plan.spec.cluster_service_class_ref.name, class.name_any());
        let common = &plan.spec.common;
        assert_eq!((common.binding_rotatable, common.maximum_polling_duration), (Some(true), Some(600)));
        assert_eq!(plan.spec.common.instance_create_parameter_schema, Some(json!({"type": "object"})));
        assert_eq!(plan.spec.common.instance_update_parameter_schema, None);
    }

    fn made(
        offered: &Catalog,
    ) -> (BTreeMap<String, ClusterServiceClass>, BTreeMap<String, ClusterServicePlan>, Vec<String>) {
        made_with(offered, &Restrictions::default())
    }

    #[test]
    fn excluded_classes_and_plans_get_no_objects() {
        let plan = |id: &str, free: bool| json!({"id": id, "name": id, "free": free});
        let offered = catalog(json!({"services": [
            {"id": "a", "name": "a", "bindable": true, "plans": [plan("a-free", true), plan("a-paid", false)]},
            {"id": "b", "name": "b", "bindable": true, "plans": [plan("b-paid", false)]},
            {"id": "c", "name": "c", "bindable": true, "plans": [plan("c-free", true)]},
            {"id": "theirs", "name": "theirs", "bindable": true, "plans": []},
        ]}));
        let rules = CatalogRestrictions {
            service_class: vec!["spec.externalName notin (c, theirs)".to_owned()],
            service_plan: vec!["spec.free=true".to_owned()],
        };
        let rules = Restrictions::parse(Some(&rules), ClusterServiceBroker::CLASS_PROPERTY).unwrap();
        let (classes, plans, left_out) = made_with(&offered, &rules);
        assert_eq!(classes.keys().collect::<Vec<_>>(), ["a"], "b has no plan that satisfies the rules");
        assert_eq!(plans.keys().collect::<Vec<_>>(), ["a-free"]);
        assert_eq!(left_out, Vec::<String>::new(), "an excluded entry is no problem");
    }

    fn made_with(
        offered: &Catalog,
        restrictions: &Restrictions,
    ) -> (BTreeMap<String, ClusterServiceClass>, BTreeMap<String, ClusterServicePlan>, Vec<String>) {
        let owner = |id: &str| id.starts_with("theirs").then(|| "them".to_owned());
        let mut left_out = Vec::new();
        let Objects { classes, plans } =
            objects(&broker(), offered, (owner, owner), restrictions, &mut left_out);
        (classes, plans, left_out.into_iter().map(|left_out| left_out.problem).collect())
    }

    /// One invalid entry does not make the rest of the catalog useless.
    #[test]
    fn conflicting_entries_are_skipped_and_named() {
        let plan = |id: &str, name: &str| json!({"id": id, "name": name});
        let service = |id: &str, name: &str, plans: Vec<Value>| json!({"id": id, "name": name, "bindable": true, "plans": plans});
        let offered = catalog(json!({"services": [
            service("s", "one", vec![plan("p", "good"), plan("p", "again"), plan("theirs-p", "taken")]),
            service("s", "same", vec![plan("q", "q")]),
            service("theirs-s", "taken", vec![plan("r", "r")]),
            service("t", "empty", vec![plan("p", "p")]),
            service("u", "without", vec![]),
        ]}));
        let (classes, plans, left_out) = made(&offered);
        assert_eq!(classes.keys().collect::<Vec<_>>(), ["s", "u"]);
        assert_eq!(plans.keys().collect::<Vec<_>>(), ["p"]);
        let expected = [
            "service \"one\", plan \"again\": another plan has the same id",
            "service \"one\", plan \"taken\": the broker them already offers an entry with this id",
            "service \"same\": another service has the same id",
            "service \"taken\": the broker them already offers an entry with this id",
            "service \"empty\", plan \"p\": another plan has the same id",
            "service \"empty\": none of its plans can be used",
        ];
        assert_eq!(left_out, expected);
    }
}
