//! The webhooks for instances and bindings, called by the API server: what the answer to a request contains, who is
//! recorded as the author, and what needs the webhook.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{FINALIZER, ServiceBinding, ServiceInstance};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    admission::catalog_objects::{Completion, tenant},
    harness::{Place, until},
};

/// An object as it is sent: typed clients would drop zero values.
async fn send(client: &Client, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
    let request = axum::http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json").body(body.to_string().into_bytes());
    client.request(request.unwrap()).await
}

fn path(place: &Place, resource: &str) -> String {
    format!("/apis/servicecatalog.k8s.io/v1beta1/namespaces/{}/{resource}", place.namespace)
}

fn instance(place: &Place, name: &str) -> Value {
    json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance", "metadata": {"name": name},
        "spec": {"clusterServiceClassExternalName": place.broker.name(), "clusterServicePlanExternalName": "default",
            "externalID": "", "updateRequests": 0, "userInfo": {"username": "admin", "groups": ["system:masters"]}}})
}

fn binding(name: &str) -> Value {
    json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding", "metadata": {"name": name},
        "spec": {"instanceRef": {"name": "db"}, "externalID": "", "secretName": ""}})
}

async fn merged<K>(place: &Place, client: &Client, name: &str, patch: Value) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &place.namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

#[tokio::test]
async fn the_answer_to_a_creation_is_complete_and_bindery_leaves_the_author() {
    let place = Place::with_broker().await;
    let webhooks = Completion::of(&place).await;
    let alice = tenant(&place, "alice", &[]).await;
    let created =
        send(&alice, "POST", &path(&place, "serviceinstances"), &instance(&place, "db")).await.unwrap();
    let author = json!({"username": format!("alice-{}", place.namespace), "uid": "",
        "groups": ["tenants", "system:authenticated"]});
    assert_eq!(created["spec"]["userInfo"], author);
    assert!(uuid::Uuid::parse_str(created["spec"]["externalID"].as_str().unwrap()).is_ok());
    assert_eq!(created["metadata"]["finalizers"], json!([FINALIZER]));
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let created = send(&alice, "POST", &path(&place, "servicebindings"), &binding("b")).await.unwrap();
    assert_eq!((&created["spec"]["userInfo"], &created["spec"]["secretName"]), (&author, &json!("b")));
    assert_eq!(created["metadata"]["finalizers"], json!([FINALIZER]));
    place.binding_is("b", "InjectedBindResult").await;

    let after: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(json!(after.spec.user_info), author, "bindery wrote the references");
    assert!(after.spec.cluster_service_class_ref.is_some());
    let after: ServiceBinding = place.api().get("b").await.unwrap();
    assert_eq!(json!(after.spec.user_info), author);
    webhooks.finish().await;
}

#[tokio::test]
async fn who_changes_the_spec_of_an_instance_becomes_its_author() {
    let place = Place::with_broker().await;
    let webhooks = Completion::of(&place).await;
    let (alice, bob) = (tenant(&place, "alice", &[]).await, tenant(&place, "bob", &[]).await);
    send(&alice, "POST", &path(&place, "serviceinstances"), &instance(&place, "db")).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let author = |instance: &ServiceInstance| instance.spec.user_info.clone().unwrap().username;
    for same in [
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"spec": {"userInfo": {"username": "admin"}, "externalID": "", "updateRequests": 0}}),
    ] {
        let after: ServiceInstance = merged(&place, &bob, "db", same).await.unwrap();
        assert!(author(&after).starts_with("alice"), "{after:?}");
    }
    let touched: ServiceInstance =
        merged(&place, &bob, "db", json!({"spec": {"updateRequests": 1}})).await.unwrap();
    assert!(author(&touched).starts_with("bob"), "{touched:?}");
    webhooks.finish().await;
}

/// kf writes its own spec at every look and must get 200.
#[tokio::test]
async fn a_changed_spec_of_a_binding_is_put_back_with_a_warning() {
    let place = Place::with_instance().await;
    let webhooks = Completion::of(&place).await;
    let alice = tenant(&place, "alice", &[]).await;
    let stored = send(&alice, "POST", &path(&place, "servicebindings"), &binding("b")).await.unwrap();
    for change in [
        json!({"instanceRef": {"name": "other"}}),
        json!({"secretName": "other"}),
        json!({"externalID": "other"}),
        json!({"parameters": {"role": "reader"}}),
        json!({"secretTransforms": [{"removeKey": {"key": "uri"}}]}),
    ] {
        let labelled = json!({"spec": change, "metadata": {"labels": {"kept": "yes"}}});
        let after: ServiceBinding = merged(&place, &alice, "b", labelled).await.unwrap();
        assert_eq!(json!(after)["spec"], stored["spec"], "{change}");
        assert_eq!((after.metadata.generation, &after.labels()["kept"]), (Some(1), &"yes".to_owned()));
    }
    place.binding_is("b", "InjectedBindResult").await;
    let user = format!("alice-{}", place.namespace);
    let patch = r#"{"spec":{"secretName":"x"}}"#;
    let arguments =
        ["patch", "servicebinding", "b", "--as", &user, "-n", &place.namespace, "--type=merge", "-p", patch];
    let output = tokio::process::Command::new("kubectl").args(arguments).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("Warning: the spec of a ServiceBinding cannot change"),
        "{said}"
    );
    webhooks.finish().await;
}

/// Only a recorded author can be trusted, so nothing is created while the webhook is away. Deletions, labels,
/// finalizers and bindery's own work go on.
#[tokio::test]
async fn without_the_webhook_only_specs_cannot_be_written() {
    let place = Place::with_broker().await;
    let webhooks = Completion::of(&place).await;
    let alice = tenant(&place, "alice", &[]).await;
    send(&alice, "POST", &path(&place, "serviceinstances"), &instance(&place, "db")).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    send(&alice, "POST", &path(&place, "serviceinstances"), &instance(&place, "other")).await.unwrap();
    webhooks.server.stop().await;
    place.instance_is("other", "ProvisionedSuccessfully").await;
    let refused = send(&alice, "POST", &path(&place, "serviceinstances"), &instance(&place, "late")).await;
    assert!(refused.unwrap_err().to_string().contains("instances.bindery.dev"));
    let changed = json!({"spec": {"updateRequests": 1}});
    assert!(merged::<ServiceInstance>(&place, &alice, "db", changed).await.is_err());

    merged::<ServiceInstance>(&place, &alice, "db", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .unwrap();
    // As svcat --abandon does it: the whole object without finalizers, with all zero values.
    let mut abandoned =
        send(&alice, "GET", &format!("{}/other", path(&place, "serviceinstances")), &json!({}))
            .await
            .unwrap();
    abandoned["metadata"]["finalizers"] = Value::Null;
    send(&alice, "PUT", &format!("{}/other", path(&place, "serviceinstances")), &abandoned).await.unwrap();
    let api: Api<ServiceInstance> = Api::namespaced(alice.clone(), &place.namespace);
    for name in ["db", "other"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
        place.gone::<ServiceInstance>(name).await;
    }
    webhooks.finish().await;
}

#[tokio::test]
async fn parameters_from_a_secret_need_an_author_who_may_get_it() {
    let place = Place::with_instance().await;
    let webhooks = Completion::of(&place).await;
    let (mallory, alice) = (tenant(&place, "mallory", &[]).await, tenant(&place, "alice", &["params"]).await);
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "params"}, "stringData": {"json": "{\"password\": \"hunter2\"}"}}),
    )
    .unwrap();
    place.api().create(&PostParams::default(), &secret).await.unwrap();
    let from = json!([{"secretKeyRef": {"name": "params", "key": "json"}}]);
    let keys = json!([{"addKeysFrom": {"secretRef": {"namespace": place.namespace, "name": "params"}}}]);
    let with = |mut object: Value, field: &str, value: &Value| {
        object["spec"][field] = value.clone();
        object
    };
    for (resource, wanted) in [
        ("serviceinstances", with(instance(&place, "i"), "parametersFrom", &from)),
        ("servicebindings", with(binding("b"), "parametersFrom", &from)),
        ("servicebindings", with(binding("c"), "secretTransforms", &keys)),
    ] {
        let error = send(&mallory, "POST", &path(&place, resource), &wanted).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("{}/params", place.namespace)) && error.contains("may not get"),
            "{error}"
        );
        let stored = send(&alice, "POST", &path(&place, resource), &wanted).await.unwrap();
        let approval = stored["metadata"]["annotations"]["bindery.dev/secret-approval"].as_str().unwrap();
        assert!(approval.starts_with("v1."), "{stored}");
    }
    // Another class would send the parameters to another broker.
    let moved = json!({"spec": {"parametersFrom": [{"secretKeyRef": {"name": "params", "key": "other"}}]}});
    let error = merged::<ServiceInstance>(&place, &mallory, "i", moved).await.unwrap_err().to_string();
    assert!(error.contains("may not get"), "{error}");
    merged::<ServiceInstance>(&place, &mallory, "i", json!({"spec": {"parameters": {"a": 1}}}))
        .await
        .unwrap();
    webhooks.finish().await;
}

/// The API server chooses a generated name after the webhook was asked, so the controller completes the rest.
#[tokio::test]
async fn a_binding_with_a_generated_name_is_completed_by_bindery() {
    let place = Place::with_instance().await;
    let webhooks = Completion::of(&place).await;
    let alice = tenant(&place, "alice", &[]).await;
    let mut wanted = binding("");
    wanted["metadata"] = json!({"generateName": "b-"});
    let created = send(&alice, "POST", &path(&place, "servicebindings"), &wanted).await.unwrap();
    let name = created["metadata"]["name"].as_str().unwrap();
    place.binding_is(name, "InjectedBindResult").await;
    let stored: ServiceBinding = place.api().get(name).await.unwrap();
    assert_eq!(stored.spec.secret_name.as_deref(), Some(name));
    until("its Secret", async || place.secret(name).await.is_some()).await;
    webhooks.finish().await;
}
