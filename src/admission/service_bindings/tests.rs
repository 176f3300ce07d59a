use serde_json::{Value, json};

use super::*;
use crate::{
    admission::secret_rights::stand_in::{Asking, Cluster},
    apis::servicecatalog::FINALIZER,
};

async fn asked(user: &str, old: Option<&Value>, new: &Value) -> (Value, Value) {
    let cluster = Cluster::default();
    let handler = ServiceBindingHandler::new(cluster.client(), cluster.approvals());
    Asking { kind: "ServiceBinding", user, old, new }.of(handler).await
}

fn binding(spec: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "b"}, "spec": {"instanceRef": {"name": "db"}}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

#[tokio::test]
async fn a_new_binding_gets_author_id_secret_name_and_finalizer() {
    let forged = json!({"username": "admin", "uid": "1", "groups": ["system:masters"]});
    let sent = binding(&json!({"userInfo": forged, "externalID": "", "secretName": ""}));
    let (response, stored) = asked("mallory", None, &sent).await;
    assert_eq!(response["allowed"], true);
    let author = json!({"username": "mallory", "uid": "", "groups": ["g"], "extra": {"scope": ["s"]}});
    assert_eq!((&stored["spec"]["userInfo"], &stored["spec"]["secretName"]), (&author, &json!("b")));
    let id = stored["spec"]["externalID"].as_str().unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
    assert_eq!(stored["metadata"]["finalizers"], json!([FINALIZER]));
    let (response, again) = asked("mallory", None, &stored).await;
    assert_eq!((response["patch"].clone(), again), (Value::Null, stored));
}

#[tokio::test]
async fn a_new_binding_keeps_chosen_values_and_other_finalizers() {
    let mut sent = binding(&json!({"externalID": "x", "secretName": "s"}));
    sent["metadata"]["finalizers"] = json!(["other.example.com/f"]);
    let (_, stored) = asked("alice", None, &sent).await;
    assert_eq!([&stored["spec"]["externalID"], &stored["spec"]["secretName"]], ["x", "s"]);
    assert_eq!(stored["metadata"]["finalizers"], json!(["other.example.com/f", FINALIZER]));
}

/// The API server chooses the name after the webhook was asked.
#[tokio::test]
async fn a_binding_with_a_generated_name_has_no_secret_name_yet() {
    let mut sent = binding(&json!({}));
    sent["metadata"] = json!({"generateName": "b-"});
    let (response, stored) = asked("alice", None, &sent).await;
    assert_eq!((&response["allowed"], stored["spec"].get("secretName")), (&json!(true), None));
}

#[tokio::test]
async fn a_changed_spec_is_put_back_with_a_warning() {
    let (_, stored) = asked("alice", None, &binding(&json!({"parameters": {"role": "writer"}}))).await;
    for change in [
        json!({"instanceRef": {"name": "other"}}),
        json!({"parameters": {"role": "reader"}}),
        json!({"secretName": "other"}),
        json!({"externalID": "other"}),
        json!({"secretTransforms": [{"removeKey": {"key": "k"}}]}),
    ] {
        let mut sent = stored.clone();
        sent["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        sent["metadata"]["labels"] = json!({"kept": "yes"});
        let (response, after) = asked("mallory", Some(&stored), &sent).await;
        assert_eq!((&response["allowed"], &after["spec"]), (&json!(true), &stored["spec"]), "{change}");
        assert_eq!(after["metadata"]["labels"], json!({"kept": "yes"}));
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.contains("delete the ServiceBinding and create it again"), "{warning}");
    }
}

/// kf and kubectl replace send what they once sent, without the fields that bindery added.
#[tokio::test]
async fn zero_values_and_a_forged_author_are_put_back_without_a_warning() {
    let (_, stored) = asked("alice", None, &binding(&json!({}))).await;
    let mut sent = stored.clone();
    sent["spec"]["userInfo"] = json!({"username": "admin"});
    sent["spec"]["parametersFrom"] = json!(null);
    sent["spec"]["secretTransforms"] = json!([]);
    let (response, after) = asked("mallory", Some(&stored), &sent).await;
    assert_eq!((&after, response.get("warnings")), (&stored, None));
}

#[tokio::test]
async fn an_update_of_metadata_changes_nothing() {
    let (_, stored) = asked("alice", None, &binding(&json!({}))).await;
    let mut sent = stored.clone();
    sent["metadata"] = json!({"name": "b", "finalizers": [], "annotations": {"a": "b"}});
    let (response, _) = asked("mallory", Some(&stored), &sent).await;
    assert_eq!(response, json!({"uid": "u", "allowed": true}));
}

/// The part that was not read could be lost if the webhook wrote the spec back.
#[tokio::test]
async fn a_spec_that_is_nested_too_deeply_is_not_written_back() {
    let deep = (0..200).fold(json!("x"), |inner, _| json!({"a": inner}));
    let stored = binding(&json!({"parameters": {"deep": deep}}));
    let mut sent = stored.clone();
    sent["spec"]["secretName"] = json!("other");
    let (response, _) = asked("alice", Some(&stored), &sent).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(response["allowed"] == false && message.contains("100 levels"), "{message}");
}
