//! What Alibaba Cloud does wrong, and what the operator forgot: the platform gets the reason, and the next attempt
//! succeeds.

use bindery_test_support::alibaba::{ACCOUNT, Alibaba, Fault, Request};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::cloud::{BUCKET, Cloud, MYSQL, POLICY, backend, text};

/// The story of an instance and a binding, from beginning to end.
async fn story(cloud: &Cloud, plan: (&str, &str)) {
    cloud.provisioned(plan, "i", json!({})).await;
    cloud.bound(plan, "i", "b", json!({})).await;
    cloud.unbound(plan, "i", "b").await;
    cloud.deprovisioned(plan, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[rstest::rstest]
#[case(MYSQL)]
#[case(BUCKET)]
#[tokio::test]
async fn throttling_is_waited_out(#[case] plan: (&str, &str)) {
    let cloud = Cloud::start().await;
    cloud.server.fail_every(4, Fault::THROTTLED);
    story(&cloud, plan).await;
}

#[rstest::rstest]
#[case(403, "OperationDenied.DBInstanceStatus")]
#[case(400, "GeneralIns.Switching")]
#[case(400, "OperationDenied.DBStatus")]
#[tokio::test]
async fn a_server_that_is_busy_is_waited_for(#[case] status: u16, #[case] code: &'static str) {
    let cloud = Cloud::start().await;
    for action in
        ["CreateDatabase", "CreateAccount", "GrantAccountPrivilege", "DeleteAccount", "DeleteDBInstance"]
    {
        cloud.server.fail_next(action, Fault::Refused(status, code));
    }
    story(&cloud, MYSQL).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_makes_no_second_server() {
    let cloud = Cloud::start().await;
    cloud.server.fail_next("CreateDBInstance", Fault::LostAfter);
    cloud.server.fail_next("CreateDatabase", Fault::LostAfter);
    cloud.provisioned(MYSQL, "i", json!({})).await;
    let servers = cloud.server.left().into_iter().filter(|left| left.starts_with("rds instance")).count();
    assert_eq!(servers, 1);
    cloud.deprovisioned(MYSQL, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[rstest::rstest]
#[case(MYSQL, "CreateAccount")]
#[case(BUCKET, "CreateAccessKey")]
#[tokio::test]
async fn a_lost_secret_is_replaced_with_the_next_request(#[case] plan: (&str, &str), #[case] action: &str) {
    let cloud = Cloud::start().await;
    cloud.provisioned(plan, "i", json!({})).await;
    let before = cloud.server.left();
    cloud.server.fail_next(action, Fault::FAILS_AFTER);
    let (status, body) = cloud.bind(plan, "i", "b", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("cannot be used at present"), "{body}");
    cloud.bound(plan, "i", "b", json!({})).await;
    cloud.unbound(plan, "i", "b").await;
    assert_eq!(cloud.server.left(), before);
    cloud.deprovisioned(plan, "i").await;
}

#[tokio::test]
async fn a_refusal_of_alibaba_cloud_is_told_and_a_later_attempt_succeeds() {
    let cloud = Cloud::start().await;
    cloud.server.fail_next("CreateDBInstance", Fault::Refused(403, "OperationDenied.ZoneResource"));
    assert_eq!(cloud.provision(MYSQL, "i", json!({})).await.0, 202);
    let (state, description) = cloud.ended("i").await;
    assert_eq!(state, "failed");
    assert!(description.contains("OperationDenied.ZoneResource"), "{description}");
    cloud.provisioned(MYSQL, "i", json!({})).await;
    cloud.deprovisioned(MYSQL, "i").await;
}

#[tokio::test]
async fn an_account_without_money_is_the_operators_matter() {
    let cloud = Cloud::start().await;
    cloud.server.fail_next("CreateDBInstance", Fault::Refused(400, "Pay.InsufficientBalance"));
    assert_eq!(cloud.provision(MYSQL, "i", json!({})).await.0, 202);
    let (state, description) = cloud.ended("i").await;
    assert_eq!(state, "failed");
    assert!(description.contains("may not order this") && !description.contains("Balance"), "{description}");
}

/// The policy without an action.
fn policy_without(action: &str) -> String {
    let mut policy: Value = serde_json::from_str(POLICY).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|allowed| allowed != action);
        }
    }
    policy.to_string()
}

#[tokio::test]
async fn a_right_that_the_broker_lacks_is_named_in_the_log_alone() {
    let server = Alibaba::start();
    let broker = server.key("broker", &policy_without("ram:GetUser"));
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), &broker.secret).unwrap();
    let text = backend(&server, &broker, secret.path(), "");
    let platform = bindery_test_support::platform::Platform::open(&text).await;
    let checked = platform.checked().await.unwrap_err();
    assert!(checked.contains(r#""Action":"ram:GetUser""#) && !checked.contains(&broker.secret), "{checked}");
}

#[tokio::test]
async fn the_platform_is_told_no_account_and_no_action() {
    let cloud = Cloud::start().await;
    cloud.provisioned(BUCKET, "i", json!({})).await;
    cloud.server.fail_next("CreatePolicy", Fault::Refused(403, "NoPermission"));
    let (status, body) = cloud.bind(BUCKET, "i", "b", json!({})).await;
    assert_eq!(status, 500, "{body}");
    let told = text(&body, "description");
    assert!(told.contains("not set up") && !told.contains(ACCOUNT) && !told.contains("ram:"), "{told}");
    cloud.deprovisioned(BUCKET, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_server_or_bucket_is_seen_when_a_request_is_repeated() {
    let cloud = Cloud::start().await;
    cloud.provisioned(BUCKET, "i", json!({})).await;
    let bucket = cloud.server.left().remove(0).rsplit(' ').next().unwrap().to_owned();
    let delete = Request::oss("DELETE", &format!("/{bucket}/"), "");
    assert_eq!(cloud.server.ask(&Alibaba::root(), delete).0, 204);
    let (status, body) = cloud.provision(BUCKET, "i", json!({})).await;
    assert!(body.to_string().contains("the bucket is missing"), "{status}: {body}");
    cloud.deprovisioned(BUCKET, "i").await;
}
