//! Every kind, with its defaults.

use serde_json::{Value, json};

use crate::ground::Place;

#[rstest::rstest]
#[case("SQSQueue", "orders", json!({}), "queueURL", true, false)]
#[case("SNSTopic", "news", json!({}), "topicARN", false, false)]
#[case("S3Bucket", "bindery-pictures", json!({}), "bucketARN", true, true)]
#[case("ECRRepository", "app", json!({}), "repositoryURL", false, false)]
#[case("ElastiCache", "cache", json!({}), "redisEndpointAddress", false, true)]
#[case("DynamoDB", "defaults", json!({"hashAttribute": {"name": "id"}}), "tableARN", true, false)]
#[tokio::test]
async fn a_kind_has_outputs_and_what_the_original_made_of_them(
    #[case] kind: &str,
    #[case] name: &str,
    #[case] spec: Value,
    #[case] output: &str,
    #[case] has_config_map: bool,
    #[case] has_service: bool,
) {
    let place = Place::new().await;
    place.apply(kind, name, &spec);
    let object = place.is(kind, name, "CREATE_COMPLETE").await;
    assert_ne!(object["output"][output].as_str().unwrap_or_default(), "", "{object:#}");
    assert_eq!(object["additionalResources"]["configMaps"].is_array(), has_config_map, "{object:#}");
    assert_eq!(place.get("configmap", name).is_some(), has_config_map);
    assert_eq!(place.get("service", name).is_some(), has_service);
    if has_service {
        let service = place.get("service", name).unwrap();
        assert_eq!(service["spec"]["type"], "ExternalName", "{service:#}");
    }
    place.delete(kind, name);
    place.gone(kind, name).await;
    assert_eq!(place.stack(&kind.to_lowercase(), name).await, None);
}

#[tokio::test]
async fn a_subscription_waits_for_its_topic_and_its_queue() {
    let place = Place::new().await;
    place.apply(
        "SNSSubscription",
        "feed",
        &json!({"topicName": "news", "protocol": "sqs", "endpoint": "inbox"}),
    );
    let waiting = place.is("snssubscription", "feed", "ReferenceNotReady").await;
    let reason = waiting["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("topicName: there is no SNSTopic \"news\""), "{reason}");
    place.apply("SNSTopic", "news", &json!({}));
    place.apply("SQSQueue", "inbox", &json!({}));
    let complete = place.is("snssubscription", "feed", "CREATE_COMPLETE").await;
    assert!(
        complete["output"]["subscriptionARN"].as_str().unwrap().starts_with("arn:aws:sns:"),
        "{complete:#}"
    );
    let queue = place.get("sqsqueue", "inbox").unwrap();
    let parameters = place.stack("snssubscription", "feed").await.unwrap().parameters;
    assert_eq!(parameters["Endpoint"], queue["output"]["queueARN"].as_str().unwrap());
    assert_eq!(parameters["QueueURL"], queue["output"]["queueURL"].as_str().unwrap());
}
