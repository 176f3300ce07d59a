//! What the API server refuses, and what it explains.

use serde_json::{Value, json};

use crate::ground::Place;

#[rstest::rstest]
#[case("SQSQueue", json!({"delaySeconds": 901}), "delaySeconds")]
#[case("SQSQueue", json!({"messageRetentionPeriod": 59}), "write 60 to 1209600")]
#[case("DynamoDB", json!({}), "hashAttribute")]
#[case("DynamoDB", json!({"hashAttribute": {"name": ""}}), "hashAttribute.name")]
#[case("DynamoDB", json!({"hashAttribute": {"name": "n", "type": "X"}}), "hashAttribute.type")]
#[case("S3Bucket", json!({"accessControl": "Everybody"}), "accessControl")]
#[case("SNSSubscription", json!({"protocol": "sqs", "endpoint": "q"}), "topicName")]
#[tokio::test]
async fn a_value_that_aws_would_refuse_is_refused_at_once(
    #[case] kind: &str,
    #[case] spec: Value,
    #[case] named: &str,
) {
    let place = Place::new().await;
    let refused = place.try_apply(kind, "wrong", &spec).unwrap_err();
    assert!(refused.contains(named), "{refused}");
}

#[tokio::test]
async fn keys_of_a_table_cannot_change() {
    let place = Place::new().await;
    place.apply("DynamoDB", "fixed", &json!({"hashAttribute": {"name": "id"}}));
    let refused =
        place.try_apply("DynamoDB", "fixed", &json!({"hashAttribute": {"name": "other"}})).unwrap_err();
    assert!(refused.contains("hashAttribute.name cannot change"), "{refused}");
}

/// The zero values that the original's Go client sends.
#[tokio::test]
async fn zero_values_mean_absent() {
    let place = Place::new().await;
    let spec = json!({"cloudFormationTemplateName": "", "rollbackCount": 0, "hashAttribute": {"name": "id", "type": ""},
        "rangeAttribute": {"name": "", "type": ""}, "readCapacityUnits": 0, "writeCapacityUnits": 0});
    place.apply("DynamoDB", "zeros", &spec);
    place.is("dynamodb", "zeros", "CREATE_COMPLETE").await;
    assert_eq!(place.stack("dynamodb", "zeros").await.unwrap().parameters["ReadCapacityUnits"], "5");
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let place = Place::new().await;
    let text = place.kubectl(&["explain", "sqsqueues.service-operator.aws.spec"], "").unwrap();
    assert!(text.contains("How long a message is kept") && !text.contains("<no description>"), "{text}");
}
