//! Changes, failures, deletions, and stacks of others.

use std::time::Duration;

use bindery::operators::aws::unowned_stacks;
use bindery_test_support::ministack::{ACCOUNT, Key, Request};
use serde_json::json;

use crate::ground::{
    CLUSTER, Place, SERVER, accounts, client, ensure_operator, kill_operator, start_with_drift, until,
};

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
    let stack = place.stack("snstopic", "news").await.unwrap();
    let unowned = unowned_stacks(&client().await, &accounts(), CLUSTER).await.unwrap();
    let found = unowned.iter().find(|found| found.name == stack.name).unwrap();
    assert_eq!((&*found.account, &*found.object), (ACCOUNT, &*format!("SNSTopic {}/news", place.namespace)));
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

/// The attempts are counted in the spec, and the object recovers once the cause is gone.
#[tokio::test]
async fn a_creation_that_fails_is_told_and_made_anew() {
    let place = Place::alone().await;
    SERVER.set(&json!({"fail_creations": 1}));
    place.apply("SNSTopic", "news", &json!({}));
    let complete = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    SERVER.reset();
    assert_eq!(complete["spec"]["rollbackCount"], 1, "{complete:#}");
    assert_eq!(complete["status"]["resourceStatusReason"], "");
    let events = place.kubectl(&["get", "events"], "").unwrap();
    assert!(events.contains("The creation was told to fail"), "{events}");
}

#[tokio::test]
async fn a_creation_that_always_fails_ends() {
    let place = Place::alone().await;
    SERVER.set(&json!({"fail_creations": 1000}));
    let spec = json!({"rollbackCount": 5});
    place.apply("SNSTopic", "news", &spec);
    until("bindery stops", async || {
        let topic = place.get("snstopic", "news").unwrap();
        let reason = topic["status"]["resourceStatusReason"].as_str().unwrap_or_default().to_owned();
        reason.contains("The creation was told to fail")
            && reason.contains("bindery has tried 5 times and stops")
    })
    .await;
    SERVER.reset();
    place.apply("SNSTopic", "news", &json!({"rollbackCount": 0}));
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
}

#[tokio::test]
async fn an_update_that_fails_is_told_and_tried_again() {
    let place = Place::alone().await;
    place.apply("SQSQueue", "orders", &json!({"visibilityTimeout": 30}));
    place.is("sqsqueue", "orders", "CREATE_COMPLETE").await;
    SERVER.set(&json!({"fail_updates": 1}));
    place.apply("SQSQueue", "orders", &json!({"visibilityTimeout": 60}));
    let failed = place.is("sqsqueue", "orders", "UPDATE_ROLLBACK_COMPLETE").await;
    let reason = failed["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("(AWS::SQS::Queue): The update was told to fail"), "{reason}");
    assert!(reason.ends_with("the stack is as it was before the update"), "{reason}");
    let updated = place.is("sqsqueue", "orders", "UPDATE_COMPLETE").await;
    SERVER.reset();
    assert_eq!(updated["status"]["resourceStatusReason"], "");
    assert_eq!(place.stack("sqsqueue", "orders").await.unwrap().parameters["VisibilityTimeout"], "60");
    assert!(place.told("UPDATE_ROLLBACK_COMPLETE").contains(&reason.to_owned()));
    // Resources, too, have their events.
    let [failure] = &place.told("UPDATE_FAILED")[..] else { panic!("one resource failed") };
    assert!(failure.contains("(AWS::SQS::Queue): The update was told to fail"), "{failure}");
}

#[tokio::test]
async fn drift_is_shown_if_the_installation_checks_for_it() {
    let place = Place::alone().await;
    place.apply("SQSQueue", "orders", &json!({"visibilityTimeout": 30}));
    let queue = place.is("sqsqueue", "orders", "CREATE_COMPLETE").await;
    assert_eq!(queue["status"]["drift"], json!(null), "without checks");
    kill_operator().await;
    start_with_drift(Duration::from_secs(1)).await;
    let shown = async |wanted: &str| {
        until(wanted, async || {
            let queue = place.get("sqsqueue", "orders").unwrap();
            queue["status"]["drift"].as_str().unwrap_or_default().contains(wanted)
        })
        .await;
    };
    shown("IN_SYNC").await;
    let change = json!({"QueueUrl": queue["output"]["queueURL"], "Attributes": {"VisibilityTimeout": "77"}});
    SERVER.administer(&Request::json("sqs", "AmazonSQS.SetQueueAttributes", &change));
    shown("(AWS::SQS::Queue) has other values of /VisibilityTimeout").await;
    assert_eq!(place.told("Drifted").len(), 1);
    kill_operator().await;
}

#[tokio::test]
async fn a_bucket_that_is_not_empty_blocks_its_deletion_and_says_so() {
    let place = Place::new().await;
    place.apply("S3Bucket", "bindery-full", &json!({}));
    place.is("s3bucket", "bindery-full", "CREATE_COMPLETE").await;
    SERVER.administer(&Request::path("s3", "PUT", "/bindery-full/photo", "x"));
    place.delete("s3bucket", "bindery-full");
    let failed = place.is("s3bucket", "bindery-full", "DELETE_FAILED").await;
    let reason = failed["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("not empty") && reason.contains("remove what blocks the deletion"), "{reason}");
    let (status, body) = SERVER.ask(&Key::root(), &Request::path("s3", "DELETE", "/bindery-full/photo", ""));
    assert_eq!(status, 204, "{body}");
    place.gone("s3bucket", "bindery-full").await;
}

#[tokio::test]
async fn a_change_that_would_lose_data_needs_a_word() {
    let place = Place::new().await;
    place.apply("ElastiCache", "cache", &json!({"port": 6379}));
    place.is("elasticache", "cache", "CREATE_COMPLETE").await;
    place.apply("ElastiCache", "cache", &json!({"port": 6380}));
    until("the refusal is told", async || {
        let cache = place.get("elasticache", "cache").unwrap();
        let reason = cache["status"]["resourceStatusReason"].as_str().unwrap_or_default().to_owned();
        reason.contains("replaces Cluster") && reason.contains("allow-replacement")
    })
    .await;
    assert_eq!(place.stack("elasticache", "cache").await.unwrap().parameters["Port"], "6379");
    place.annotate("elasticache", "cache", "bindery.dev/allow-replacement=true");
    place.is("elasticache", "cache", "UPDATE_COMPLETE").await;
}
