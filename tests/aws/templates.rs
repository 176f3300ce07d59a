//! Templates of administrators: one in the form of the AWS Service Broker, beside one that cannot be used, and the tags
//! that a user sets.

use bindery_test_support::ministack::{BROKER_USER, Ministack, Request, fields};
use serde_json::json;
use tempfile::TempDir;

use crate::cloud::{Cloud, text};

/// As the AWS Service Broker has it, with the resources that make the shared key; they could not be created here.
const TEAM_QUEUE: &str = r"
AWSTemplateFormatVersion: 2010-09-09
Metadata:
  AWS::ServiceBroker::Specification:
    Version: 1.0
    Name: team-queue
    Tags: [AWS, SQS]
    UpdatableParameters: [DelaySeconds]
    Bindings:
      IAM:
        AddKeypair: True
        Policies:
          - PolicyDocument:
              Version: '2012-10-17'
              Statement:
                - {Action: ['sqs:ReceiveMessage', 'sqs:SendMessage'], Effect: Allow, Resource: !GetAtt SQSQueue.Arn}
    ServicePlans:
      standard: {DisplayName: Standard, Description: A queue, ParameterDefaults: {DelaySeconds: 0}}
Parameters:
  DelaySeconds: {Type: Number, Description: The delay}
Resources:
  SQSQueue: {Type: 'AWS::SQS::Queue', Properties: {DelaySeconds: !Ref DelaySeconds}}
  AWSSBInjectedIAMUser: {Type: AWS::IAM::User}
  AWSSBInjectedIAMUserCreds:
    Type: Custom::Credentials
    Properties: {ServiceToken: !GetAtt AWSSBInjectedIAMUserLambda.Arn, User: !Ref AWSSBInjectedIAMUser}
  AWSSBInjectedIAMUserLambda: {Type: AWS::Lambda::Function, Properties: {Runtime: python2.7, Role: none}}
Outputs:
  QueueURL: {Value: !Ref SQSQueue}
  SqsAwsAccessKeyId: {Value: !GetAtt AWSSBInjectedIAMUserCreds.AccessKeyId}
";

/// bindery's own form.
const OWN: &str = include_str!("../../src/broker/backends/aws/templates/sqs.yaml");

const PLAN: (&str, &str) = ("team-queue", "standard");

#[tokio::test]
async fn a_template_of_the_aws_service_broker_gives_each_binding_its_own_key() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("team-queue-main.yaml"), TEAM_QUEUE).unwrap();
    std::fs::write(folder.path().join("broken.yaml"), "Resources: [").unwrap();
    let cloud = Cloud::with(&format!("templates: {{directory: {}}}", folder.path().display())).await;
    for instance in ["own", "sibling"] {
        cloud.provisioned(PLAN, instance, json!({})).await;
    }
    let bind = async |instance: &str, binding: &str| {
        cloud.bound(PLAN, instance, binding, json!({})).await["credentials"].clone()
    };
    let (own, second) = (bind("own", "first").await, bind("own", "second").await);
    let sibling = text(&bind("sibling", "b").await, "QUEUE_URL");
    let queue = text(&own, "QUEUE_URL");
    assert_ne!(own["AWS_ACCESS_KEY_ID"], second["AWS_ACCESS_KEY_ID"]);
    assert_eq!(own["TEAM_QUEUE_AWS_ACCESS_KEY_ID"], own["AWS_ACCESS_KEY_ID"]);
    assert!(own.as_object().unwrap().keys().all(|key| !key.contains("BINDERY")), "{:?}", own.as_object());
    assert_eq!((cloud.sends(&own, &queue), cloud.sends(&own, &sibling)), (200, 403));
    assert_eq!(cloud.receives(&second, &queue), 200);
    let (status, body) = cloud.bind(PLAN, "own", "owner", json!({"access": "owner"})).await;
    assert_eq!(status, 400, "{body}");

    assert_eq!(cloud.update(PLAN, "own", json!({"DelaySeconds": 1})).await.0, 202);
    assert_eq!(cloud.ended("own").await.0, "succeeded");
    assert_eq!(cloud.unbind(PLAN, "own", "first").await.0, 200);
    assert_eq!((cloud.sends(&own, &queue), cloud.sends(&second, &queue)), (403, 200));
    for instance in ["own", "sibling"] {
        cloud.deprovisioned(PLAN, instance).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn templates_in_a_bucket_may_be_longer_than_a_request() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Ministack::start();
    let granted = server.create_prerequisites();
    let read = json!([{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::our-templates", "arn:aws:s3:::our-templates/*"]}]);
    server.allow(BROKER_USER, &read);
    server.administer(&Request::path("s3", "PUT", "/our-templates", ""));
    let long = OWN.replace("dh-sqs: {", "long-queue: {").replace(" sqs: {", " long-queue-2: {");
    let long = format!("{long}# {}\n", "x".repeat(60_000));
    for (key, text) in [
        ("a/team-queue.yaml", TEAM_QUEUE),
        ("a/long.yaml", &long),
        ("b/other.yaml", "?"),
        ("a/notes.txt", "?"),
    ] {
        server.administer(&Request::path("s3", "PUT", &format!("/our-templates/{key}"), text));
    }
    let cloud = Cloud::on(server, granted.broker, "templates: {bucket: our-templates, prefix: a/}").await;
    for plan in [PLAN, ("long-queue", "standard")] {
        cloud.provisioned(plan, plan.0, json!({})).await;
        let credentials = cloud.bound(plan, plan.0, "b", json!({})).await["credentials"].clone();
        let key = if plan == PLAN { "QUEUE_URL" } else { "QueueURL" };
        assert_eq!(cloud.sends(&credentials, &text(&credentials, key)), 200);
        cloud.deprovisioned(plan, plan.0).await;
    }
}

#[tokio::test]
async fn a_user_sets_the_tags_that_are_allowed_and_no_other_region() {
    let cloud = Cloud::with("userTags: [team]").await;
    let plan = ("dh-sqs", "standard");
    let tagged = |key: &str| json!({"region": "us-east-1", "user_tags": [{"Key": key, "Value": "shop"}]});
    cloud.provisioned(plan, "q", tagged("team")).await;
    let stacks = cloud.server.administer(&Request::query("cloudformation", "DescribeStacks", &[]));
    let tags: Vec<_> = fields(&stacks, "Key").into_iter().zip(fields(&stacks, "Value")).collect();
    assert!(tags.contains(&("team".to_owned(), "shop".to_owned())), "{tags:?}");
    for (parameters, named) in [
        (tagged("cost"), "the operator allows only team"),
        (json!({"region": "eu-west-1"}), "the service is in us-east-1"),
        (json!({"target_role_name": "admin"}), "the broker's own account"),
        (json!({"admin_tags": "[]"}), "`tags` of the backend"),
    ] {
        let (status, body) = cloud.provision(plan, "other", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
}
