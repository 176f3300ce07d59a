//! The Open Service Broker API over stacks.

use bindery_test_support::platform::Plan;
use serde_json::json;

use crate::cloud::Cloud;

#[rstest::rstest]
#[case(("dh-sqs", "standard"))]
#[case(("sns", "topic"))]
#[tokio::test]
async fn a_plan_conforms_from_its_creation_to_its_end(#[case] plan: Plan<'_>) {
    let cloud = Cloud::start().await;
    cloud.conforms(plan, json!({})).await;
}
