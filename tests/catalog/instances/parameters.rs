//! Parameters from Secrets, and default parameters.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::{
    apis::servicecatalog::{ServiceInstance, UsesSecrets},
    contract::approval::APPROVAL,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{change, status};
use crate::{
    broker::{Answer, Verb},
    harness::{Place, approvals, until},
};

fn from_secret() -> Value {
    json!([{"secretKeyRef": {"name": "params", "key": "json"}}])
}

async fn write_secret(place: &Place, value: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "params"},
        "stringData": {"json": value}});
    let parameters = PatchParams::apply("tests").force();
    place.api::<Secret>().patch("params", &parameters, &Patch::Apply(secret)).await.unwrap();
}

/// Writes the approval that the webhook would write.
async fn approve(place: &Place) {
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    let approval = approvals(&place.client).issue(&instance.checked()).await.unwrap();
    place
        .merge::<ServiceInstance>("db", json!({"metadata": {"annotations": {APPROVAL: approval}}}))
        .await
        .unwrap();
}

#[tokio::test]
async fn parameters_from_secrets_need_an_approval_and_are_never_shown() {
    let place = Place::with_broker().await;
    place.instance("db", json!({"parameters": {"size": 1}, "parametersFrom": from_secret()})).await;
    let message = place.instance_is("db", "SecretNotApproved").await;
    assert!(message.contains("/params is not used"), "{message}");
    approve(&place).await;
    let message = place.instance_is("db", "ErrorWithParameters").await;
    assert!(message.contains("does not exist"), "{message}");
    place.broker.once(Verb::Provision, Answer::error(422, "the password hunter2 is too short"));
    write_secret(&place, r#"{"password": "hunter2"}"#).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let sent = &place.broker.received(Verb::Provision)[0].body["parameters"];
    assert_eq!(*sent, json!({"size": 1, "password": "hunter2"}));
    let shown = status(&place).await.external_properties.unwrap();
    assert_eq!(json!(shown.parameters), json!({"size": 1, "password": "<redacted>"}));
    assert_eq!(shown.parameter_checksum.unwrap().len(), 64);
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    let events: kube::Api<k8s_openapi::api::events::v1::Event> = place.api();
    let events = events.list(&kube::api::ListParams::default()).await.unwrap();
    let everything = format!("{} {}", json!(instance), json!(events));
    assert!(everything.contains("the password <redacted> is too short") && !everything.contains("hunter2"));
}

#[tokio::test]
async fn a_parameter_with_two_sources_is_a_conflict() {
    let place = Place::with_broker().await;
    write_secret(&place, r#"{"size": 2}"#).await;
    place.instance("db", json!({"parameters": {"size": 1}, "parametersFrom": from_secret()})).await;
    approve(&place).await;
    let message = place.instance_is("db", "ErrorWithParameters").await;
    assert!(message.contains("conflict: duplicate entry for parameter \"size\""), "{message}");
    assert!(place.broker.received(Verb::Provision).is_empty());
    change(&place, json!({"parameters": null})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn a_changed_secret_is_sent_when_asked_for_or_at_the_interval_of_the_annotation() {
    let place = Place::with_broker().await;
    write_secret(&place, r#"{"password": "first"}"#).await;
    place.instance("db", json!({"parametersFrom": from_secret()})).await;
    approve(&place).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    write_secret(&place, r#"{"password": "second"}"#).await;
    change(&place, json!({"updateRequests": 1})).await;
    let sent = async |value: &str| {
        until("an update", async || {
            let updates = place.broker.received(Verb::Update);
            updates.last().is_some_and(|update| update.body["parameters"]["password"] == value)
        })
        .await;
    };
    sent("second").await;
    let reread = json!({"metadata": {"annotations": {"bindery.dev/reread-parameters": "10s"}}});
    place.merge::<ServiceInstance>("db", reread).await.unwrap();
    write_secret(&place, r#"{"password": "third"}"#).await;
    sent("third").await;
    let wrong = json!({"metadata": {"annotations": {"bindery.dev/reread-parameters": "often"}}});
    place.merge::<ServiceInstance>("db", wrong).await.unwrap();
    assert!(place.instance_is("db", "ErrorWithParameters").await.contains("no duration"));
}

#[tokio::test]
async fn defaults_of_class_and_plan_count_for_new_instances() {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let plans: kube::Api<bindery::apis::servicecatalog::ClusterServicePlan> =
        kube::Api::all(place.client.clone());
    let plan = format!("plan-{}", place.broker.suffix);
    let defaults = json!({"spec": {"defaultProvisionParameters": {"size": 1, "region": "eu"}}});
    plans.patch(&plan, &PatchParams::default(), &Patch::Merge(defaults)).await.unwrap();
    place.instance("db", json!({"parameters": {"size": 5}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let sent = &place.broker.received(Verb::Provision)[0].body["parameters"];
    assert_eq!(*sent, json!({"size": 5, "region": "eu"}));
    let status = status(&place).await;
    assert_eq!(json!(status.default_provision_parameters), json!({"size": 1, "region": "eu"}));
    assert_eq!(json!(status.external_properties.unwrap().parameters), json!({"size": 5, "region": "eu"}));
}
