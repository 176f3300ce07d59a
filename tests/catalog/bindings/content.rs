//! `secretTransforms`, and the annotations for a binding's Secrets.

use bindery::apis::servicecatalog::ServiceBinding;
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt, api::PostParams};
use serde_json::json;

use super::{bind, status};
use crate::{
    broker::Verb,
    harness::{Place, text, until},
};

async fn with_secret() -> Place {
    let place = Place::with_instance().await;
    let secret = json!({"metadata": {"name": "more"}, "data": {"region": "ZXU=", "blob": "/wA="}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    place
}

#[tokio::test]
async fn transforms_shape_the_secret_and_variables_name_the_broker_s_keys() {
    let place = with_secret().await;
    let transforms = json!([
        {"renameKey": {"from": "username", "to": "user"}},
        {"addKey": {"key": "address", "jsonPathExpression": "{.host}:{.port}"}},
        {"addKeysFrom": {"secretRef": {"namespace": place.namespace, "name": "more"}}},
        {"removeKey": {"key": "jdbcURL"}},
    ]);
    bind(
        &place,
        "b",
        json!({"bindery.dev/env": "DB_USER=username"}),
        json!({"secretTransforms": transforms}),
    )
    .await;
    place.binding_is("b", "InjectedBindResult").await;
    let secret = place.secret("b").await.unwrap();
    assert_eq!(text(&secret, "user"), "u1");
    assert_eq!(text(&secret, "address"), "db:26257");
    assert_eq!(text(&secret, "region"), "eu");
    let data = secret.data.unwrap();
    assert_eq!(data["blob"].0, [0xff, 0]);
    assert!(!data.contains_key("jdbcURL") && !data.contains_key("username"));
    assert_eq!(text(&place.secret("b-env").await.unwrap(), "DB_USER"), "u1");
}

#[tokio::test]
async fn a_secret_is_not_added_without_the_author_s_right_to_it() {
    let place = with_secret().await;
    let reference = json!({"namespace": place.namespace, "name": "more"});
    let spec = json!({"instanceRef": {"name": "db"}, "secretTransforms": [{"addKeysFrom": {"secretRef": reference}}]});
    place.create::<ServiceBinding>("ServiceBinding", "b", json!({}), spec).await.unwrap();
    let message = place.binding_is("b", "SecretNotApproved").await;
    assert!(message.contains("kubectl annotate servicebinding b"), "{message}");
    assert!(place.broker.received(Verb::Bind).is_empty(), "the broker is not asked");
    assert!(place.secret("b").await.is_none());
}

#[tokio::test]
async fn impossible_transforms_fail_and_leave_nothing() {
    let place = Place::with_instance().await;
    let never = json!({"secretTransforms": [{"addKey": {"key": "a", "jsonPathExpression": "{.host"}}]});
    bind(&place, "never", json!({}), never).await;
    let message = place.binding_is("never", "ErrorInjectingBindResult").await;
    assert!(message.contains("spec.secretTransforms[0]: addKey.jsonPathExpression"), "{message}");
    assert_eq!(status(&place, "never").await["lastConditionState"], "Failed");
    assert!(place.broker.received(Verb::Bind).is_empty(), "the broker is not asked");
    let absent = json!({"secretTransforms": [{"addKey": {"key": "a", "jsonPathExpression": "{.absent}"}}]});
    bind(&place, "absent", json!({}), absent).await;
    let message = place.binding_is("absent", "ErrorInjectingBindResult").await;
    assert!(message.contains("{.absent} selects nothing") && !message.contains("p/1"), "{message}");
    assert!(message.contains("deleted the credentials at the broker"), "{message}");
    assert!(place.broker.held().bindings.is_empty());
}

#[tokio::test]
async fn annotations_add_labels_and_keys_and_can_be_changed() {
    let place = Place::with_instance().await;
    let annotations = json!({"bindery.dev/secret-labels": "team=a,example.com/tier=db",
        "bindery.dev/secret-annotations": "{\"example.com/to\": \"a,b\"}",
        "bindery.dev/secret-keys": "instance_name,plan,service=type,host=plan"});
    bind(&place, "b", annotations, json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    for name in ["b", "b-env"] {
        let secret = place.secret(name).await.unwrap();
        assert_eq!(secret.labels()["team"], "a");
        assert_eq!(secret.annotations()["example.com/to"], "a,b");
    }
    let secret = place.secret("b").await.unwrap();
    assert_eq!(text(&secret, "instance_name"), "db");
    assert_eq!(text(&secret, "plan"), "default");
    assert_eq!(text(&secret, "service"), place.broker.name());
    assert_eq!(text(&secret, "host"), "db", "a key of the credentials counts first");
    let other = json!({"metadata": {"annotations": {"bindery.dev/secret-labels": "team=b"}}});
    place.merge::<ServiceBinding>("b", other).await.unwrap();
    until("other labels", async || {
        let secret = place.secret("b").await.unwrap();
        secret.labels().get("team").map(String::as_str) == Some("b")
            && !secret.labels().contains_key("example.com/tier")
    })
    .await;
    let hostile =
        json!({"metadata": {"annotations": {"bindery.dev/secret-labels": "bindery.dev/binding=x"}}});
    place.merge::<ServiceBinding>("b", hostile).await.unwrap();
    let message = place.binding_is("b", "ErrorInjectingBindResult").await;
    assert!(message.contains("bindery.dev/secret-labels") && message.contains("reserved"), "{message}");
    assert_eq!(place.secret("b").await.unwrap().labels()["bindery.dev/binding"], "b");
}
