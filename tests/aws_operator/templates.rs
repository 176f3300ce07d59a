//! CloudFormationTemplates of users.

use bindery_test_support::ministack::Request;
use serde_json::{Value, json};

use crate::ground::{BUCKET, Place, SERVER, until};

fn template(text: &str, annotations: &Value) -> String {
    json!({"apiVersion": "service-operator.aws/v1alpha1", "kind": "CloudFormationTemplate",
        "metadata": {"name": "mine", "annotations": annotations}, "data": {"key": "mine.yaml", "template": text}})
    .to_string()
}

const TOPIC: &str = "Parameters: {ResourceName: {Type: String}}
Resources:
  T: {Type: 'AWS::SNS::Topic', Properties: {DisplayName: !Ref ResourceName}}
Outputs:
  TopicARN: {Value: !Ref T}
";

#[tokio::test]
async fn an_object_may_use_a_template_of_its_namespace() {
    let place = Place::new().await;
    place.kubectl(&["apply", "-f", "-"], &template(TOPIC, &json!({}))).unwrap();
    place.apply("SNSTopic", "news", &json!({"cloudFormationTemplateName": "mine"}));
    let object = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    assert!(object["output"]["topicARN"].as_str().unwrap().starts_with("arn:"), "{object:#}");
    assert_eq!(place.stack("snstopic", "news").await.unwrap().parameters["ResourceName"], "news");
}

/// CloudFormation takes no more than 51,200 bytes in a request.
#[tokio::test]
async fn a_long_template_goes_through_the_bucket() {
    let place = Place::new().await;
    SERVER.administer(&Request::path("s3", "PUT", &format!("/{BUCKET}"), ""));
    let long = format!("{TOPIC}{}", "# a comment\n".repeat(5_000));
    assert!(long.len() > 51_200);
    place.kubectl(&["create", "-f", "-"], &template(&long, &json!({}))).unwrap();
    place.apply("SNSTopic", "news", &json!({"cloudFormationTemplateName": "mine"}));
    let object = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    assert!(object["output"]["topicARN"].as_str().unwrap().starts_with("arn:"), "{object:#}");
    assert!(SERVER.calls().contains(&"s3:PUT".to_owned()));
}

#[tokio::test]
async fn a_template_of_another_namespace_must_list_the_reader() {
    let (place, other) = (Place::new().await, Place::new().await);
    other.kubectl(&["apply", "-f", "-"], &template(TOPIC, &json!({}))).unwrap();
    let spec =
        json!({"cloudFormationTemplateName": "mine", "cloudFormationTemplateNamespace": other.namespace});
    place.apply("SNSTopic", "news", &spec);
    let waiting = place.is("snstopic", "news", "ReferenceNotReady").await;
    let reason = waiting["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("bindery.dev/allowed-namespaces"), "{reason}");
    let listed = format!("bindery.dev/allowed-namespaces={}", place.namespace);
    other.annotate("cloudformationtemplate", "mine", &listed);
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
}

/// The template's reason is told, attempts are counted, and a correction helps.
#[tokio::test]
async fn a_creation_that_fails_is_told_and_tried_again() {
    let place = Place::new().await;
    let failing = "Resources:\n  P: {Type: 'AWS::SNS::TopicPolicy', Properties: {Topics: [], PolicyDocument: {}}}\n  U: {Type: \
                   'AWS::IAM::User'}\n";
    place.kubectl(&["apply", "-f", "-"], &template(failing, &json!({}))).unwrap();
    place.apply("SNSTopic", "news", &json!({"cloudFormationTemplateName": "mine"}));
    until("the refusal is told", async || {
        let object = place.get("snstopic", "news").unwrap();
        object["status"]["resourceStatusReason"].as_str().unwrap_or_default().contains("CAPABILITY")
    })
    .await;
    assert_eq!(place.stack("snstopic", "news").await, None);
    place.kubectl(&["apply", "-f", "-"], &template(TOPIC, &json!({}))).unwrap();
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
}
