//! What AWS was asked to hold is recorded before it is asked, and survives the object and its namespace.

use serde_json::json;

use crate::ground::{Place, ensure_operator, kill_operator, until};

#[tokio::test]
async fn a_stack_is_recorded_as_long_as_it_exists() {
    let place = Place::new().await;
    place.apply("SNSTopic", "news", &json!({}));
    let topic = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    let [record] = &place.records()[..] else { panic!("one stack, one record") };
    let spec = &record["spec"];
    assert_eq!((&spec["kind"], &spec["serviceID"]), (&json!("Stack"), &json!("SNSTopic")));
    assert_eq!(spec["uid"], topic["metadata"]["uid"]);
    assert_eq!(spec["instanceID"], place.stack_name("snstopic", "news"));
    let table = place.kubectl(&["get", "extres"], "").unwrap();
    assert!(table.contains("Stack"), "{table}");
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert_eq!(place.records(), Vec::<serde_json::Value>::new());
}

/// The object loses its finalizer by hand and its namespace while the operator is down.
async fn abandon(place: &Place, name: &str) {
    kill_operator().await;
    let none = r#"{"metadata": {"finalizers": null}}"#;
    place.kubectl(&["patch", "snstopic", name, "--type=merge", "-p", none], "").unwrap();
    place.kubectl(&["delete", "namespace", &place.namespace, "--timeout=100s"], "").unwrap();
    assert!(place.stack("snstopic", name).await.is_some());
    ensure_operator().await;
}

#[tokio::test]
async fn nothing_is_left_of_an_object_whose_finalizer_and_namespace_vanished() {
    let place = Place::alone().await;
    place.apply("SNSTopic", "news", &json!({}));
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
    abandon(&place, "news").await;
    until("the stack is gone", async || place.stack("snstopic", "news").await.is_none()).await;
    until("the record is gone", async || place.records().is_empty()).await;
}

#[tokio::test]
async fn a_stack_to_retain_stays_without_its_object() {
    let place = Place::alone_with(&json!({"services.k8s.aws/deletion-policy": "retain"})).await;
    place.apply("SNSTopic", "news", &json!({}));
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
    abandon(&place, "news").await;
    until("the record is gone", async || place.records().is_empty()).await;
    assert!(place.stack("snstopic", "news").await.is_some());
    place.account.delete_stack(&place.stack_name("snstopic", "news"), None).await.unwrap();
}
