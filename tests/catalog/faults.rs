//! Brokers that fail, and what users are told.

use std::time::{Duration, Instant};

use bindery::catalog::api::{ServiceBinding, ServiceInstance};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    broker::{Broker, Fault},
    harness::{Place, until},
};

#[tokio::test]
async fn a_web_page_is_no_broker_and_a_mended_url_is_noticed() {
    let place = Place::new().await;
    place.broker.set(Fault::Html);
    place.register(json!({})).await;
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(message.contains("answered HTML, status 200") && !message.contains("It works"), "{message}");
    place.broker.set(Fault::None);
    place.broker_is("FetchedCatalog").await;
}

#[tokio::test]
async fn a_broker_that_starts_late_is_found_soon() {
    let mut place = Place::new().await;
    place.broker = Broker::unstarted();
    place.register(json!({})).await;
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(
        message.contains("Connection refused") && message.contains("check that the broker runs"),
        "{message}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await; // the waits grow meanwhile
    place.broker.serve();
    let started = Instant::now();
    place.broker_is("FetchedCatalog").await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broker_that_went_away_comes_back() {
    let mut place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let address = place.broker.address;
    place.broker.stop().await;
    place.instance("db", json!({})).await;
    let message = place.instance_is("db", "ErrorCallingProvision").await;
    assert!(message.contains(&address.to_string()), "{message}");
    place.broker.serve();
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn wrong_credentials_are_noticed_and_mended_ones_too() {
    let place = Place::new().await;
    place.broker.held().password = Some("right".to_owned());
    let secrets: Api<Secret> = place.api();
    let reference =
        json!({"authInfo": {"basic": {"secretRef": {"namespace": place.namespace, "name": "auth"}}}});
    place.register(reference).await;
    let message = place.broker_is("ErrorGettingAuthCredentials").await;
    assert!(message.contains("does not exist"), "{message}");
    let secret = |password: &str| -> Secret {
        let auth =
            json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": password}});
        serde_json::from_value(auth).unwrap()
    };
    secrets.create(&PostParams::default(), &secret("wrong-hunter2")).await.unwrap();
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(
        message.contains("refused the credentials (status 401)") && !message.contains("hunter2"),
        "{message}"
    );
    let mended = Patch::Merge(json!({"stringData": {"password": "right"}}));
    secrets.patch("auth", &PatchParams::default(), &mended).await.unwrap();
    place.broker_is("FetchedCatalog").await;
}

#[tokio::test]
async fn a_password_in_the_url_works_and_stays_there() {
    let place = Place::new().await;
    place.broker.held().password = Some("hunter2".to_owned());
    place.register(json!({"url": place.broker.url().replace("http://", "http://user:hunter2@")})).await;
    place.broker_is("FetchedCatalog").await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let claims = serde_json::to_string(&place.claims().await).unwrap();
    assert!(!claims.contains("hunter2"), "{claims}");
    let name = place.broker.name();
    let row =
        axum::http::Request::get(format!("/apis/servicecatalog.k8s.io/v1beta1/clusterservicebrokers/{name}"))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .unwrap();
    let table: Value = place.client.request(row).await.unwrap();
    assert_eq!(table["rows"][0]["cells"][1], format!("{}/", place.broker.url()), "what kubectl get shows");
}

#[tokio::test]
async fn a_failing_broker_is_asked_again() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Broken);
    place.instance("db", json!({})).await;
    let message = place.instance_is("db", "ProvisionCallFailed").await;
    assert!(message.contains("status 500: the disk is full"), "{message}");
    place.broker.set(Fault::None);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert_eq!(place.broker.held().instances.len(), 1);
}

#[tokio::test]
async fn a_refused_spec_is_not_tried_again_until_it_changes() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Refuses);
    place.instance("db", json!({"parameters": {"size": "huge"}})).await;
    let message = place.instance_is("db", "ProvisionCallFailed").await;
    assert!(message.contains("no such size"), "{message}");
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(instance.status.unwrap().last_condition_state, "Failed");
    place.broker.set(Fault::None);
    place.merge::<ServiceInstance>("db", json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    place.merge::<ServiceInstance>("db", json!({"spec": {"parameters": {"size": "small"}}})).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let held = place.broker.held();
    assert_eq!(held.requests.len(), 2, "one refused, one accepted: {:?}", held.requests);
    assert_eq!(held.instances.values().next().unwrap()["parameters"], json!({"size": "small"}));
}

#[tokio::test]
async fn a_creation_that_fails_later_is_undone() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::FailsLater);
    place.instance("db", json!({})).await;
    until("a failure for good", async || {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        instance.status.is_some_and(|status| status.last_condition_state == "Failed")
    })
    .await;
    assert!(place.instance_is("db", "ProvisionCallFailed").await.contains("creating (10%)"));
    assert!(place.broker.is_empty());
    place.broker.set(Fault::None);
    place.merge::<ServiceInstance>("db", json!({"spec": {"parameters": {"a": 1}}})).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn a_deletion_waits_for_the_broker_and_says_so() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.broker.set(Fault::Broken);
    place.delete::<ServiceInstance>("db").await;
    let message = place.instance_is("db", "DeprovisionCallFailed").await;
    let claim = place.claims().await[0].name_any();
    assert!(message.contains("the disk is full") && message.contains(" since 20"), "{message}");
    assert!(message.ends_with(&format!("kubectl delete claim {claim}")), "{message}");
    place.broker.set(Fault::None);
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn an_instance_can_be_deleted_after_its_broker_was_withdrawn() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.brokers().delete(&place.broker.name(), &DeleteParams::default()).await.unwrap();
    until("no broker", async || place.brokers().get_opt(&place.broker.name()).await.unwrap().is_none()).await;
    place.delete::<ServiceInstance>("db").await;
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn a_changed_plan_is_not_carried_out_and_said_so() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let other = json!({"spec": {"clusterServicePlanExternalName": "unbindable"}});
    place.merge::<ServiceInstance>("db", other).await.unwrap();
    let current = async || -> Value {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        let status = serde_json::to_value(instance.status.unwrap()).unwrap();
        assert_eq!(status["lastConditionState"], "Ready");
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["type"] == "Current")
            .cloned()
            .unwrap_or_default()
    };
    until("a word about updates", async || current().await["reason"] == "UpdatesNotSupported").await;
    place
        .merge::<ServiceInstance>("db", json!({"spec": {"clusterServicePlanExternalName": "default"}}))
        .await
        .unwrap();
    until("nothing to say", async || current().await.is_null()).await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_bound_is_said_so() {
    let place = Place::with_broker().await;
    place.instance("db", json!({"clusterServicePlanExternalName": "unbindable"})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "ErrorNonbindableServiceClass").await;
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceBinding>("b").await;
    let held = place.broker.held();
    assert!(!held.requests.iter().any(|request| request.contains("bindings")), "{:?}", held.requests);
}
