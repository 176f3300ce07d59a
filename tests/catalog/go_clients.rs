//! Objects as the Go clients of the old API serialise them, with all zero values, and as the old controller stored
//! them. `tests/preflight svcat` builds the program that prints the former.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::process::Command;

use bindery::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ServiceBinding, ServiceBroker,
    ServiceClass, ServiceInstance, ServicePlan,
};
use serde_json::{Value, json};

use crate::{
    broker::Broker,
    commands::{kubectl, program},
    harness::{Place, is, until},
};

const KINDS: [(&str, &str); 8] = [
    ("ClusterServiceBroker", "clusterservicebrokers"),
    ("ServiceBroker", "servicebrokers"),
    ("ClusterServiceClass", "clusterserviceclasses"),
    ("ServiceClass", "serviceclasses"),
    ("ClusterServicePlan", "clusterserviceplans"),
    ("ServicePlan", "serviceplans"),
    ("ServiceInstance", "serviceinstances"),
    ("ServiceBinding", "servicebindings"),
];

/// What the program of `tests/catalog/programs/bodies` prints.
fn printed(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(program("bodies")).args(arguments).output().expect("run tests/preflight svcat");
    serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
}

/// The instance `mydb` of `kf create-service SERVICE default mydb`, and the binding of Kf's controller for an App.
pub(crate) fn bodies_of_kf(service: &str) -> [Value; 2] {
    printed(&["kf", service]).try_into().expect("run tests/preflight svcat")
}

/// One object of each kind as the clients serialise it, with a name of the place's own.
fn bodies(place: &Place) -> Vec<Value> {
    let bodies = printed(&[]);
    assert_eq!(bodies.len(), KINDS.len());
    let named = |mut body: Value| {
        body["metadata"]["name"] = json!(format!("zero-{}", place.broker.suffix));
        body
    };
    bodies.into_iter().map(named).collect()
}

/// The path of the objects of this kind.
pub(crate) fn path(place: &Place, kind: &str) -> String {
    let resource = KINDS.iter().find(|known| known.0 == kind).unwrap().1;
    let scope =
        if kind.starts_with("Cluster") { String::new() } else { format!("/namespaces/{}", place.namespace) };
    format!("/apis/servicecatalog.k8s.io/v1beta1{scope}/{resource}")
}

/// Sends JSON unchanged; a field that the schema does not know is an error.
pub(crate) async fn send(place: &Place, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("{path}?fieldValidation=Strict"))
        .header("content-type", "application/json");
    place.client.request(request.body(body.to_string().into_bytes()).unwrap()).await
}

/// Replaces the object with a change of the stored one, again after each conflict with a controller.
pub(crate) async fn replace(place: &Place, path: &str, part: &str, change: impl Fn(&mut Value)) -> Value {
    loop {
        let mut object = send(place, "GET", path, &Value::Null).await.unwrap();
        change(&mut object);
        match send(place, "PUT", &format!("{path}{part}"), &object).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            outcome => return outcome.unwrap_or_else(|error| panic!("{path}{part}: {error}")),
        }
    }
}

/// Whether bindery can read the object.
fn is_readable(object: &Value) -> bool {
    let object = object.clone();
    match object["kind"].as_str().unwrap() {
        "ClusterServiceBroker" => serde_json::from_value::<ClusterServiceBroker>(object).is_ok(),
        "ServiceBroker" => serde_json::from_value::<ServiceBroker>(object).is_ok(),
        "ClusterServiceClass" => serde_json::from_value::<ClusterServiceClass>(object).is_ok(),
        "ServiceClass" => serde_json::from_value::<ServiceClass>(object).is_ok(),
        "ClusterServicePlan" => serde_json::from_value::<ClusterServicePlan>(object).is_ok(),
        "ServicePlan" => serde_json::from_value::<ServicePlan>(object).is_ok(),
        "ServiceInstance" => serde_json::from_value::<ServiceInstance>(object).is_ok(),
        _ => serde_json::from_value::<ServiceBinding>(object).is_ok(),
    }
}

/// Deletes the cluster-scoped objects; those of a deleted broker may go with the broker first.
async fn delete_cluster_objects(place: &Place, bodies: &[Value]) {
    for body in bodies.iter().filter(|body| body["kind"].as_str().unwrap().starts_with("Cluster")) {
        let path = path(place, body["kind"].as_str().unwrap());
        let object = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
        match send(place, "DELETE", &object, &json!({})).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            outcome => drop(outcome.unwrap()),
        }
    }
}

#[tokio::test]
async fn zero_values_are_accepted_in_creations_updates_and_statuses_of_all_kinds() {
    let place = Place::new().await;
    let bodies = bodies(&place);
    for body in &bodies {
        let kind = body["kind"].as_str().unwrap();
        let created = send(&place, "POST", &path(&place, kind), body).await;
        let created = created.unwrap_or_else(|error| panic!("create {kind}: {error}"));
        let path = format!("{}/{}", path(&place, kind), created["metadata"]["name"].as_str().unwrap());
        let updated = replace(&place, &path, "", |object| {
            json_patch::merge(&mut object["metadata"], &json!({"labels": {"updated": "yes"}}));
            let members = body["spec"].as_object().unwrap().clone();
            // Once it has an id, an instance is never sent with an empty one.
            let members = members
                .into_iter()
                .filter(|(name, _)| name != "externalID" || kind.contains("Class") || kind.contains("Plan"));
            object["spec"].as_object_mut().unwrap().extend(members);
        })
        .await;
        assert_eq!(updated["metadata"]["labels"]["updated"], "yes");
        let stored =
            replace(&place, &path, "/status", |object| object["status"] = body["status"].clone()).await;
        assert!(is_readable(&stored), "{stored}");
    }
    delete_cluster_objects(&place, &bodies).await;
}

/// Users write null where Go clients leave a field out.
#[tokio::test]
async fn null_means_absent() {
    let place = Place::new().await;
    let spec = json!({"clusterServiceClassExternalName": "c", "clusterServicePlanExternalName": null, "serviceClassName": null,
        "parameters": null, "parametersFrom": null, "clusterServiceClassRef": null, "updateRequests": null,
        "userInfo": {"username": "u", "uid": "", "groups": null, "extra": null}});
    let instance = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
        "metadata": {"name": "i"}, "spec": spec});
    let stored = send(&place, "POST", &path(&place, "ServiceInstance"), &instance).await.unwrap();
    assert!(is_readable(&stored), "{stored}");
    let spec = json!({"instanceRef": {"name": "i"}, "secretName": null, "parametersFrom": null,
        "secretTransforms": null, "userInfo": null});
    let binding = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
        "metadata": {"name": "b"}, "spec": spec});
    let stored = send(&place, "POST", &path(&place, "ServiceBinding"), &binding).await.unwrap();
    assert!(is_readable(&stored), "{stored}");
    let spec = json!({"url": "http://broker.invalid", "authInfo": null, "caBundle": null, "relistDuration": null,
        "catalogRestrictions": {"serviceClass": null, "servicePlan": null}});
    let broker = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBroker",
        "metadata": {"name": "b"}, "spec": spec});
    let stored = send(&place, "POST", &path(&place, "ServiceBroker"), &broker).await.unwrap();
    assert!(is_readable(&stored), "{stored}");
}

/// Objects as the old controller stored them, without what a new cluster decides itself (uid, resourceVersion).
fn dump(place: &Place) -> Vec<Value> {
    let name = format!("old-{}", place.broker.suffix);
    let user = json!({"username": "system:serviceaccount:ci:deployer", "uid": "7c3f3d1e-8a54-4d7b-9a3c-0d6f7b1f2a11",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["runner-0"]}});
    let ready = |reason: &str| {
        json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2020-05-04T10:00:00Z",
        "reason": reason, "message": "done"}])
    };
    let properties = json!({"clusterServicePlanExternalName": "default", "clusterServicePlanExternalID": "p",
        "parameters": {"size": 1}, "parameterChecksum": "0".repeat(64), "userInfo": user});
    let broker = json!({"url": "http://broker.invalid", "relistBehavior": "Duration", "relistRequests": 3,
        "relistDuration": "15m0s", "insecureSkipTLSVerify": true});
    let object = |kind: &str, labels: Value, spec: Value, status: Value| {
        let mut metadata = json!({"name": name, "labels": labels, "creationTimestamp": "2020-05-04T09:59:00Z",
            "generation": 4, "selfLink": "/apis/servicecatalog.k8s.io/v1beta1/x"});
        if !kind.contains("Class") && !kind.contains("Plan") {
            metadata["finalizers"] = json!(["kubernetes-incubator/service-catalog"]);
        }
        json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec,
            "status": status})
    };
    let broker_status = json!({"conditions": ready("FetchedCatalog"), "reconciledGeneration": 4,
        "lastCatalogRetrievalTime": "2020-05-04T10:00:00Z", "lastConditionState": "Ready"});
    let class = |broker: &str| {
        json!({"externalName": "c", "externalID": "c", "description": "d", "bindable": true,
        "bindingRetrievable": false, "planUpdatable": true, "tags": ["t"], "requires": null, broker: name,
        "externalMetadata": {"displayName": "C"}})
    };
    let plan = |broker: &str, class: &str| {
        json!({"externalName": "default", "externalID": "p", "description": "d",
        "free": true, "bindable": null, broker: name, class: {"name": "c"},
        "instanceCreateParameterSchema": {"type": "object"}})
    };
    let removed = json!({"removedFromBrokerCatalog": false});
    let sha = json!({"servicecatalog.k8s.io/spec.clusterServiceClassRef.name": "0".repeat(56)});
    vec![
        object("ClusterServiceBroker", json!({}), broker.clone(), broker_status.clone()),
        object("ServiceBroker", json!({}), broker, broker_status),
        object("ClusterServiceClass", json!({}), class("clusterServiceBrokerName"), removed.clone()),
        object("ServiceClass", json!({}), class("serviceBrokerName"), removed.clone()),
        object(
            "ClusterServicePlan",
            json!({}),
            plan("clusterServiceBrokerName", "clusterServiceClassRef"),
            removed.clone(),
        ),
        object("ServicePlan", json!({}), plan("serviceBrokerName", "serviceClassRef"), removed),
        object(
            "ServiceInstance",
            sha,
            json!({"clusterServiceClassExternalName": "c", "clusterServicePlanExternalName": "default",
                "clusterServiceClassRef": {"name": "c"}, "clusterServicePlanRef": {"name": "p"},
                "externalID": format!("i-{}", place.broker.suffix), "parameters": {"size": 1}, "updateRequests": 2,
                "userInfo": user}),
            json!({"conditions": ready("ProvisionedSuccessfully"), "asyncOpInProgress": false,
                "orphanMitigationInProgress": false, "reconciledGeneration": 4, "observedGeneration": 4,
                "externalProperties": properties, "provisionStatus": "Provisioned", "deprovisionStatus": "Required",
                "lastConditionState": "Ready", "userSpecifiedPlanName": "default",
                "userSpecifiedClassName": "ClusterServiceClass/c", "dashboardURL": "http://dashboard.invalid",
                "defaultProvisionParameters": {"a": 1}}),
        ),
        object(
            "ServiceBinding",
            json!({}),
            json!({"instanceRef": {"name": name}, "externalID": format!("b-{}", place.broker.suffix),
                "secretName": name, "userInfo": user, "parameters": {}}),
            json!({"conditions": ready("InjectedBindResult"), "asyncOpInProgress": false, "reconciledGeneration": 1,
                "externalProperties": {"userInfo": user}, "orphanMitigationInProgress": false, "unbindStatus": "Required",
                "lastConditionState": "Ready"}),
        ),
    ]
}

/// `kubectl get -o yaml | kubectl apply -f -` for an object, twice: the first time adds the annotation of `apply`, and
/// nothing else. Repeated where a controller changed the object meanwhile. Returns the object.
async fn reapply(place: &Place, resource: &str, name: &str) -> Value {
    let mut after = Value::Null;
    until(&format!("{resource} {name} is exported and applied without a change"), async || {
        let before = exported(place, resource, name).await.1;
        let mut said = String::new();
        for _ in 0..2 {
            // Without the version a controller that writes the status meanwhile causes no conflict.
            let text = exported(place, resource, name).await.0;
            let again = text.lines().filter(|line| !line.starts_with("  resourceVersion:"));
            let again: String = again.map(|line| format!("{line}\n")).collect();
            said = kubectl(place, &["apply", "-f", "-"], &again).await;
        }
        after = exported(place, resource, name).await.1;
        let same = |field: &str| after["metadata"][field] == before["metadata"][field];
        said.trim_end().ends_with("unchanged")
            && ["generation", "labels", "ownerReferences", "finalizers"].into_iter().all(same)
            && after["spec"] == before["spec"]
    })
    .await;
    after
}

async fn exported(place: &Place, resource: &str, name: &str) -> (String, Value) {
    let text = kubectl(place, &["get", resource, name, "-o", "yaml"], "").await;
    let object = serde_saphyr::from_str(&text).unwrap();
    (text, object)
}

/// A dump of a cluster with the old controller can be applied; no field of it is unknown. What is stored can be
/// exported and applied again without a change.
#[tokio::test]
async fn objects_of_the_old_controller_and_exported_objects_can_be_applied() {
    let place = Place::new().await;
    let dump = dump(&place);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": dump});
    kubectl(&place, &["apply", "--validate=strict", "-f", "-"], &list.to_string()).await;
    for object in &dump {
        let kind = object["kind"].as_str().unwrap();
        let resource = KINDS.iter().find(|known| known.0 == kind).unwrap().1;
        let name = object["metadata"]["name"].as_str().unwrap();
        let stored = reapply(&place, &format!("{resource}.servicecatalog.k8s.io"), name).await;
        for (field, value) in object["spec"].as_object().unwrap() {
            assert_eq!(&stored["spec"][field], value, "{kind} lost {field}");
        }
        assert!(is_readable(&stored), "{stored}");
    }
    delete_cluster_objects(&place, &dump).await;
}

/// What bindery itself has written, of both scopes.
#[tokio::test]
async fn objects_of_bindery_are_exported_and_applied_without_a_change() {
    let place = Place::with_binding().await;
    let other = Broker::start();
    let spec = json!({"url": other.url()});
    place.create::<ServiceBroker>("ServiceBroker", "local", json!({}), spec).await.unwrap();
    is(&place.api::<ServiceBroker>(), "local", "FetchedCatalog").await;
    let requests = place.broker.held().requests.clone();
    let [(class, plan), (local_class, local_plan)] = [&place.broker, &other]
        .map(|broker| (format!("service-{}", broker.suffix), format!("plan-{}", broker.suffix)));
    for (resource, name) in [
        ("clusterservicebroker", place.broker.name().as_str()),
        ("clusterserviceclass", &class),
        ("clusterserviceplan", &plan),
        ("servicebroker", "local"),
        ("serviceclass", &local_class),
        ("serviceplan", &local_plan),
        ("serviceinstance", "db"),
        ("servicebinding.servicecatalog.k8s.io", "b"),
    ] {
        reapply(&place, resource, name).await;
    }
    assert_eq!(place.broker.held().requests, requests, "nothing is asked of the broker again");
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn kubectl_explains_every_kind() {
    let _place = Place::new().await;
    for (_, resource) in KINDS {
        let path = format!("{resource}.servicecatalog.k8s.io.spec");
        let mut text = String::new();
        // The API server publishes the schemas of a changed group again, and has none for a moment.
        until(&format!("{resource} is explained"), async || {
            let output = Command::new("kubectl").args(["explain", &path]).output().unwrap();
            text = String::from_utf8(output.stdout).unwrap();
            text.contains("DESCRIPTION")
        })
        .await;
        assert!(!text.contains("<no description>"), "{resource}: {text}");
    }
}
