//! Changes, failures, deletions, and stacks of others.

use bindery_test_support::ministack::Request;
use serde_json::json;

use crate::ground::{Place, SERVER, ensure_operator, kill_operator, until};

#[tokio::test]
async fn a_changed_spec_updates_the_stack() {
    let place = Place::new().await;
    place.apply("SQSQueue", "orders", &json!({"visibilityTimeout": 30}));
    place.is("sqsqueue", "orders", "CREATE_COMPLETE").await;
    place.apply("SQSQueue", "orders", &json!({"visibilityTimeout": 60}));
    let updated = place.is("sqsqueue", "orders", "UPDATE_COMPLETE").await;
    assert_ne!(updated["output"]["queueURL"], "");
    assert_eq!(place.stack("sqsqueue", "orders").await.unwrap().parameters["VisibilityTimeout"], "60");
}

#[tokio::test]
async fn an_object_that_is_deleted_while_the_operator_is_down_leaves_nothing() {
    let place = Place::alone().await;
    place.apply("SNSTopic", "news", &json!({}));
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
    kill_operator().await;
    place.delete("snstopic", "news");
    assert!(place.get("snstopic", "news").is_some(), "the finalizer keeps the object");
    ensure_operator().await;
    place.gone("snstopic", "news").await;
    assert_eq!(place.stack("snstopic", "news").await, None);
}

#[tokio::test]
async fn a_retained_stack_stays_and_can_be_adopted() {
    let place = Place::new().await;
    place.apply("SNSTopic", "news", &json!({}));
    let first = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    place.annotate("snstopic", "news", "services.k8s.aws/deletion-policy=retain");
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert!(place.stack("snstopic", "news").await.is_some());
    place.apply("SNSTopic", "news", &json!({}));
    let taken = place.is("snstopic", "news", "StackNameTaken").await;
    assert_eq!(taken["output"]["topicARN"], "", "the outputs of another object's stack are not told");
    place.annotate("snstopic", "news", "services.k8s.aws/adoption-policy=adopt");
    until("the stack is adopted", async || {
        place.get("snstopic", "news").unwrap()["output"]["topicARN"] == first["output"]["topicARN"]
    })
    .await;
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert_eq!(place.stack("snstopic", "news").await, None, "an adopted stack is the object's");
}

#[tokio::test]
async fn the_stack_of_somebody_else_is_never_touched() {
    let place = Place::new().await;
    let template = "Resources: {T: {Type: \"AWS::SNS::Topic\"}}";
    let name = place.stack_name("snstopic", "news");
    let create = [("StackName", name.as_str()), ("TemplateBody", template)];
    SERVER.administer(&Request::query("cloudformation", "CreateStack", &create));
    place.apply("SNSTopic", "news", &json!({}));
    let taken = place.is("snstopic", "news", "StackNameTaken").await;
    let reason = taken["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("adoption-policy: adopt"), "{reason}");
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert!(place.stack("snstopic", "news").await.is_some());
}

#[tokio::test]
async fn a_config_map_of_somebody_else_is_left_alone() {
    let place = Place::new().await;
    place.kubectl(&["create", "configmap", "orders", "--from-literal=mine=yes"], "").unwrap();
    place.apply("SQSQueue", "orders", &json!({}));
    until("the reason is told", async || {
        let queue = place.get("sqsqueue", "orders").unwrap();
        queue["status"]["resourceStatusReason"]
            .as_str()
            .unwrap_or_default()
            .contains("does not belong to this object")
    })
    .await;
    assert_eq!(place.get("configmap", "orders").unwrap()["data"], json!({"mine": "yes"}));
    place.kubectl(&["delete", "configmap", "orders"], "").unwrap();
    until("the ConfigMap is written", async || {
        place.get("configmap", "orders").is_some_and(|found| found["data"]["queueURL"].is_string())
    })
    .await;
}
