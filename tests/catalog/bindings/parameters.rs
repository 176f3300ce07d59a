//! The parameters and the user that a bind request names.

use bindery::apis::servicecatalog::{ClusterServicePlan, ServiceBinding};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{bind, status};
use crate::{broker::Verb, harness::Place};

const DEFAULTS: &str = "bindery.dev/default-bind-parameters";

async fn annotate_plan(place: &Place, defaults: &str) {
    let plans: Api<ClusterServicePlan> = Api::all(place.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {DEFAULTS: defaults}}}));
    plans.patch(&format!("plan-{}", place.broker.suffix), &PatchParams::default(), &patch).await.unwrap();
}

async fn annotate_namespace(place: &Place, defaults: &str) {
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {DEFAULTS: defaults}}}));
    namespaces.patch(&place.namespace, &PatchParams::default(), &patch).await.unwrap();
}

fn sent(place: &Place) -> Value {
    place.broker.received(Verb::Bind)[0].body["parameters"].clone()
}

#[tokio::test]
async fn parameters_come_from_the_spec_secrets_and_defaults() {
    let place = Place::with_instance().await;
    annotate_plan(&place, r#"{"role": "plan", "size": "plan", "own": "plan"}"#).await;
    annotate_namespace(&place, r#"{"size": "namespace", "own": "namespace"}"#).await;
    let secret =
        json!({"metadata": {"name": "params"}, "stringData": {"json": "{\"password\": \"hunter2\"}"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    let from = json!([{"secretKeyRef": {"name": "params", "key": "json"}}]);
    bind(&place, "b", json!({}), json!({"parameters": {"own": 1}, "parametersFrom": from})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let expected = json!({"role": "plan", "size": "namespace", "own": 1, "password": "hunter2"});
    assert_eq!(sent(&place), expected);
    let status = status(&place, "b").await;
    let shown = json!({"role": "plan", "size": "namespace", "own": 1, "password": "<redacted>"});
    assert_eq!(status["externalProperties"]["parameters"], shown);
    assert_eq!(status["externalProperties"]["parameterChecksum"].as_str().unwrap().len(), 64);
    assert_eq!(status["inProgressProperties"], Value::Null);
    // Changed defaults do not change the request for lost credentials.
    annotate_namespace(&place, r#"{"size": "changed"}"#).await;
    place.delete::<Secret>("b").await;
    let look = json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}});
    place.merge::<ServiceBinding>("b", look).await.unwrap();
    crate::harness::until("the Secret", async || place.secret("b").await.is_some()).await;
    assert_eq!(place.broker.received(Verb::Bind).last().unwrap().body["parameters"], expected);
}

#[tokio::test]
async fn a_malformed_default_names_the_object() {
    let place = Place::with_instance().await;
    annotate_namespace(&place, "[1]").await;
    bind(&place, "b", json!({}), json!({})).await;
    let message = place.binding_is("b", "ErrorWithParameters").await;
    assert!(
        message.contains("of the Namespace is no JSON object") && message.contains("or remove it"),
        "{message}"
    );
    annotate_namespace(&place, "{}").await;
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn the_broker_is_told_the_user() {
    let place = Place::with_instance().await;
    let user = json!({"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"scopes": ["a"]}});
    bind(&place, "b", json!({}), json!({"userInfo": user})).await;
    place.binding_is("b", "InjectedBindResult").await;
    place.remove::<ServiceBinding>("b").await;
    for verb in [Verb::Bind, Verb::Unbind] {
        assert_eq!(place.broker.received(verb)[0].identity().unwrap(), user, "{verb:?}");
    }
}
