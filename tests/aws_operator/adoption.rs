//! Resources that exist without a stack, and objects that adopt them.

use bindery_test_support::ministack::Request;
use serde_json::{Value, json};

use crate::ground::{Place, SERVER, until};

const POLICY: &str = "services.k8s.aws/adoption-policy";
const FIELDS: &str = "services.k8s.aws/adoption-fields";

pub(crate) fn apply(place: &Place, kind: &str, name: &str, spec: &Value, annotations: &Value) {
    let object = json!({"apiVersion": "service-operator.aws/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": annotations}, "spec": spec});
    place.kubectl(&["apply", "-f", "-"], &object.to_string()).unwrap();
}

/// Annotations that ask for the adoption of a queue.
pub(crate) fn of_queue(policy: &str, url: &str) -> Value {
    json!({POLICY: policy, FIELDS: json!({"queueURL": url}).to_string()})
}

/// Lets the objects of the namespace adopt resources of this name.
pub(crate) fn list(place: &Place, name: &str) {
    let listed = format!("bindery.dev/adoptable={name}");
    place.kubectl(&["annotate", "--overwrite", "namespace", &place.namespace, &listed], "").unwrap();
}

/// Creates a queue outside of bindery, and returns its URL.
pub(crate) fn queue(name: &str) -> String {
    let body = json!({"QueueName": name, "Attributes": {"VisibilityTimeout": "77"}});
    let answer = SERVER.administer(&Request::json("sqs", "AmazonSQS.CreateQueue", &body));
    serde_json::from_str::<Value>(&answer).unwrap()["QueueUrl"].as_str().unwrap().to_owned()
}

fn visibility(url: &str) -> Value {
    let body = json!({"QueueUrl": url, "AttributeNames": ["VisibilityTimeout"]});
    let answer = SERVER.administer(&Request::json("sqs", "AmazonSQS.GetQueueAttributes", &body));
    serde_json::from_str::<Value>(&answer).unwrap()["Attributes"]["VisibilityTimeout"].take()
}

fn reason(object: &Value) -> &str {
    object["status"]["resourceStatusReason"].as_str().unwrap()
}

#[tokio::test]
async fn a_queue_is_adopted_once_its_namespace_lists_it() {
    let place = Place::new().await;
    let name = format!("orders-{}", place.namespace);
    let url = queue(&name);
    apply(&place, "SQSQueue", "orders", &json!({}), &of_queue("adopt", &url));
    let refused = place.is("sqsqueue", "orders", "AdoptionNotAllowed").await;
    assert!(reason(&refused).contains(&format!("bindery.dev/adoptable: {name}")), "{refused:#}");
    assert_eq!(place.stack("sqsqueue", "orders").await, None);
    list(&place, &format!("other, {}*", &name[..8]));
    let adopted = place.is("sqsqueue", "orders", "UPDATE_COMPLETE").await;
    assert_eq!(adopted["output"]["queueURL"], *url, "{adopted:#}");
    assert_eq!(place.get("configmap", "orders").unwrap()["data"]["queueURL"], *url);
    let stack = place.stack("sqsqueue", "orders").await.unwrap();
    assert_eq!(stack.tags["bindery:name"], "orders");

    apply(&place, "SQSQueue", "orders", &json!({"visibilityTimeout": 60}), &of_queue("adopt", &url));
    until("the change is made", async || visibility(&url) == "60").await;
    until("the object is settled", async || {
        place.stack("sqsqueue", "orders").await.unwrap().status.as_str() == "UPDATE_COMPLETE"
    })
    .await;

    // What belongs to a stack is not adopted into another one.
    apply(&place, "SQSQueue", "again", &json!({}), &of_queue("adopt-or-create", &url));
    let taken = place.is("sqsqueue", "again", "NothingToAdopt").await;
    assert!(reason(&taken).contains("already exists in stack"), "{taken:#}");
    assert_eq!(place.stack("sqsqueue", "again").await, None, "nothing is left of the attempt");
    for name in ["again", "orders"] {
        place.delete("sqsqueue", name);
        place.gone("sqsqueue", name).await;
    }
    let gone = Request::json("sqs", "AmazonSQS.GetQueueUrl", &json!({"QueueName": name}));
    let (status, body) = SERVER.ask(&bindery_test_support::ministack::Key::root(), &gone);
    assert_eq!(status, 400, "an adopted queue is the object's: {body}");
}

#[tokio::test]
async fn a_table_and_a_bucket_are_adopted_by_the_objects_name() {
    let place = Place::new().await;
    let (table, bucket) = (format!("t-{}", place.namespace), format!("b-{}", place.namespace));
    list(&place, &format!("{table},{bucket}"));
    let created = json!({"TableName": table, "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}});
    SERVER.administer(&Request::json("dynamodb", "DynamoDB_20120810.CreateTable", &created));
    SERVER.administer(&Request::path("s3", "PUT", &format!("/{bucket}"), ""));
    let annotations = json!({POLICY: "adopt", "services.k8s.aws/deletion-policy": "retain"});
    apply(&place, "DynamoDB", &table, &json!({"hashAttribute": {"name": "id"}}), &annotations);
    apply(&place, "S3Bucket", &bucket, &json!({}), &annotations);
    for (kind, name, output) in [("dynamodb", &table, "tableName"), ("s3bucket", &bucket, "bucketName")] {
        let adopted = place.is(kind, name, "UPDATE_COMPLETE").await;
        assert_eq!(adopted["output"][output], **name, "{adopted:#}");
        place.delete(kind, name);
        place.gone(kind, name).await;
        assert!(place.stack(kind, name).await.is_some(), "it is retained");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_told_or_created() {
    let place = Place::new().await;
    list(&place, "*");
    let url = queue("adoption-gone");
    SERVER.administer(&Request::json("sqs", "AmazonSQS.DeleteQueue", &json!({"QueueUrl": url})));
    apply(&place, "SQSQueue", "orders", &json!({}), &of_queue("adopt", &url));
    let missing = place.is("sqsqueue", "orders", "NothingToAdopt").await;
    assert!(reason(&missing).contains("adoption-gone cannot be adopted"), "{missing:#}");
    assert_eq!(place.stack("sqsqueue", "orders").await, None, "nothing is left of the attempt");
    let bucket = format!("new-{}", place.namespace);
    apply(&place, "S3Bucket", &bucket, &json!({}), &json!({POLICY: "adopt-or-create"}));
    place.is("s3bucket", &bucket, "CREATE_COMPLETE").await;
    apply(&place, "SQSQueue", "fresh", &json!({}), &json!({POLICY: "adopt-or-create"}));
    place.is("sqsqueue", "fresh", "CREATE_COMPLETE").await;
    apply(&place, "SQSQueue", "unnamed", &json!({}), &json!({POLICY: "adopt"}));
    let unnamed = place.is("sqsqueue", "unnamed", "NothingToAdopt").await;
    assert!(reason(&unnamed).contains(FIELDS), "{unnamed:#}");
    apply(&place, "SQSQueue", "odd", &json!({}), &json!({POLICY: "adopt", FIELDS: "orders"}));
    let odd = place.is("sqsqueue", "odd", "InvalidAnnotation").await;
    assert!(reason(&odd).contains("queueURL"), "{odd:#}");
    place.delete("sqsqueue", "odd");
    place.gone("sqsqueue", "odd").await;
}
