//! What AWS does wrong, and what the operator forgot: the platform gets the reason, and the next attempt succeeds.

use bindery_test_support::ministack::{BROKER_USER, DEPLOY_ROLE, Key, Request, fields};
use serde_json::json;

use crate::cloud::{Cloud, text};

const STANDARD: (&str, &str) = ("dh-sqs", "standard");

#[tokio::test]
async fn throttling_delays_and_late_keys_are_waited_for() {
    let cloud = Cloud::start().await;
    cloud.server.set(&json!({"throttle": 3, "delay": 0.5, "key_lag": 2}));
    let answer = cloud.provision(STANDARD, "q", json!({"UsedeadletterQueue": true})).await;
    assert_eq!(answer.0, 202, "{answer:?}");
    assert_eq!(cloud.ended("q").await.0, "succeeded");
    for kind in ["user", "session"] {
        let bound = cloud.bound(STANDARD, "q", kind, json!({"credentials": kind})).await;
        let credentials = &bound["credentials"];
        assert_eq!(cloud.sends(credentials, &text(credentials, "QueueURL")), 200, "usable once it is bound");
        assert_eq!(cloud.unbind(STANDARD, "q", kind).await.0, 200);
    }
    cloud.deprovisioned(STANDARD, "q").await;
    cloud.server.reset();
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_progress_of_a_stack_is_told() {
    let cloud = Cloud::start().await;
    cloud.server.set(&json!({"delay": 5}));
    let answer = cloud.provision(STANDARD, "q", json!({"UsedeadletterQueue": true})).await;
    assert_eq!(answer.0, 202, "{answer:?}");
    let mut told = Vec::new();
    loop {
        let (state, description) = cloud.last_operation("q").await;
        if state != "in progress" {
            break;
        }
        told.push(description);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    told.dedup();
    let queue = "CREATE_IN_PROGRESS: 1 resources done, at Queue";
    assert!(told.iter().any(|text| text == queue), "{told:?}");
}

#[tokio::test]
async fn a_right_that_the_deploy_role_lacks_fails_the_instance_until_it_is_there() {
    let cloud = Cloud::start().await;
    cloud.server.deploy_role(&json!([{"Effect": "Allow", "Action": "sns:*", "Resource": "*"}]));
    assert_eq!(cloud.provision(STANDARD, "q", json!({})).await.0, 202);
    let (state, description) = cloud.ended("q").await;
    assert_eq!(state, "failed");
    assert!(description.contains("not set up") && !description.contains(DEPLOY_ROLE), "{description}");
    cloud.server.deploy_role(&json!([{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]));
    assert_eq!(cloud.provision(STANDARD, "q", json!({})).await.0, 202);
    assert_eq!(cloud.ended("q").await.0, "succeeded");
}

#[tokio::test]
async fn a_right_that_the_broker_lacks_is_an_error_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    cloud.provisioned(STANDARD, "q", json!({})).await;
    let forbidden = json!([{"Effect": "Deny", "Action": "iam:CreateAccessKey", "Resource": "*"}]);
    cloud.server.allow(BROKER_USER, &forbidden);
    let (status, body) = cloud.bind(STANDARD, "q", "b", json!({})).await;
    assert_eq!(status, 500, "{body}");
    let description = text(&body, "description");
    assert!(description.contains("not set up") && !description.contains("arn:"), "{description}");
    assert_eq!(cloud.unbind(STANDARD, "q", "b").await.0, 200);
    assert_eq!(cloud.leftovers().len(), 1, "the stack alone");

    let user = ("UserName", BROKER_USER);
    let attached = cloud.server.administer(&Request::query("iam", "ListAttachedUserPolicies", &[user]));
    for policy in fields(&attached, "PolicyArn") {
        let detach = Request::query("iam", "DetachUserPolicy", &[user, ("PolicyArn", &policy)]);
        cloud.server.administer(&detach);
    }
    let checked = cloud.platform.checked().await.unwrap_err();
    let statement = r#""Action":"cloudformation:DescribeStacks","Effect":"Allow""#;
    assert!(checked.contains(statement) && !checked.contains(&cloud.broker.secret), "{checked}");
}

#[tokio::test]
async fn what_blocks_a_deletion_is_told_and_the_deletion_goes_on_without_it() {
    let cloud = Cloud::start().await;
    let plan = ("s3", "custom");
    cloud.provisioned(plan, "full", json!({})).await;
    let bound = cloud.bound(plan, "full", "b", json!({})).await;
    let object = format!("/{}/object", text(&bound["credentials"], "BUCKET_NAME"));
    cloud.server.administer(&Request::path("s3", "PUT", &object, "content"));
    assert_eq!(cloud.deprovision(plan, "full").await.0, 202);
    let (state, description) = cloud.ended("full").await;
    assert_eq!(state, "failed", "{description}");
    assert!(
        description.contains("not empty") && description.contains("objects of a bucket"),
        "{description}"
    );
    let (status, body) = cloud.server.ask(&Key::root(), &Request::path("s3", "DELETE", &object, ""));
    assert_eq!(status, 204, "{body}");
    let answer = cloud.deprovision(plan, "full").await;
    assert!([200, 202, 410].contains(&answer.0), "{answer:?}");
    assert_eq!(cloud.ended("full").await.0, "succeeded");
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_update_is_told_and_a_later_one_succeeds() {
    let cloud = Cloud::start().await;
    let plan = ("sns", "topicwithsub");
    cloud.provisioned(plan, "t", json!({"Protocol": "email", "Endpoint": "a@example.com"})).await;
    cloud.server.set(&json!({"fail_updates": 1}));
    assert_eq!(cloud.update(plan, "t", json!({"DisplayName": "new"})).await.0, 202);
    let (state, description) = cloud.ended("t").await;
    assert_eq!(state, "failed");
    assert!(description.contains("the change failed: Topic"), "{description}");
    assert_eq!(cloud.update(plan, "t", json!({"DisplayName": "newer"})).await.0, 202);
    assert_eq!(cloud.ended("t").await.0, "succeeded");
}
