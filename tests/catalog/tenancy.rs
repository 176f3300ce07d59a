//! A tenant of one namespace cannot make bindery read or touch things of another: one case for each field of the
//! Service Catalog API that refers to something.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    admission::catalog_objects::{Completion, tenant},
    harness::Place,
};

/// The namespace of a victim with the instance `db`, the binding `b` and the Secret `private`, and a tenant's own.
struct Neighbours {
    victim: Place,
    own: Place,
    mallory: Client,
    webhooks: Completion,
}

impl Neighbours {
    async fn new() -> Self {
        let victim = Place::with_binding().await;
        let mut own = Place::new().await;
        own.broker = victim.broker.clone();
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": "private"}, "stringData": {"token": "hunter2", "json": "{\"a\": 1}"}}),
        )
        .unwrap();
        victim.api().create(&PostParams::default(), &secret).await.unwrap();
        let webhooks = Completion::of(&own).await;
        let mallory = tenant(&own, "mallory", &[]).await;
        Self { victim, own, mallory, webhooks }
    }

    /// What the API server answers when the tenant creates the object in the tenant's namespace.
    async fn create(&self, kind: &str, name: &str, spec: &Value) -> kube::Result<Value> {
        let resource = format!("{}s", kind.to_lowercase());
        let namespace = &self.own.namespace;
        let uri = format!("/apis/servicecatalog.k8s.io/v1beta1/namespaces/{namespace}/{resource}");
        let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        let request = axum::http::Request::post(uri).header("content-type", "application/json");
        self.mallory.request(request.body(object.to_string().into_bytes()).unwrap()).await
    }

    /// A tenant's instance `own`, ready.
    async fn instance(&self) {
        let spec = json!({"clusterServiceClassExternalName": self.own.broker.name(),
            "clusterServicePlanExternalName": "default"});
        self.create("ServiceInstance", "own", &spec).await.unwrap();
        self.own.instance_is("own", "ProvisionedSuccessfully").await;
    }

    /// The victim's objects are as before, and no request to the broker carries a value of the Secret.
    async fn finish(self) {
        self.victim.instance_is("db", "ProvisionedSuccessfully").await;
        self.victim.binding_is("b", "InjectedBindResult").await;
        {
            let held = self.victim.broker.held();
            assert!(!format!("{:?}", held.instances).contains("hunter2"));
            assert!(!held.requests.iter().any(|request| request.contains("hunter2")));
        }
        self.webhooks.finish().await;
    }
}

fn secret_of(namespace: &str) -> Value {
    json!({"namespace": namespace, "name": "private"})
}

/// The field refers to a Secret of another namespace, and the author has no right to it.
#[rstest]
#[case::added_keys("ServiceBinding", "/secretTransforms")]
#[case::a_cluster_brokers_credentials("ClusterServiceBroker", "/authInfo")]
#[tokio::test]
async fn a_reference_to_a_secret_of_another_namespace_is_refused(#[case] kind: &str, #[case] field: &str) {
    let neighbours = Neighbours::new().await;
    let reference = secret_of(&neighbours.victim.namespace);
    let error = if kind == "ServiceBinding" {
        let transforms = json!([{"addKeysFrom": {"secretRef": reference}}]);
        let spec = json!({"instanceRef": {"name": "own"}, "secretTransforms": transforms});
        neighbours.create(kind, "theft", &spec).await.unwrap_err()
    } else {
        // No tenant may write cluster-scoped brokers; `approvals` has the case of a user who may.
        let broker = neighbours.own.unapproved(&json!({"authInfo": {"bearer": {"secretRef": reference}}}));
        Api::all(neighbours.mallory.clone()).create(&PostParams::default(), &broker).await.unwrap_err()
    };
    assert!(matches!(&error, kube::Error::Api(status) if status.is_forbidden()), "{field}: {error}");
    neighbours.finish().await;
}

/// Where the field has no namespace, a namespace that is written all the same is not part of the API.
#[rstest]
#[case::parameters_of_an_instance("ServiceInstance", json!({"parametersFrom": [{"secretKeyRef": {"key": "json"}}]}), "/parametersFrom/0/secretKeyRef")]
#[case::parameters_of_a_binding("ServiceBinding", json!({"parametersFrom": [{"secretKeyRef": {"key": "json"}}]}), "/parametersFrom/0/secretKeyRef")]
#[case::a_namespaced_brokers_credentials("ServiceBroker", json!({"authInfo": {"bearer": {"secretRef": {}}}}), "/authInfo/bearer/secretRef")]
#[tokio::test]
async fn a_local_reference_to_a_secret_stays_in_the_namespace(
    #[case] kind: &str,
    #[case] mut spec: Value,
    #[case] pointer: &str,
) {
    let neighbours = Neighbours::new().await;
    let reference = spec.pointer_mut(pointer).unwrap();
    reference["namespace"] = json!(neighbours.victim.namespace);
    reference["name"] = json!("private");
    let named = match kind {
        "ServiceInstance" => json!({"clusterServiceClassExternalName": neighbours.own.broker.name()}),
        "ServiceBinding" => json!({"instanceRef": {"name": "own"}}),
        _ => json!({"url": neighbours.own.broker.url()}),
    };
    spec.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
    match neighbours.create(kind, "theft", &spec).await {
        // The tenant may not get a Secret of this name in the own namespace either.
        Err(kube::Error::Api(status)) => {
            assert!(status.message.contains(&format!("{}/private", neighbours.own.namespace)), "{status:?}");
        }
        Err(error) => panic!("{error}"),
        Ok(stored) => {
            assert_eq!(stored.pointer(&format!("/spec{pointer}/namespace")), None);
            assert_eq!(kind, "ServiceBroker", "the webhook refuses the others");
        }
    }
    neighbours.finish().await;
}

#[tokio::test]
async fn a_binding_finds_no_instance_of_another_namespace() {
    let neighbours = Neighbours::new().await;
    let elsewhere = json!({"instanceRef": {"name": "db", "namespace": neighbours.victim.namespace}});
    neighbours.create("ServiceBinding", "theft", &elsewhere).await.unwrap();
    neighbours.own.binding_is("theft", "ReferencesNonexistentInstance").await;
    assert!(neighbours.own.secret("theft").await.is_none());
    let path = json!({"instanceRef": {"name": format!("../{}/db", neighbours.victim.namespace)}});
    assert!(neighbours.create("ServiceBinding", "path", &path).await.is_err());
    neighbours.finish().await;
}

/// Ids belong to the object that an ExternalResource records.
#[tokio::test]
async fn the_id_of_another_namespaces_instance_or_binding_is_taken() {
    let neighbours = Neighbours::new().await;
    neighbours.instance().await;
    let db: ServiceInstance = neighbours.victim.api().get("db").await.unwrap();
    let b: ServiceBinding = neighbours.victim.api().get("b").await.unwrap();
    let spec = json!({"clusterServiceClassExternalName": neighbours.own.broker.name(),
        "clusterServicePlanExternalName": "default", "externalID": db.spec.external_id});
    neighbours.create("ServiceInstance", "theft", &spec).await.unwrap();
    let spec = json!({"instanceRef": {"name": "own"}, "externalID": b.spec.external_id});
    neighbours.create("ServiceBinding", "theft", &spec).await.unwrap();
    let is_refused = async |status: Value| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == "False"
                && condition["message"].as_str().is_some_and(|message| message.contains("externalID"))
        })
    };
    crate::harness::until("both ids are refused", async || {
        let instance: ServiceInstance = neighbours.own.api().get("theft").await.unwrap();
        let binding: ServiceBinding = neighbours.own.api().get("theft").await.unwrap();
        is_refused(json!(instance.status)).await && is_refused(json!(binding.status)).await
    })
    .await;
    assert!(neighbours.own.secret("theft").await.is_none());
    // Deleting the thieves deletes nothing of the victim's.
    neighbours.own.remove::<ServiceBinding>("theft").await;
    neighbours.own.remove::<ServiceInstance>("theft").await;
    assert!(neighbours.victim.broker.held().instances.contains_key(db.spec.external_id.as_deref().unwrap()));
    assert!(neighbours.victim.broker.held().bindings.contains_key(b.spec.external_id.as_deref().unwrap()));
    neighbours.finish().await;
}

/// The references to class and plan are bindery's: what a tenant writes into them has no effect.
#[tokio::test]
async fn forged_references_to_class_and_plan_are_dropped() {
    let neighbours = Neighbours::new().await;
    let spec = json!({"clusterServiceClassExternalName": neighbours.own.broker.name(),
        "clusterServicePlanExternalName": "default", "clusterServiceClassRef": {"name": "of-another"},
        "clusterServicePlanRef": {"name": "of-another"}, "serviceClassRef": {"name": "of-another"}});
    let stored = neighbours.create("ServiceInstance", "own", &spec).await.unwrap();
    for reference in ["clusterServiceClassRef", "clusterServicePlanRef", "serviceClassRef"] {
        assert_eq!(stored["spec"].get(reference), None, "{reference}");
    }
    neighbours.own.instance_is("own", "ProvisionedSuccessfully").await;
    neighbours.finish().await;
}
