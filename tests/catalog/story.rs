//! From an instance to a database and from a binding to a Secret, in any order, and back.

use std::time::{Duration, Instant};

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance, instance::ProvisionStatus};
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use crate::{
    broker::Fault,
    harness::{Place, restart_catalog, text, until},
};

#[tokio::test]
async fn an_instance_and_a_binding_become_a_secret() {
    let place = Place::with_broker().await;
    place.instance("mydb01", json!({})).await;
    place.binding("mydb01-binding", "mydb01", json!({})).await;
    let message = place.instance_is("mydb01", "ProvisionedSuccessfully").await;
    assert_eq!(message, "The instance was provisioned successfully");
    assert_eq!(place.binding_is("mydb01-binding", "InjectedBindResult").await, "Injected bind result");

    let instance: ServiceInstance = place.api().get("mydb01").await.unwrap();
    let status = instance.status.as_ref().unwrap();
    assert_eq!(status.provision_status, Some(ProvisionStatus::Provisioned));
    assert_eq!(Some(status.reconciled_generation), instance.metadata.generation);
    assert_eq!(status.last_condition_state, "Ready");
    assert_eq!(
        status.user_specified_class_name,
        Some(format!("ClusterServiceClass/{}", place.broker.name()))
    );
    assert_eq!(status.user_specified_plan_name.as_deref(), Some("default"));
    assert_eq!(status.dashboard_url.as_deref(), Some("https://dashboard"));
    assert_eq!(instance.finalizers(), ["kubernetes-incubator/service-catalog"]);

    let id = instance.spec.external_id.clone().unwrap();
    let asked = place.broker.held().instances[&id].clone();
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let cluster = namespaces.get("kube-system").await.unwrap().uid().unwrap();
    assert_eq!(
        asked["context"],
        json!({"platform": "kubernetes", "namespace": place.namespace, "clusterid": cluster, "instance_name": "mydb01"})
    );
    assert_eq!(asked["organization_guid"], cluster);
    assert_eq!(asked["space_guid"], namespaces.get(&place.namespace).await.unwrap().uid().unwrap());

    let external_resources = place.external_resources().await;
    assert_eq!(external_resources.len(), 2, "{external_resources:?}");

    place.delete::<ServiceBinding>("mydb01-binding").await;
    place.gone::<ServiceBinding>("mydb01-binding").await;
    assert!(place.secret("mydb01-binding").await.is_none());
    assert!(place.secret("mydb01-binding-env").await.is_none());
    place.delete::<ServiceInstance>("mydb01").await;
    place.gone::<ServiceInstance>("mydb01").await;
    assert!(place.broker.is_empty());
    assert!(place.external_resources().await.is_empty());
    let methods: Vec<_> = place
        .broker
        .held()
        .requests
        .iter()
        .map(|request| request.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["PUT", "PUT", "DELETE", "DELETE"], "each asked once");
}

#[tokio::test]
async fn the_order_of_the_applies_does_not_matter() {
    let place = Place::new().await;
    place.binding("b", "mydb01", json!({})).await;
    let message = place.binding_is("b", "ReferencesNonexistentInstance").await;
    assert!(message.contains("no ServiceInstance named \"mydb01\""), "{message}");
    place.instance("mydb01", json!({})).await;
    let message = place.instance_is("mydb01", "ReferencesNonexistentServiceClass").await;
    assert!(message.contains("kubectl get clusterserviceclasses"), "{message}");
    place.binding_is("b", "ErrorInstanceNotReady").await;
    place.register(json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    assert_eq!(text(&place.secret("b").await.unwrap(), "username"), "u1");
}

#[tokio::test]
async fn the_deletion_of_an_instance_waits_for_its_bindings() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    place.delete::<ServiceInstance>("db").await;
    let message = place.instance_is("db", "DeprovisionBlockedByExistingCredentials").await;
    assert_eq!(message, "Delete its ServiceBindings first; still there: b");
    place.binding("late", "db", json!({})).await;
    place.binding_is("late", "ErrorInstanceNotReady").await;
    place.delete::<ServiceBinding>("late").await;
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn another_catalog_continues_to_wait_for_an_asynchronous_provision() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Slow);
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    until("the broker's own words", async || {
        place.instance_is("db", "Provisioning").await.contains("creating (10%)")
    })
    .await;
    restart_catalog().await;
    place.broker.set(Fault::None);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.binding_is("b", "InjectedBindResult").await;
    let held = place.broker.held();
    let provisions =
        held.requests.iter().filter(|request| request.starts_with("PUT") && !request.contains("bindings"));
    assert_eq!(provisions.count(), 1, "asked once, polled from then on: {:?}", held.requests);
}

#[tokio::test]
async fn a_deleted_namespace_leaves_nothing() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    until("no namespace", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none()).await;
    assert!(place.broker.is_empty(), "{:?}", place.broker.held());
    assert!(place.external_resources().await.is_empty());
}

/// If Kubernetes finds finalizers in a namespace, it returns only after eight seconds. A namespace that is gone
/// earlier shows that it found none.
#[tokio::test]
async fn a_namespace_without_pods_is_deleted_at_once() {
    let mut took = Vec::new();
    for _ in 0..3 {
        let place = Place::with_broker().await;
        place.instance("db", json!({})).await;
        place.binding("b", "db", json!({})).await;
        place.binding_is("b", "InjectedBindResult").await;
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        let started = Instant::now();
        namespaces.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
        until("no namespace", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none()).await;
        took.push(started.elapsed());
        assert!(place.broker.is_empty(), "{:?}", place.broker.held());
        if took.iter().any(|took| *took < Duration::from_secs(7)) {
            return;
        }
    }
    panic!("{took:?}");
}

#[tokio::test]
async fn a_namespace_deleted_during_creation_leaves_nothing() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    until("a request", async || !place.broker.held().requests.is_empty()).await;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    until("no namespace", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none()).await;
    until("no external resources", async || place.external_resources().await.is_empty()).await;
    assert!(place.broker.is_empty(), "{:?}", place.broker.held());
}

#[tokio::test]
async fn events_report_what_happened() {
    let place = Place::with_broker().await;
    place.instance("db", json!({"clusterServicePlanExternalName": "defualt"})).await;
    let message = place.instance_is("db", "ReferencesNonexistentServicePlan").await;
    assert!(message.contains("did you mean \"default\"?"), "{message}");
    place
        .merge::<ServiceInstance>("db", json!({"spec": {"clusterServicePlanExternalName": "default"}}))
        .await
        .unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    until("events of both", async || {
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let reasons: Vec<_> = events.into_iter().filter_map(|event| event.reason).collect();
        reasons.iter().any(|reason| reason == "ReferencesNonexistentServicePlan")
            && reasons.iter().any(|reason| reason == "ProvisionedSuccessfully")
    })
    .await;
}
