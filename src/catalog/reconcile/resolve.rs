//! Finds the class, plan and broker that an instance's spec names. The error for an unknown name suggests the nearest
//! known one. Pure.

use std::sync::Arc;

use crate::{
    apis::servicecatalog::{
        ServiceInstanceSpec, reasons,
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

/// How the spec names a class or plan: the scope, the field, the name, and the known names.
struct Named<'a> {
    scope: Scope,
    field: &'static str,
    name: &'a str,
    of_class: fn(&dyn ClassObject) -> &str,
    of_plan: fn(&dyn PlanObject) -> &str,
}

/// Whose class and plan the spec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Cluster,
    Namespace,
}

impl Scope {
    fn class_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterServiceClass",
            Self::Namespace => "ServiceClass",
        }
    }

    /// The command that lists the classes or plans (`kind`).
    fn list(self, kind: &str) -> String {
        match self {
            Self::Cluster => format!("kubectl get clusterservice{kind}"),
            Self::Namespace => format!("kubectl get service{kind} in the namespace"),
        }
    }

    fn id_field(self) -> &'static str {
        match self {
            Self::Cluster => "clusterServiceClassExternalID",
            Self::Namespace => "serviceClassExternalID",
        }
    }
}

/// The name of the class as the user wrote it. The API server ensures that there is exactly one.
fn class_name(spec: &ServiceInstanceSpec) -> Option<Named<'_>> {
    let of_cluster = names(
        Scope::Cluster,
        spec.cluster_service_class_external_name.as_deref(),
        spec.cluster_service_class_external_id.as_deref(),
        spec.cluster_service_class_name.as_deref(),
    );
    let of_namespace = || {
        names(
            Scope::Namespace,
            spec.service_class_external_name.as_deref(),
            spec.service_class_external_id.as_deref(),
            spec.service_class_name.as_deref(),
        )
    };
    of_cluster.or_else(of_namespace)
}

fn plan_name(spec: &ServiceInstanceSpec) -> Option<Named<'_>> {
    let of_cluster = names(
        Scope::Cluster,
        spec.cluster_service_plan_external_name.as_deref(),
        spec.cluster_service_plan_external_id.as_deref(),
        spec.cluster_service_plan_name.as_deref(),
    );
    let of_namespace = || {
        names(
            Scope::Namespace,
            spec.service_plan_external_name.as_deref(),
            spec.service_plan_external_id.as_deref(),
            spec.service_plan_name.as_deref(),
        )
    };
    of_cluster.or_else(of_namespace)
}

fn names<'a>(
    scope: Scope,
    external: Option<&'a str>,
    id: Option<&'a str>,
    object: Option<&'a str>,
) -> Option<Named<'a>> {
    let by_external_name = external.map(|name| Named {
        scope,
        field: "named",
        name,
        of_class: |class| &class.common().external_name,
        of_plan: |plan| &plan.common().external_name,
    });
    let by_id = || {
        id.map(|name| Named {
            scope,
            field: "with the id",
            name,
            of_class: |class| &class.common().external_id,
            of_plan: |plan| &plan.common().external_id,
        })
    };
    let by_object = || {
        object.map(|name| Named {
            scope,
            field: "whose object is named",
            name,
            of_class: |class| class.object_name(),
            of_plan: |plan| plan.object_name(),
        })
    };
    by_external_name.or_else(by_id).or_else(by_object)
}

/// `status.userSpecifiedClassName` and `status.userSpecifiedPlanName`.
pub(super) fn user_specified(
    spec: &ServiceInstanceSpec,
    offer: Option<&Offer>,
) -> (Option<String>, Option<String>) {
    let class = class_name(spec).map(|class| format!("{}/{}", class.scope.class_kind(), class.name));
    let plan = plan_name(spec).map(|plan| plan.name.to_owned());
    (class, plan.or_else(|| offer.map(|offer| offer.plan.common().external_name.clone())))
}

/// Finds the class and plan that the spec of an instance in this namespace names. Classes and plans of another
/// namespace are never found.
pub(super) fn resolve(
    spec: &ServiceInstanceSpec,
    namespace: &str,
    stores: &Stores,
) -> Result<Offer, Unresolved> {
    let scope = class_name(spec).map_or(Scope::Cluster, |class| class.scope);
    let namespace = (scope == Scope::Namespace).then_some(namespace);
    find(spec, &stores.classes_of(namespace), &stores.plans_of(namespace))
}

fn find(
    spec: &ServiceInstanceSpec,
    classes: &[Arc<dyn ClassObject>],
    plans: &[Arc<dyn PlanObject>],
) -> Result<Offer, Unresolved> {
    let (class, scope) = find_class(spec, classes)?;
    let plans: Vec<_> = plans.iter().filter(|plan| plan.class_name() == class.object_name()).collect();
    let plan = find_plan(spec, scope, class.as_ref(), &plans)?;
    Ok(Offer { class, plan })
}

fn find_class(
    spec: &ServiceInstanceSpec,
    classes: &[Arc<dyn ClassObject>],
) -> Result<(Arc<dyn ClassObject>, Scope), Unresolved> {
    let reason = reasons::REFERENCES_NONEXISTENT_SERVICE_CLASS;
    let Some(Named { scope, field, name, of_class, .. }) = class_name(spec) else {
        let message = "the spec names no class; set clusterServiceClassExternalName".to_owned();
        return Err(Unresolved { reason, message });
    };
    let mut found: Vec<_> = classes.iter().filter(|class| of_class(class.as_ref()) == name).collect();
    // Several brokers may use the same name; a class that its broker has withdrawn does not count.
    if found.len() > 1 {
        found.retain(|class| !class.is_removed());
    }
    let list = scope.list("classes");
    match found[..] {
        [class] if class.is_removed() => Err(Unresolved {
            reason: reasons::REFERENCES_DELETED_SERVICE_CLASS,
            message: format!(
                "the broker {} no longer offers the class {name:?}; choose another: {list}",
                class.broker().name
            ),
        }),
        [class] => Ok((class.clone(), scope)),
        [] => {
            let guess = did_you_mean(name, classes.iter().map(|class| of_class(class.as_ref())));
            let message =
                format!("no class {field} {name:?}{guess} {list} lists them", guess = or_semicolon(&guess));
            Err(Unresolved { reason, message })
        }
        [first, second, ..] => Err(Unresolved {
            reason,
            message: format!(
                "the brokers {} and {} both offer a class named {name:?}; name it by {}",
                first.broker().name,
                second.broker().name,
                scope.id_field()
            ),
        }),
    }
}

/// Finds the plan among those of the class, of which the broker may have withdrawn some.
fn find_plan(
    spec: &ServiceInstanceSpec,
    scope: Scope,
    class: &dyn ClassObject,
    plans: &[&Arc<dyn PlanObject>],
) -> Result<Arc<dyn PlanObject>, Unresolved> {
    let reason = reasons::REFERENCES_NONEXISTENT_SERVICE_PLAN;
    let offered: Vec<_> = plans.iter().filter(|plan| !plan.is_removed()).copied().collect();
    let class_name = &class.common().external_name;
    let Some(Named { field, name, of_plan, .. }) = plan_name(spec) else {
        return match offered[..] {
            [plan] => Ok(Arc::clone(plan)),
            [] => {
                let list = scope.list("plans");
                let message = format!("the class {class_name:?} has no plan; {list} lists them");
                Err(Unresolved { reason, message })
            }
            _ => {
                let names = listed(&offered, |plan| plan.common().external_name.as_str());
                let message = format!("the class {class_name:?} has several plans; name one of {names}");
                Err(Unresolved { reason, message })
            }
        };
    };
    if let Some(plan) = offered.iter().find(|plan| of_plan(plan.as_ref()) == name) {
        return Ok(Arc::clone(plan));
    }
    let names = listed(&offered, of_plan);
    if plans.iter().any(|plan| of_plan(plan.as_ref()) == name) {
        return Err(Unresolved {
            reason: reasons::REFERENCES_DELETED_SERVICE_PLAN,
            message: format!(
                "the broker {} no longer offers the plan {name:?} of the class {class_name:?}; it offers {names}",
                class.broker().name
            ),
        });
    }
    let guess = did_you_mean(name, offered.iter().map(|plan| of_plan(plan.as_ref())));
    let message = format!(
        "the class {class_name:?} has no plan {field} {name:?}{} it has {names}",
        or_semicolon(&guess)
    );
    Err(Unresolved { reason, message })
}

/// The plans' names, sorted.
fn listed(plans: &[&Arc<dyn PlanObject>], name: fn(&dyn PlanObject) -> &str) -> String {
    let mut names: Vec<_> = plans.iter().map(|plan| name(plan.as_ref())).collect();
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
        ClusterServiceClass, ClusterServiceClassSpec, ClusterServicePlan, ClusterServicePlanSpec,
        CommonServiceClassSpec, CommonServicePlanSpec, NameReference, class::CatalogStatus,
    };

    fn class(id: &str, name: &str) -> Arc<dyn ClassObject> {
        Arc::new(cluster_class(id, name))
    }

    fn cluster_class(id: &str, name: &str) -> ClusterServiceClass {
        let common = CommonServiceClassSpec {
            external_name: name.to_owned(),
            external_id: id.to_uppercase(),
            bindable: true,
            ..CommonServiceClassSpec::default()
        };
        let spec = ClusterServiceClassSpec { common, cluster_service_broker_name: format!("broker-of-{id}") };
        ClusterServiceClass::new(id, spec)
    }

    fn plan(id: &str, name: &str, class: &str) -> Arc<dyn PlanObject> {
        Arc::new(cluster_plan(id, name, class))
    }

    fn cluster_plan(id: &str, name: &str, class: &str) -> ClusterServicePlan {
        let common = CommonServicePlanSpec {
            external_name: name.to_owned(),
            external_id: id.to_uppercase(),
            ..CommonServicePlanSpec::default()
        };
        let spec = ClusterServicePlanSpec {
            common,
            cluster_service_class_ref: NameReference { name: class.to_owned() },
            ..ClusterServicePlanSpec::default()
        };
        ClusterServicePlan::new(id, spec)
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
        let mut removed = cluster_class("c2", "db");
        removed.status = Some(CatalogStatus { removed_from_broker_catalog: true });
        let removed: Arc<dyn ClassObject> = Arc::new(removed);
        assert_eq!(
            find(&one, &[class("c1", "db"), removed.clone()], &plans).unwrap().class.object_name(),
            "c1"
        );
        assert_eq!(find(&one, &[removed], &plans).unwrap_err().reason, "ReferencesDeletedServiceClass");
    }

    #[test]
    fn a_withdrawn_plan_has_a_reason_of_its_own() {
        let named =
            spec(serde_json::json!({"clusterServiceClassName": "c1", "clusterServicePlanName": "p1"}));
        let mut removed = cluster_plan("p1", "small", "c1");
        removed.status = Some(CatalogStatus { removed_from_broker_catalog: true });
        let plans: [Arc<dyn PlanObject>; 2] = [Arc::new(removed), plan("p2", "large", "c1")];
        let error = find(&named, &[class("c1", "db")], &plans).unwrap_err();
        assert_eq!(error.reason, "ReferencesDeletedServicePlan");
        assert!(error.message.ends_with("it offers p2"), "{}", error.message);
        let unnamed = spec(serde_json::json!({"clusterServiceClassName": "c1"}));
        assert_eq!(find(&unnamed, &[class("c1", "db")], &plans).unwrap().plan.object_name(), "p2");
    }

    #[test]
    fn the_user_is_shown_the_kind_and_name_that_they_wrote() {
        for (json, class, plan) in [
            (
                serde_json::json!({"clusterServiceClassExternalName": "db", "clusterServicePlanExternalName": "s"}),
                "ClusterServiceClass/db",
                "s",
            ),
            (
                serde_json::json!({"serviceClassExternalID": "id", "servicePlanExternalID": "p"}),
                "ServiceClass/id",
                "p",
            ),
            (serde_json::json!({"serviceClassName": "c", "servicePlanName": "q"}), "ServiceClass/c", "q"),
        ] {
            let shown = user_specified(&spec(json), None);
            assert_eq!(shown, (Some(class.to_owned()), Some(plan.to_owned())));
        }
    }
}
