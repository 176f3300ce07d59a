//! Every other service: a binding's key on its own resource, on a sibling's, and after unbind.

use bindery_test_support::ministack::{Key, Request};
use serde_json::{Value, json};

use crate::cloud::{Cloud, text};

/// The request of an application to the resource of these credentials.
type Use = fn(&Value) -> Request;

async fn own_yes_sibling_no_after_unbind_no(plan: (&str, &str), parameters: Value, using: Use) {
    let cloud = Cloud::start().await;
    for instance in ["own", "sibling"] {
        cloud.provisioned(plan, instance, parameters.clone()).await;
    }
    for kind in ["user", "session"] {
        let bind = async |instance: &str| {
            let bound = cloud.bound(plan, instance, kind, json!({"credentials": kind})).await;
            bound["credentials"].clone()
        };
        let (own, sibling) = (bind("own").await, bind("sibling").await);
        let (status, body) = cloud.server.ask(&Key::of(&own), &using(&own));
        assert_eq!(status, 200, "{kind}: {body}");
        cloud.refuses(&own, &using(&sibling));
        assert_eq!(cloud.unbind(plan, "own", kind).await.0, 200);
        cloud.refuses(&own, &using(&own));
    }
    for instance in ["own", "sibling"] {
        cloud.deprovisioned(plan, instance).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_topic() {
    own_yes_sibling_no_after_unbind_no(("sns", "topic"), json!({"DisplayName": "shop"}), |credentials| {
        let topic = text(credentials, "TOPIC_ARN");
        Request::query("sns", "Publish", &[("TopicArn", &topic), ("Message", "hello")])
    })
    .await;
}

#[tokio::test]
async fn a_bucket() {
    own_yes_sibling_no_after_unbind_no(("s3", "custom"), json!({"Versioning": true}), |credentials| {
        Request::path("s3", "GET", &format!("/{}", text(credentials, "BUCKET_NAME")), "")
    })
    .await;
}

#[tokio::test]
async fn a_table() {
    let parameters =
        json!({"HashAttributeName": "user_id", "BillingMode": "PROVISIONED", "ReadCapacityUnits": 2});
    own_yes_sibling_no_after_unbind_no(("dynamodb", "hashrange"), parameters, |credentials| {
        let item = json!({"user_id": {"S": "u"}, "created_at": {"S": "now"}});
        let put = json!({"TableName": text(credentials, "TABLE_NAME"), "Item": item});
        Request::json("dynamodb", "DynamoDB_20120810.PutItem", &put)
    })
    .await;
}
