//! Objects that parsers with a nesting limit refuse but the API server stores: for each watched kind, one object
//! whose `managedFields` or parameters are nested 200 levels deep. They must affect only their writers.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use axum::http::Request;
use bindery::{
    admission::namespaces::WatchedNamespaces,
    apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
        ServiceBroker, ServiceClass, ServiceInstance, ServicePlan,
    },
    namespace_bindings::NamespaceBinding,
    telemetry::ops::Readiness,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    harness::{RUNTIME, restart_catalog, until},
    pods::{place, until_told},
};

const LEVELS: usize = 200;

fn deep() -> Value {
    (0..LEVELS).fold(json!({}), |inner, _| json!({"f:a": inner}))
}

/// Deeply nested `managedFields`.
fn managed(api_version: &str) -> Value {
    json!([{"manager": "hostile", "operation": "Update", "apiVersion": api_version, "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": deep()}}])
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(body.to_string().into_bytes()).unwrap();
    client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
}

/// Gives an existing object deeply nested `managedFields`.
async fn spoil<K>(client: &Client, path: &str, name: &str)
where
    K: Resource<DynamicType = ()>,
{
    let path = format!("{path}/{name}");
    until(&format!("{path} is spoilt"), async || {
        let request = Request::get(&path).body(Vec::new()).unwrap();
        let mut object: Value = client.request(request).await.unwrap();
        object["metadata"]["managedFields"] = managed(&K::api_version(&()));
        let request = Request::put(&path).header("content-type", "application/json");
        // Another client may write the object at the same moment.
        client.request::<Value>(request.body(object.to_string().into_bytes()).unwrap()).await.is_ok()
    })
    .await;
}

/// Creates a broker, a class and a plan of the namespace with deeply nested `managedFields`.
async fn create_deep_offers(client: &Client, namespace: &str) {
    let api_version = "servicecatalog.k8s.io/v1beta1";
    let offer = |more: Value| {
        let mut spec = json!({"externalName": "deep", "externalID": "deep", "description": "", "bindable": true,
            "serviceBrokerName": "deep"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    for (kind, plural, spec) in [
        ("ServiceBroker", "servicebrokers", json!({"url": "http://127.0.0.1:1"})),
        ("ServiceClass", "serviceclasses", offer(json!({}))),
        ("ServicePlan", "serviceplans", offer(json!({"free": true, "serviceClassRef": {"name": "deep"}}))),
    ] {
        let metadata = json!({"name": "deep", "managedFields": managed(api_version)});
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        send(client, "POST", &format!("/apis/{api_version}/namespaces/{namespace}/{plural}"), &object).await;
    }
}

/// Whether a plain client cannot list the kind, which proves that the test works.
async fn stops_others<K>()
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let bare = Api::<K>::all(Client::try_default().await.unwrap());
    let listed = bare.list(&ListParams::default()).await;
    assert!(matches!(listed, Err(kube::Error::SerdeError(_))), "{} can be listed", K::plural(&()));
}

#[tokio::test]
async fn deeply_nested_objects_affect_only_their_writers() {
    const CATALOG: &str = "/apis/servicecatalog.k8s.io/v1beta1";
    let place = place().await;
    let client = place.client.clone();
    place.broker_is("FetchedCatalog").await;
    place.instance("early", json!({})).await;
    place.instance_is("early", "ProvisionedSuccessfully").await;

    // All watched kinds.
    let name = format!("{}-deep", place.namespace);
    let metadata = json!({"name": name, "labels": {"bindery.dev/inject": "enabled"},
        "annotations": {"bindery.dev/bind": "x"}, "managedFields": managed("v1")});
    send(&client, "POST", "/api/v1/namespaces", &json!({"metadata": metadata})).await;
    let pod = json!({"metadata": {"name": "deep", "managedFields": managed("v1")},
        "spec": {"containers": [{"name": "app", "image": "busybox"}]}});
    send(&client, "POST", &format!("/api/v1/namespaces/{}/pods", place.namespace), &pod).await;
    let event = json!({"metadata": {"generateName": "deep-", "managedFields": managed("v1")}, "reason": "FailedCreate",
        "lastTimestamp": "9999-12-31T23:59:59Z", "involvedObject": {"kind": "Pod", "namespace": name}});
    send(&client, "POST", &format!("/api/v1/namespaces/{name}/events"), &event).await;
    let of_namespace = |kind: &str| format!("{CATALOG}/namespaces/{}/{kind}", place.namespace);
    let api_version = "servicecatalog.k8s.io/v1beta1";
    let instance = json!({"apiVersion": api_version, "kind": "ServiceInstance", "metadata": {"name": "deep"},
        "spec": {"clusterServiceClassExternalName": place.broker.name(), "clusterServicePlanExternalName": "default",
            "parameters": {"a": deep()}}});
    send(&client, "POST", &of_namespace("serviceinstances"), &instance).await;
    let binding = json!({"apiVersion": api_version, "kind": "ServiceBinding", "metadata": {"name": "deep"},
        "spec": {"instanceRef": {"name": "early"}, "parameters": {"a": deep()}}});
    send(&client, "POST", &of_namespace("servicebindings"), &binding).await;
    let rule = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding", "metadata": {"name": name},
        "spec": {"namePattern": "none-*", "clusterServiceClassExternalName": "x", "parameters": {"a": deep()}}});
    send(&client, "POST", "/apis/bindery.dev/v1alpha1/namespacebindings", &rule).await;
    spoil::<ClusterServiceBroker>(&client, &format!("{CATALOG}/clusterservicebrokers"), &place.broker.name())
        .await;
    let of_broker = |broker: &str| broker == place.broker.name();
    let classes = Api::<ClusterServiceClass>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    for class in classes.iter().filter(|class| of_broker(&class.spec.cluster_service_broker_name)) {
        let path = format!("{CATALOG}/clusterserviceclasses");
        spoil::<ClusterServiceClass>(&client, &path, &class.name_any()).await;
    }
    let plans = Api::<ClusterServicePlan>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    for plan in plans.iter().filter(|plan| of_broker(&plan.spec.cluster_service_broker_name)) {
        let path = format!("{CATALOG}/clusterserviceplans");
        spoil::<ClusterServicePlan>(&client, &path, &plan.name_any()).await;
    }
    for external_resource in place.external_resources().await {
        spoil::<ExternalResource>(
            &client,
            "/apis/bindery.dev/v1alpha1/externalresources",
            &external_resource.name_any(),
        )
        .await;
    }
    create_deep_offers(&client, &place.namespace).await;
    stops_others::<Namespace>().await;
    stops_others::<Pod>().await;
    stops_others::<k8s_openapi::api::core::v1::Event>().await;
    stops_others::<ServiceInstance>().await;
    stops_others::<ServiceBinding>().await;
    stops_others::<NamespaceBinding>().await;
    stops_others::<ClusterServiceBroker>().await;
    stops_others::<ClusterServiceClass>().await;
    stops_others::<ClusterServicePlan>().await;
    stops_others::<ServiceBroker>().await;
    stops_others::<ServiceClass>().await;
    stops_others::<ServicePlan>().await;
    stops_others::<ExternalResource>().await;

    // The new catalog lists all objects again, and serves the others.
    restart_catalog().await;
    place.instance("late", json!({})).await;
    place.binding("late", "late", json!({})).await;
    place.binding_is("late", "InjectedBindResult").await;
    let said = place.instance_is("deep", "ErrorWithParameters").await;
    assert!(said.contains("spec.parameters is nested deeper than 100 levels"), "{said}");
    place.binding_is("deep", "ErrorWithParameters").await;
    let rules: Api<NamespaceBinding> = Api::all(client.clone());
    until("the NamespaceBinding says why it does nothing", async || {
        let rule = rules.get(&name).await.unwrap();
        json!(rule)["status"].to_string().contains("nested deeper than 100 levels")
    })
    .await;
    let missed = json!({"metadata": {"name": "missed", "annotations": {"bindery.dev/bind": "late"}},
        "spec": {"containers": [{"name": "app", "image": "busybox"}]}});
    send(&client, "POST", &format!("/api/v1/namespaces/{}/pods", place.namespace), &missed).await;
    until_told(&place, "Pod", "missed", "BindingMissed", "late").await;

    // The webhook's cache gets filled.
    let readiness = Readiness::default();
    let (_labelled, watch) = WatchedNamespaces::new(client.clone(), readiness.clone());
    let watching = RUNTIME.spawn(watch);
    until("the Namespaces are known", async || readiness.report().is_empty()).await;
    watching.abort();

    // Deeply nested objects can be deleted like any other.
    place.delete::<ServiceBinding>("deep").await;
    place.gone::<ServiceBinding>("deep").await;
    place.delete::<ServiceInstance>("deep").await;
    place.gone::<ServiceInstance>("deep").await;
    rules.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
}
