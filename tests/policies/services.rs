//! The rule about classes, plans and access levels, and conditions of an administrator's own.

use std::collections::BTreeSet;

use bindery::apis::{
    bindery::credential_policy::{Mode, RuleName},
    servicecatalog,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place, until},
    engines::{by_command_beside, by_command_with, change_by_function},
    objects::policy_of,
};

const RULE: RuleName = RuleName::AllowedServices;

fn rules() -> Value {
    json!({"allowedServices": {"limits": [
        {"exceptNamespaces": ["team-*"], "access": ["readonly"]},
        {"namespaces": ["*"], "allowClasses": ["cockroachdb", "sqs*"], "forbidPlans": ["huge", "xl-*"]},
        {"namespaces": ["nowhere"], "allowPlans": ["none"]},
    ]}})
}

fn instance(spec: &Value) -> Value {
    json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance", "metadata": {"name": "db"}, "spec": spec})
}

fn binding(parameters: &Value) -> Value {
    json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding", "metadata": {"name": "db"},
        "spec": {"instanceRef": {"name": "db"}, "parameters": parameters}})
}

fn cases() -> Vec<(&'static str, Value, bool)> {
    let named = |class: &str, plan: &str| {
        instance(&json!({"clusterServiceClassExternalName": class, "clusterServicePlanExternalName": plan}))
    };
    vec![
        ("an allowed class and plan", named("cockroachdb", "default"), false),
        ("a class of an allowed beginning", named("sqs-fifo", "default"), false),
        ("another class", named("redis", "default"), true),
        ("a forbidden plan", named("cockroachdb", "huge"), true),
        ("a plan of a forbidden beginning", named("cockroachdb", "xl-1"), true),
        (
            "a class and plan of a namespace",
            instance(
                &json!({"serviceClassExternalName": "cockroachdb", "servicePlanExternalName": "default"}),
            ),
            false,
        ),
        (
            "a forbidden plan of a namespace",
            instance(&json!({"serviceClassExternalName": "cockroachdb", "servicePlanExternalName": "huge"})),
            true,
        ),
        ("no plan", instance(&json!({"clusterServiceClassExternalName": "cockroachdb"})), true),
        (
            "the same class by its id",
            instance(
                &json!({"clusterServiceClassExternalID": "cockroachdb", "clusterServicePlanExternalID": "default"}),
            ),
            true,
        ),
        (
            "the same class by its object",
            instance(&json!({"clusterServiceClassName": "cockroachdb", "clusterServicePlanName": "default"})),
            true,
        ),
        ("an allowed access", binding(&json!({"access": "readonly"})), false),
        ("another access", binding(&json!({"access": "owner"})), true),
        ("the plan's default access", binding(&json!({})), true),
        ("an access of another type", binding(&json!({"access": {"readonly": true}})), true),
    ]
}

fn by_function(namespace: &str, before: Option<&Value>, after: &Value) -> BTreeSet<RuleName> {
    change_by_function(json!({"rules": rules()}), namespace, before, after)
}

fn expected(is_violated: bool) -> BTreeSet<RuleName> {
    is_violated.then_some(RULE).into_iter().collect()
}

#[test]
fn the_function_and_the_command_agree_on_every_object() {
    for (name, object, is_violated) in cases() {
        assert_eq!(by_function("shop", None, &object), expected(is_violated), "{name}");
        assert_eq!(by_command_with(&rules(), &object), expected(is_violated), "{name}");
        let older = by_function("shop", Some(&object), &object);
        assert_eq!(older, BTreeSet::new(), "{name}, which is older than the policy");
    }
    let owner = binding(&json!({"access": "owner"}));
    assert_eq!(by_function("team-a", None, &owner), BTreeSet::new(), "outside of the limit");
    assert_eq!(by_function("team-a", None, &cases()[2].1), expected(true), "inside of another");
    let raised = by_function("shop", Some(&binding(&json!({"access": "readonly"}))), &owner);
    assert_eq!(raised, expected(true), "an update");
}

/// Makes the API server serve instances and bindings.
pub(crate) async fn serve_service_catalog(place: &Place, namespace: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    for crd in servicecatalog::crds() {
        let parameters = PatchParams::apply("tests").force();
        crds.patch(&crd.name_any(), &parameters, &Patch::Apply(&crd)).await.unwrap();
    }
    until("the kinds are served", async || {
        let of_both = [&cases()[0].1, &binding(&json!({}))];
        for object in of_both {
            if !matches!(place.create(namespace, object).await, Answer::Allowed { .. }) {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test]
async fn the_api_server_agrees_on_every_object() {
    let place = Place::new("services").await;
    let shop = place.namespace("shop").await;
    serve_service_catalog(&place, &shop).await;
    let allowed = Answer::Allowed { warned: BTreeSet::new() };
    let old = instance(
        &json!({"clusterServiceClassExternalName": "redis", "clusterServicePlanExternalName": "huge"}),
    );
    let path = place.path(&shop, &old);
    assert_eq!(place.send("POST", &path, &old).await, allowed);
    place.enforce(&policy_of(&shop, &shop, Mode::Enforce, &rules())).await;
    let warn = place.namespace("warn").await;
    place.enforce(&policy_of(&warn, &warn, Mode::Warn, &rules())).await;
    place.settled().await;
    for (name, mut object, is_violated) in cases() {
        object["metadata"]["name"] = json!("new");
        let refused = if is_violated { Answer::Refused { rule: RULE } } else { allowed.clone() };
        assert_eq!(place.create(&shop, &object).await, refused, "{name}");
        let warned = Answer::Allowed { warned: expected(is_violated) };
        assert_eq!(place.create(&warn, &object).await, warned, "{name}");
    }
    // An object that is older than the policy keeps what it has, and may be labelled and completed.
    let merge = |changes: Value| {
        let mut object = old.clone();
        json_patch::merge(&mut object, &changes);
        object
    };
    let one = format!("{path}/db?fieldManager=tests&force=true");
    let labelled = merge(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"updateRequests": 1}}));
    assert_eq!(place.apply_as_is(&one, &labelled).await, allowed);
    let other = merge(json!({"spec": {"clusterServicePlanExternalName": "xl-1"}}));
    assert_eq!(place.apply_as_is(&one, &other).await, Answer::Refused { rule: RULE });
}

fn conditions(expression: &str) -> Value {
    json!({"conditions": {"checks": [
        {"name": "no-latest", "expression": expression, "message": "Name a version of the image"}]}})
}

#[tokio::test]
async fn the_api_server_evaluates_conditions_of_administrators() {
    let place = Place::new("conditions").await;
    let shop = place.namespace("shop").await;
    let expression = "variables.containers.all(c, !c.image.endsWith(':latest')) // of every container";
    place.enforce(&policy_of(&shop, &shop, Mode::Enforce, &conditions(expression))).await;
    let pod = |image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
            {"name": "app", "image": image}]}})
    };
    let refused = Answer::Refused { rule: RuleName::Conditions };
    until("the condition holds", async || place.create(&shop, &pod("app:latest")).await == refused).await;
    assert_eq!(place.create(&shop, &pod("app:1")).await, Answer::Allowed { warned: BTreeSet::new() });
    let deployment = crate::table::workload("Deployment", &pod("app:latest"));
    assert_eq!(place.create(&shop, &deployment).await, refused);
}

#[test]
fn the_command_says_that_it_does_not_evaluate_conditions() {
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": []}});
    let (violated, notes) = by_command_beside(&conditions("false"), &[], &pod);
    assert_eq!(violated, BTreeSet::new());
    assert!(notes.contains("only the API server evaluates the rule conditions"), "{notes}");
}
