//! Sweeps, and what another installation or somebody else has made.

use bindery::broker::sweep;
use bindery_test_support::ministack::Request;
use serde_json::json;

use crate::cloud::{Cloud, text};

const STANDARD: (&str, &str) = ("dh-sqs", "standard");

#[tokio::test]
async fn only_leftovers_of_this_installation_are_swept() {
    let cloud = Cloud::start().await;
    for instance in ["kept", "lost"] {
        cloud.provisioned(STANDARD, instance, json!({})).await;
        for kind in ["user", "session"] {
            cloud
                .bound(STANDARD, instance, &format!("{instance}-{kind}"), json!({"credentials": kind}))
                .await;
        }
    }
    let foreign = [("UserName", "bindery-theirs"), ("Path", "/bindery/another/")];
    cloud.server.administer(&Request::query("iam", "CreateUser", &foreign));
    assert_eq!(sweep(cloud.platform.config(), &[], false).await.unwrap().leftover, []);
    let before = cloud.leftovers().len();
    cloud.platform.forget("lost");
    let report = sweep(cloud.platform.config(), &[], true).await.unwrap().to_string();
    for kind in ["user", "role", "stack"] {
        assert!(report.contains(&format!("removed: {kind} ")), "{report}");
    }
    assert!(report.contains("foreign, left alone: user bindery-theirs"), "{report}");
    assert!(report.ends_with("3 removed"), "{report}");
    assert_eq!(cloud.leftovers().len(), before - 3);
    assert_eq!(sweep(cloud.platform.config(), &[], false).await.unwrap().leftover, []);
    cloud.deprovisioned(STANDARD, "kept").await;
}

#[tokio::test]
async fn a_stack_and_a_user_of_somebody_else_are_left_alone() {
    let cloud = Cloud::start().await;
    cloud.provisioned(STANDARD, "q", json!({})).await;
    let stack = cloud.leftovers().remove(0);
    cloud.bound(STANDARD, "q", "b", json!({})).await;
    let user = cloud.leftovers().into_iter().find(|name| name.starts_with("bindery-")).unwrap();
    assert_eq!(cloud.unbind(STANDARD, "q", "b").await.0, 200);
    cloud.server.administer(&Request::query(
        "iam",
        "CreateUser",
        &[("UserName", &user), ("Path", "/theirs/")],
    ));
    let (status, body) = cloud.bind(STANDARD, "q", "b", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("does not carry this installation's mark"), "{body}");
    assert_eq!(cloud.unbind(STANDARD, "q", "b").await.0, 200);
    cloud.server.administer(&Request::query("iam", "GetUser", &[("UserName", &user)]));

    cloud.deprovisioned(STANDARD, "q").await;
    let template = r#"{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}"#;
    let create = [("StackName", stack.as_str()), ("TemplateBody", template)];
    cloud.server.administer(&Request::query("cloudformation", "CreateStack", &create));
    assert_eq!(cloud.provision(STANDARD, "q", json!({})).await.0, 202);
    let (state, description) = cloud.ended("q").await;
    assert_eq!(state, "failed");
    assert!(description.contains("does not carry this installation's mark"), "{description}");
    assert_eq!(cloud.deprovision(STANDARD, "q").await.0, 202);
    assert_eq!(cloud.ended("q").await.0, "succeeded");
    assert_eq!(cloud.leftovers(), [stack]);
}
