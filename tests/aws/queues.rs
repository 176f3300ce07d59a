//! The story of a queue: provisioned with parameters, bound by users and sessions, changed, and gone.

use bindery_test_support::ministack::Request;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::{Cloud, text};

const STANDARD: (&str, &str) = ("dh-sqs", "standard");

/// Two queues.
async fn with_queues(more: &str) -> Cloud {
    let cloud = Cloud::with(more).await;
    cloud.provisioned(STANDARD, "own", json!({"DelaySeconds": 0, "VisibilityTimeout": "30"})).await;
    cloud.provisioned(STANDARD, "sibling", json!({})).await;
    cloud
}

async fn queue_of(cloud: &Cloud, instance: &str) -> String {
    let body = cloud.bound(STANDARD, instance, &format!("{instance}-url"), json!({})).await;
    text(&body["credentials"], "QueueURL")
}

fn keys(credentials: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = credentials.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_user_of_a_binding_may_use_its_own_queue_until_it_is_unbound() {
    let cloud = with_queues("").await;
    let sibling = queue_of(&cloud, "sibling").await;
    let bound = cloud.bound(STANDARD, "own", "b", json!({})).await;
    let credentials = &bound["credentials"];
    let queue = text(credentials, "QueueURL");
    assert_eq!(bound["metadata"]["expires_at"], Value::Null);
    assert_eq!(
        keys(credentials),
        [
            "AWS_ACCESS_KEY_ID",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "DeadLetterQueueARN",
            "DeadLetterQueueName",
            "DeadLetterQueueURL",
            "QueueARN",
            "QueueName",
            "QueueURL",
        ]
    );
    assert!(text(credentials, "QueueARN").contains(":AWSServiceBroker-"), "{queue}");
    assert_eq!(credentials["AWS_SESSION_TOKEN"], "", "a user's key has none");
    assert_eq!((cloud.sends(credentials, &queue), cloud.receives(credentials, &queue)), (200, 200));
    assert_eq!((cloud.sends(credentials, &sibling), cloud.receives(credentials, &sibling)), (403, 403));

    assert_eq!(cloud.unbind(STANDARD, "own", "b").await.0, 200);
    assert_eq!((cloud.sends(credentials, &queue), cloud.receives(credentials, &queue)), (403, 403));
    for instance in ["own", "sibling"] {
        cloud.deprovisioned(STANDARD, instance).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_ends_when_it_says_and_when_it_is_unbound() {
    let cloud = with_queues("services: {dh-sqs: {credentials: {default: session}}}").await;
    let sibling = queue_of(&cloud, "sibling").await;
    let bound = cloud.bound(STANDARD, "own", "b", json!({"validFor": "30m"})).await;
    let credentials = &bound["credentials"];
    let queue = text(credentials, "QueueURL");
    let time = |key: &str| text(&bound["metadata"], key).parse::<Timestamp>().unwrap();
    let left = |end: Timestamp| end.duration_since(Timestamp::now()).as_secs();
    assert!((1700..=1800).contains(&left(time("expires_at"))), "{bound}");
    assert!((1100..=1200).contains(&left(time("renew_before"))), "{bound}");
    assert_eq!((cloud.sends(credentials, &queue), cloud.sends(credentials, &sibling)), (200, 403));
    assert_eq!(cloud.unbind(STANDARD, "own", "b").await.0, 200);
    assert_eq!(cloud.sends(credentials, &queue), 403);
}

#[tokio::test]
async fn each_binding_has_its_own_key_and_access() {
    let cloud = with_queues("").await;
    let key = async |binding: &str, access: &str| {
        let bound = cloud.bound(STANDARD, "own", binding, json!({"access": access})).await;
        bound["credentials"].clone()
    };
    let (reader, writer, owner) =
        (key("r", "read").await, key("w", "readwrite").await, key("o", "owner").await);
    let queue = text(&reader, "QueueURL");
    let purge = Request::json("sqs", "AmazonSQS.PurgeQueue", &json!({"QueueUrl": queue}));
    let may = |credentials: &Value| {
        [
            cloud.receives(credentials, &queue),
            cloud.sends(credentials, &queue),
            cloud.status(credentials, &purge),
        ]
    };
    assert_eq!(may(&reader), [200, 403, 403]);
    assert_eq!(may(&writer), [200, 200, 403]);
    assert_eq!(may(&owner), [200, 200, 200]);
    assert_eq!(cloud.unbind(STANDARD, "own", "w").await.0, 200);
    assert_eq!((may(&writer), may(&reader)), ([403, 403, 403], [200, 403, 403]));
}

#[tokio::test]
async fn a_change_reaches_the_queue_and_a_replacement_is_refused() {
    let cloud = Cloud::start().await;
    cloud.provisioned(STANDARD, "q", json!({})).await;
    let queue = queue_of(&cloud, "q").await;
    let answer = cloud.update(STANDARD, "q", json!({"VisibilityTimeout": 77})).await;
    assert_eq!(answer.0, 202, "{answer:?}");
    assert_eq!(cloud.ended("q").await.0, "succeeded");
    let attributes = Request::json(
        "sqs",
        "AmazonSQS.GetQueueAttributes",
        &json!({"QueueUrl": queue, "AttributeNames": ["All"]}),
    );
    assert!(cloud.server.administer(&attributes).contains("\"VisibilityTimeout\": \"77\""));
    assert_eq!(queue_of(&cloud, "q").await, queue);
    for (parameters, named) in [
        (json!({"FifoQueue": true}), "FifoQueue"),
        (json!({"VisibilityTimeout": 43201}), "VisibilityTimeout"),
    ] {
        let (status, body) = cloud.update(STANDARD, "q", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
}

#[tokio::test]
async fn the_catalog_has_plans_schemas_and_variables() {
    let cloud = Cloud::start().await;
    let (_, catalog) = cloud.platform.ask("GET", "/v2/catalog", None).await;
    let services = catalog["services"].as_array().unwrap();
    let names: Vec<_> = services.iter().map(|service| text(service, "name")).collect();
    assert!(
        ["dh-sqs", "dynamodb", "kinesis", "s3", "sns", "sqs"]
            .iter()
            .all(|name| names.contains(&(*name).to_owned()))
    );
    assert!(!names.contains(&"elasticache".to_owned()), "what bindings share is offered on request");
    let named = |name: &str| services.iter().find(|service| service["name"] == name).unwrap();
    let plan = &named("dh-sqs")["plans"][1];
    assert_eq!(plan["name"], "standard");
    let env = &plan["metadata"]["bindery"]["env"];
    assert_eq!((&env["QUEUE_URL"], &env["QUEUE_ARN"]), (&json!("QueueURL"), &json!("QueueARN")));
    let create = &plan["schemas"]["service_instance"]["create"]["parameters"]["properties"];
    assert_eq!(
        (create["DelaySeconds"]["maximum"].as_i64(), create["FifoQueue"].is_null()),
        (Some(900), true)
    );
    let sqs = &named("sqs")["plans"][0]["metadata"]["bindery"]["env"];
    assert_eq!(sqs["QUEUE_URL"], "QUEUE_URL");
    let refused = cloud.provision(STANDARD, "q", json!({"MaximumMessageSize": "12"})).await;
    assert_eq!(refused.0, 400, "{refused:?}");
    assert_eq!(cloud.provision(STANDARD, "q", json!({"FifoQueue": "true"})).await.0, 400);
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fifo_queue_with_a_dead_letter_queue_has_both_addresses() {
    let cloud = Cloud::start().await;
    let fifo = ("sqs", "fifo");
    cloud.provisioned(fifo, "f", json!({"UsedeadletterQueue": true})).await;
    let bound = cloud.bound(fifo, "f", "b", json!({})).await;
    let credentials = &bound["credentials"];
    assert!(
        text(credentials, "QUEUE_URL").rsplit_once('.').is_some_and(|(_, end)| end == "fifo"),
        "{:?}",
        keys(credentials)
    );
    assert!(text(credentials, "DEAD_LETTER_QUEUE_ARN").starts_with("arn:aws:sqs:"));
    assert_eq!(credentials["SQS_AWS_ACCESS_KEY_ID"], credentials["AWS_ACCESS_KEY_ID"]);
}
