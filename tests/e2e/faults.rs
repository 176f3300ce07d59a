//! What users are told when something is wrong, and that mending it is enough.

use crate::scenario::{BINDING, INSTANCE, Scenario};

#[tokio::test]
async fn an_unknown_class_is_named_with_the_nearest_and_mended_by_an_apply() {
    let scenario = Scenario::new("unknown-class").await;
    let mistyped = INSTANCE.replace("ExternalName: cockroachdb", "ExternalName: cockroachd");
    scenario.apply(&mistyped).await.expect_success();
    let condition = scenario.instance_says("mydb01", "ReferencesNonexistentServiceClass").await;
    assert!(
        condition.message.contains("\"cockroachd\"") && condition.message.contains("cockroachdb"),
        "{}",
        condition.message
    );
    let events =
        scenario.kubectl(&["get", "events", "--output=jsonpath={.items[*].reason}"]).await.expect_success();
    assert!(events.contains("ReferencesNonexistentServiceClass"), "{events}");

    scenario.apply(INSTANCE).await.expect_success();
    scenario.instance_says("mydb01", "ProvisionedSuccessfully").await;
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn an_unknown_plan_is_named() {
    let scenario = Scenario::new("unknown-plan").await;
    let mistyped = INSTANCE.replace("PlanExternalName: default", "PlanExternalName: large");
    scenario.apply(&mistyped).await.expect_success();
    let condition = scenario.instance_says("mydb01", "ReferencesNonexistentServicePlan").await;
    assert!(
        condition.message.contains("large") && condition.message.contains("default"),
        "{}",
        condition.message
    );
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn an_unreachable_database_is_named_and_the_story_goes_on_when_it_is_back() {
    let scenario = Scenario::alone("database-down").await;
    let postgres = &scenario.installation.postgres;
    postgres.stop();
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let condition = scenario.instance_says("mydb01", "ProvisionCallFailed").await;
    postgres.start_again();
    assert!(condition.message.contains(&format!(":{}", postgres.port())), "{}", condition.message);

    let credentials = scenario.credentials("mydb01-binding").await;
    scenario.finish(&[&credentials]).await;
}
