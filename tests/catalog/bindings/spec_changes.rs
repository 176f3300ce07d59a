//! A binding's spec that was changed while the webhook was away.

use bindery::apis::servicecatalog::ServiceBinding;
use serde_json::{Value, json};

use super::status;
use crate::{
    broker::Verb,
    harness::{Place, until},
};

#[tokio::test]
async fn a_changed_spec_is_reported_and_not_applied() {
    let place = Place::with_binding().await;
    place.instance("other", json!({})).await;
    place.instance_is("other", "ProvisionedSuccessfully").await;
    let binding: ServiceBinding = place.api().get("b").await.unwrap();
    let former = json!(binding)["spec"].clone();
    for (field, value) in [
        ("instanceRef", json!({"name": "other"})),
        ("parameters", json!({"role": "owner"})),
        ("secretName", json!("another")),
        ("secretTransforms", json!([{"removeKey": {"key": "password"}}])),
        ("externalID", json!("another-id")),
    ] {
        let before = place.secret("b").await.unwrap();
        place.merge::<ServiceBinding>("b", json!({"spec": {field: value}})).await.unwrap();
        let message = place.binding_is("b", "SpecChangeIgnored").await;
        assert!(message.contains(&format!("spec.{field} changed")), "{message}");
        let status = status(&place, "b").await;
        assert_eq!(status["lastConditionState"], "Ready", "the credentials work");
        assert_eq!(place.secret("b").await.unwrap(), before);
        assert!(place.secret("another").await.is_none());
        let back = former.get(field).cloned().unwrap_or(Value::Null);
        place.merge::<ServiceBinding>("b", json!({"spec": {field: back}})).await.unwrap();
        place.binding_is("b", "InjectedBindResult").await;
    }
    assert_eq!(place.broker.held().bindings.len(), 1, "no other credentials were made");
    place.merge::<ServiceBinding>("b", json!({"spec": {"externalID": "another-id"}})).await.unwrap();
    place.binding_is("b", "SpecChangeIgnored").await;
    place.remove::<ServiceBinding>("b").await;
    until("nothing at the broker", async || place.broker.held().bindings.is_empty()).await;
}

/// `kubectl replace` of a manifest drops what bindery completed.
#[tokio::test]
async fn a_dropped_id_is_put_back() {
    let place = Place::with_binding().await;
    let id = |binding: &ServiceBinding| binding.spec.external_id.clone();
    let before: ServiceBinding = place.api().get("b").await.unwrap();
    place
        .merge::<ServiceBinding>("b", json!({"spec": {"externalID": null, "secretName": null}}))
        .await
        .unwrap();
    until("the same id", async || {
        let binding: ServiceBinding = place.api().get("b").await.unwrap();
        id(&binding) == id(&before)
    })
    .await;
    place.binding_is("b", "InjectedBindResult").await;
    assert_eq!(place.broker.received(Verb::Unbind).len(), 0);
    assert_eq!(place.broker.held().bindings.len(), 1);
}
