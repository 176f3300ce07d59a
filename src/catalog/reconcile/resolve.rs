//! Finds the class, plan and broker that an instance's spec names. The error for an unknown name suggests the nearest
//! known one. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::{
        ClusterServiceClass, ClusterServicePlan, ServiceInstanceSpec, reasons,
        scope::{ClassObject, PlanObject},
    },
    catalog::{context::Stores, names::did_you_mean},
};

/// The class and plan of an instance.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) class: Arc<dyn ClassObject>,
    pub(super) plan: Arc<dyn PlanObject>,
}

/// The condition's reason and message when the class or plan cannot be found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Offer {
    /// Whether the plan's instances can be bound.
    pub(super) fn is_bindable(&self) -> bool {
        self.plan.common().bindable.unwrap_or(self.class.common().bindable)
    }
}

/// How the spec names a class or plan: the field, the name, and the known names.
struct Named<'a> {
    field: &'static str,
    name: &'a str,
    of_class: fn(&ClusterServiceClass) -> &str,
    of_plan: fn(&ClusterServicePlan) -> &str,
}

/// The name of the class as the user wrote it. The API server ensures that there is exactly one.
fn class_name(spec: &ServiceInstanceSpec) -> Option<Named<'_>> {
    names(
        spec.cluster_service_class_external_name.as_deref(),
        spec.cluster_service_class_external_id.as_deref(),
        spec.cluster_service_class_name.as_deref(),
    )
}

fn plan_name(spec: &ServiceInstanceSpec) -> Option<Named<'_>> {
    names(
        spec.cluster_service_plan_external_name.as_deref(),
        spec.cluster_service_plan_external_id.as_deref(),
        spec.cluster_service_plan_name.as_deref(),
    )
}

fn names<'a>(external: Option<&'a str>, id: Option<&'a str>, object: Option<&'a str>) -> Option<Named<'a>> {
    let by_external_name = external.map(|name| Named {
        field: "named",
        name,
        of_class: |class| &class.spec.common.external_name,
        of_plan: |plan| &plan.spec.common.external_name,
    });
    let by_id = || {
        id.map(|name| Named {
            field: "with the id",
            name,
            of_class: |class| &class.spec.common.external_id,
            of_plan: |plan| &plan.spec.common.external_id,
        })
    };
    let by_object = || {
        object.map(|name| Named {
            field: "whose object is named",
            name,
            of_class: |class| class.metadata.name.as_deref().unwrap_or_default(),
            of_plan: |plan| plan.metadata.name.as_deref().unwrap_or_default(),
        })
    };
    by_external_name.or_else(by_id).or_else(by_object)
}

/// `status.userSpecifiedClassName` and `status.userSpecifiedPlanName`.
pub(super) fn user_specified(
    spec: &ServiceInstanceSpec,
    offer: Option<&Offer>,
) -> (Option<String>, Option<String>) {
    let class = class_name(spec).map(|class| format!("ClusterServiceClass/{}", class.name));
    let plan = plan_name(spec).map(|plan| plan.name.to_owned());
    (class, plan.or_else(|| offer.map(|offer| offer.plan.common().external_name.clone())))
}

/// Finds the class and plan that the spec names.
pub(super) fn resolve(spec: &ServiceInstanceSpec, stores: &Stores) -> Result<Offer, Unresolved> {
    find(spec, &stores.classes.state(), &stores.plans.state())
}

fn find(
    spec: &ServiceInstanceSpec,
    classes: &[Arc<ClusterServiceClass>],
    plans: &[Arc<ClusterServicePlan>],
) -> Result<Offer, Unresolved> {
    let class = find_class(spec, classes)?;
    let of_class = |plan: &&Arc<ClusterServicePlan>| {
        plan.spec.cluster_service_class_ref.name == class.name_any() && !plan.is_removed()
    };
    let plans: Vec<_> = plans.iter().filter(of_class).collect();
    let plan = find_plan(spec, &class.spec.common.external_name, &plans)?;
    Ok(Offer { class, plan })
}

fn find_class(
    spec: &ServiceInstanceSpec,
    classes: &[Arc<ClusterServiceClass>],
) -> Result<Arc<ClusterServiceClass>, Unresolved> {
    let reason = reasons::REFERENCES_NONEXISTENT_SERVICE_CLASS;
    let Some(Named { field, name, of_class, .. }) = class_name(spec) else {
        let message = "the spec names no class; set clusterServiceClassExternalName".to_owned();
        return Err(Unresolved { reason, message });
    };
    let mut found: Vec<_> = classes.iter().filter(|class| of_class(class) == name).collect();
    // Several brokers may use the same name; a class that its broker has withdrawn does not count.
    if found.len() > 1 {
        found.retain(|class| !class.is_removed());
    }
    match found[..] {
        [class] if class.is_removed() => Err(Unresolved {
            reason: reasons::REFERENCES_DELETED_SERVICE_CLASS,
            message: format!(
                "the broker {} no longer offers the class {name:?}; choose another: kubectl get clusterserviceclasses",
                class.spec.cluster_service_broker_name
            ),
        }),
        [class] => Ok(class.clone()),
        [] => {
            let guess = did_you_mean(name, classes.iter().map(|class| of_class(class)));
            let message = format!(
                "no class {field} {name:?}{guess} kubectl get clusterserviceclasses lists them",
                guess = or_semicolon(&guess)
            );
            Err(Unresolved { reason, message })
        }
        [first, second, ..] => Err(Unresolved {
            reason,
            message: format!(
                "the brokers {} and {} both offer a class named {name:?}; name it by clusterServiceClassExternalID",
                first.spec.cluster_service_broker_name, second.spec.cluster_service_broker_name
            ),
        }),
    }
}

fn find_plan(
    spec: &ServiceInstanceSpec,
    class: &str,
    plans: &[&Arc<ClusterServicePlan>],
) -> Result<Arc<ClusterServicePlan>, Unresolved> {
    let reason = reasons::REFERENCES_NONEXISTENT_SERVICE_PLAN;
    let Some(Named { field, name, of_plan, .. }) = plan_name(spec) else {
        return match plans {
            [plan] => Ok(Arc::clone(plan)),
            [] => Err(Unresolved {
                reason,
                message: format!(
                    "the class {class:?} has no plan; kubectl get clusterserviceplans lists them"
                ),
            }),
            several => {
                let names = listed(several, |plan| plan.spec.common.external_name.as_str());
                let message = format!("the class {class:?} has several plans; name one of {names}");
                Err(Unresolved { reason, message })
            }
        };
    };
    plans.iter().find(|plan| of_plan(plan) == name).map(|plan| Arc::clone(plan)).ok_or_else(|| {
        let guess = did_you_mean(name, plans.iter().map(|plan| of_plan(plan)));
        let message = format!(
            "the class {class:?} has no plan {field} {name:?}{} it has {}",
            or_semicolon(&guess),
            listed(plans, of_plan)
        );
        Unresolved { reason, message }
    })
}

/// The plans' names, sorted.
fn listed(plans: &[&Arc<ClusterServicePlan>], name: impl Fn(&ClusterServicePlan) -> &str) -> String {
    let mut names: Vec<_> = plans.iter().map(|plan| name(plan)).collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The separator between a message and its advice.
fn or_semicolon(guess: &str) -> &str {
    if guess.is_empty() { ";" } else { guess }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::{
        ClusterServiceClassSpec, ClusterServicePlanSpec, CommonServiceClassSpec, CommonServicePlanSpec,
        LocalReference, class::CatalogStatus,
    };

    fn class(id: &str, name: &str) -> Arc<ClusterServiceClass> {
        let common = CommonServiceClassSpec {
            external_name: name.to_owned(),
            external_id: id.to_uppercase(),
            bindable: true,
            ..CommonServiceClassSpec::default()
        };
        let spec = ClusterServiceClassSpec { common, cluster_service_broker_name: format!("broker-of-{id}") };
        Arc::new(ClusterServiceClass::new(id, spec))
    }

    fn plan(id: &str, name: &str, class: &str) -> Arc<ClusterServicePlan> {
        let common = CommonServicePlanSpec {
            external_name: name.to_owned(),
            external_id: id.to_uppercase(),
            ..CommonServicePlanSpec::default()
        };
        let spec = ClusterServicePlanSpec {
            common,
            cluster_service_class_ref: LocalReference { name: class.to_owned() },
            ..ClusterServicePlanSpec::default()
        };
        Arc::new(ClusterServicePlan::new(id, spec))
    }

    fn spec(json: serde_json::Value) -> ServiceInstanceSpec {
        serde_json::from_value(json).unwrap()
    }

    fn found(json: serde_json::Value) -> Result<(String, String), (&'static str, String)> {
        let classes = [class("c1", "cockroachdb"), class("c2", "sqs")];
        let plans = [plan("p1", "default", "c1"), plan("p2", "standard", "c2"), plan("p3", "fifo", "c2")];
        find(&spec(json), &classes, &plans)
            .map(|offer| (offer.class.object_name().to_owned(), offer.plan.object_name().to_owned()))
            .map_err(|error| (error.reason, error.message))
    }

    #[test]
    fn a_class_and_plan_are_found_by_each_kind_of_name() {
        for names in [
            serde_json::json!({"clusterServiceClassExternalName": "cockroachdb", "clusterServicePlanExternalName": "default"}),
            serde_json::json!({"clusterServiceClassExternalID": "C1", "clusterServicePlanExternalID": "P1"}),
            serde_json::json!({"clusterServiceClassName": "c1", "clusterServicePlanName": "p1"}),
            serde_json::json!({"clusterServiceClassExternalName": "cockroachdb"}),
        ] {
            assert_eq!(found(names.clone()).unwrap(), ("c1".to_owned(), "p1".to_owned()), "{names}");
        }
    }

    #[test]
    fn unknown_names_are_answered_with_known_ones() {
        let (reason, message) =
            found(serde_json::json!({"clusterServiceClassExternalName": "cockroachd"})).unwrap_err();
        assert_eq!(reason, "ReferencesNonexistentServiceClass");
        assert_eq!(
            message,
            "no class named \"cockroachd\"; did you mean \"cockroachdb\"? kubectl get clusterserviceclasses lists them"
        );
        let (_, message) = found(serde_json::json!({"clusterServiceClassExternalName": "x"})).unwrap_err();
        assert_eq!(message, "no class named \"x\"; kubectl get clusterserviceclasses lists them");
        let names = serde_json::json!({"clusterServiceClassExternalName": "sqs", "clusterServicePlanExternalName": "standart"});
        let (reason, message) = found(names).unwrap_err();
        assert_eq!(reason, "ReferencesNonexistentServicePlan");
        assert!(message.contains("did you mean \"standard\"?"), "{message}");
    }

    #[test]
    fn a_plan_must_be_named_if_the_class_has_several() {
        let (reason, message) =
            found(serde_json::json!({"clusterServiceClassExternalName": "sqs"})).unwrap_err();
        assert_eq!(reason, "ReferencesNonexistentServicePlan");
        assert!(message.ends_with("name one of fifo, standard"), "{message}");
    }

    #[test]
    fn an_ambiguous_name_is_an_error_and_a_withdrawn_class_is_not_used() {
        let one = spec(serde_json::json!({"clusterServiceClassExternalName": "db"}));
        let plans = [plan("p1", "default", "c1")];
        let error = find(&one, &[class("c1", "db"), class("c2", "db")], &plans).unwrap_err();
        assert!(error.message.contains("broker-of-c1 and broker-of-c2"), "{}", error.message);
        let mut removed = (*class("c2", "db")).clone();
        removed.status = Some(CatalogStatus { removed_from_broker_catalog: true });
        let removed = Arc::new(removed);
        assert_eq!(
            find(&one, &[class("c1", "db"), removed.clone()], &plans).unwrap().class.object_name(),
            "c1"
        );
        assert_eq!(find(&one, &[removed], &plans).unwrap_err().reason, "ReferencesDeletedServiceClass");
    }
}
