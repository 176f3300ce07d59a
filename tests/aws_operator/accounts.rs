//! Several accounts and roles on one cluster: a Namespace asks for one, and gets it if the installation lists it.

use bindery::operators::aws::unowned_stacks;
use serde_json::json;

use crate::ground::{CLUSTER, OTHER_ACCOUNT, Place, TEAM, account_of, accounts, client};

const OWNER_ACCOUNT: &str = "services.k8s.aws/owner-account-id";
const TEAM_ID: &str = "services.k8s.aws/team-id";

#[tokio::test]
async fn a_namespace_gets_another_account_and_keeps_it_for_what_is_there() {
    let place = Place::annotated(&json!({OWNER_ACCOUNT: OTHER_ACCOUNT})).await;
    place.apply("SNSTopic", "news", &json!({}));
    let topic = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    let id = topic["status"]["stackID"].as_str().unwrap();
    assert!(id.contains(&format!(":{OTHER_ACCOUNT}:stack/")), "{id}");
    let other = account_of(OTHER_ACCOUNT);
    let name = place.stack_name("snstopic", "news");
    assert!(other.stack(&name).await.unwrap().is_some());
    assert_eq!(place.stack("snstopic", "news").await, None, "the operator's own account has nothing");
    assert_eq!(place.records()[0]["spec"]["broker"]["name"], format!("aws-account/{OTHER_ACCOUNT}"));
    // The stack stays where it is, and so does its deletion.
    place.kubectl(&["annotate", "namespace", &place.namespace, &format!("{OWNER_ACCOUNT}-")], "").unwrap();
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert_eq!(other.stack(&name).await.unwrap(), None);
}

#[tokio::test]
async fn a_sweep_finds_what_was_retained_in_every_account() {
    let place = Place::annotated(&json!({OWNER_ACCOUNT: OTHER_ACCOUNT})).await;
    place.apply("SNSTopic", "news", &json!({}));
    place.is("snstopic", "news", "CREATE_COMPLETE").await;
    place.annotate("snstopic", "news", "services.k8s.aws/deletion-policy=retain");
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    let name = place.stack_name("snstopic", "news");
    let unowned = unowned_stacks(&client().await, &accounts(), CLUSTER).await.unwrap();
    let found: Vec<_> = unowned.iter().filter(|found| found.name == name).collect();
    assert_eq!(found.len(), 1, "{unowned:?}");
    assert_eq!(found[0].account, OTHER_ACCOUNT);
    account_of(OTHER_ACCOUNT).delete_stack(&name, None).await.unwrap();
}

#[tokio::test]
async fn a_team_has_the_rights_of_its_role_and_no_more() {
    let place = Place::annotated(&json!({TEAM_ID: TEAM})).await;
    place.apply("SQSQueue", "orders", &json!({}));
    place.is("sqsqueue", "orders", "CREATE_COMPLETE").await;
    place.apply("SNSTopic", "news", &json!({}));
    let refused = place.is("snstopic", "news", "AwsCallFailed").await;
    let reason = refused["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("cloudformation:CreateStack"), "{reason}");
    for (kind, name) in [("snstopic", "news"), ("sqsqueue", "orders")] {
        place.delete(kind, name);
        place.gone(kind, name).await;
    }
}

#[tokio::test]
async fn an_account_that_is_not_listed_is_refused() {
    let place = Place::annotated(&json!({OWNER_ACCOUNT: "999988887777"})).await;
    place.apply("SNSTopic", "news", &json!({}));
    let refused = place.is("snstopic", "news", "AccountNotAllowed").await;
    let reason = refused["status"]["resourceStatusReason"].as_str().unwrap();
    assert!(reason.contains("--account 999988887777=ROLE_ARN"), "{reason}");
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
}
