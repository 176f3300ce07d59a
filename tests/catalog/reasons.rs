//! Reasons of the old controller that no other test produces.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};

use crate::{
    broker::{Answer, Course, Fault, Verb},
    catalogs::Policy,
    harness::{Place, until},
};

/// The reason and message of the binding's or instance's condition `Failed`, once it is true.
async fn failed(place: &Place, name: &str) -> Value {
    let mut seen = Value::Null;
    until("a failure for good", async || {
        let instance = place.api::<ServiceInstance>().get_opt(name).await.unwrap();
        let binding = place.api::<ServiceBinding>().get_opt(name).await.unwrap();
        let conditions =
            [json!(instance), json!(binding)].map(|object| object["status"]["conditions"].clone());
        let is_failed = |condition: &&Value| condition["type"] == "Failed" && condition["status"] == "True";
        let all = conditions.iter().filter_map(Value::as_array).flatten();
        seen = all.clone().find(is_failed).cloned().unwrap_or_default();
        !seen.is_null()
    })
    .await;
    seen
}

#[tokio::test]
async fn successful_deletions_are_events() {
    let place = Place::with_binding().await;
    place.remove::<ServiceBinding>("b").await;
    place.remove::<ServiceInstance>("db").await;
    until("events of both", async || {
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let reasons: Vec<_> = events.into_iter().filter_map(|event| event.reason).collect();
        ["UnboundSuccessfully", "DeprovisionedSuccessfully"]
            .iter()
            .all(|reason| reasons.iter().any(|seen| seen == reason))
    })
    .await;
}

#[tokio::test]
async fn an_instance_of_a_class_without_a_broker_says_so() {
    let place = Place::new().await;
    let suffix = &place.broker.suffix;
    let (class, plan) = (format!("lost-{suffix}"), format!("lost-plan-{suffix}"));
    let common = json!({"externalName": class, "externalID": class, "description": "", "bindable": true,
        "clusterServiceBrokerName": "nobody"});
    let mut of_plan = common.clone();
    of_plan["externalName"] = json!("default");
    of_plan["externalID"] = json!(plan);
    of_plan["free"] = json!(true);
    of_plan["clusterServiceClassRef"] = json!({"name": class});
    let mut made = Vec::new();
    for (kind, plural, name, spec) in [
        ("ClusterServiceClass", "clusterserviceclasses", &class, common),
        ("ClusterServicePlan", "clusterserviceplans", &plan, of_plan),
    ] {
        let resource = ApiResource {
            group: "servicecatalog.k8s.io".to_owned(),
            version: "v1beta1".to_owned(),
            api_version: "servicecatalog.k8s.io/v1beta1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> = Api::all_with(place.client.clone(), &resource);
        let object = json!({"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        made.push((api, name));
    }
    place.instance("db", json!({"clusterServiceClassExternalName": class})).await;
    let said = place.instance_is("db", "ReferencesNonexistentBroker").await;
    assert!(said.contains("nobody") && said.contains("create it"), "{said}");
    for (api, name) in made {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_the_brokers() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Refuses);
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    let condition = failed(&place, "db").await;
    assert_eq!(condition["reason"], "ClusterServiceBrokerReturnedFailure", "{condition}");
}

#[tokio::test]
async fn a_refused_unbind_is_repeated() {
    let place = Place::with_binding().await;
    place.broker.always(Verb::Unbind, Answer::error(500, "no disk"));
    place.delete::<ServiceBinding>("b").await;
    let said = place.binding_is("b", "UnbindCallFailed").await;
    assert!(said.contains("no disk"), "{said}");
    place.broker.normal(Verb::Unbind);
    place.gone::<ServiceBinding>("b").await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_deleted_keeps_its_binding() {
    let place = Place::with_binding().await;
    let policy = Policy::forbid_deletion(&place, "", "v1", "secrets", "b").await;
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    until("the API server keeps the Secret", async || place.api::<Secret>().delete("b", &dry).await.is_err())
        .await;
    place.delete::<ServiceBinding>("b").await;
    let said = place.binding_is("b", "ErrorEjectingServiceBinding").await;
    assert!(said.contains("kept by a test"), "{said}");
    assert!(place.broker.held().bindings.is_empty(), "revoked in any case");
    policy.lift().await;
    place.gone::<ServiceBinding>("b").await;
    assert!(place.secret("b").await.is_none());
}

#[tokio::test]
async fn an_asynchronous_bind_that_runs_for_a_week_is_given_up_and_deleted() {
    let place = Place::with_instance().await;
    place.broker.asynchronous(Verb::Bind, Course::never());
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "Binding").await;
    let long_ago = Patch::Merge(json!({"status": {"operationStartTime": "2020-01-01T00:00:00Z"}}));
    let bindings = place.api::<ServiceBinding>();
    until("a failure for good", async || {
        // A poll that is under way writes its own time.
        let seen = bindings.patch_status("b", &PatchParams::default(), &long_ago).await.unwrap();
        json!(seen)["status"]["conditions"].to_string().contains("AsyncOperationTimeout")
    })
    .await;
    let condition = failed(&place, "b").await;
    assert_eq!(condition["reason"], "AsyncOperationTimeout", "{condition}");
    until("the broker has deleted the binding", async || place.broker.held().bindings.is_empty()).await;
    place.remove::<ServiceBinding>("b").await;
}

#[tokio::test]
async fn a_binding_waits_for_the_plan_of_its_instance() {
    let place = Place::new().await;
    place.register(json!({"relistBehavior": "Manual"})).await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let plans: Api<bindery::apis::servicecatalog::ClusterServicePlan> = Api::all(place.client.clone());
    plans.delete(&format!("plan-{}", place.broker.suffix), &DeleteParams::default()).await.unwrap();
    place.binding("b", "db", json!({})).await;
    let said = place.binding_is("b", "ErrorInstanceRefsUnresolved").await;
    assert!(said.contains(&place.broker.name()), "{said}");
    let again = Patch::Merge(json!({"spec": {"relistRequests": 1}}));
    place.brokers().patch(&place.broker.name(), &PatchParams::default(), &again).await.unwrap();
    place.binding_is("b", "InjectedBindResult").await;
}
