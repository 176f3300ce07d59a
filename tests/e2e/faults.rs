//! What users see when something is wrong, and that a correction is sufficient.

use crate::{
    installation::{NAMESPACE, RELEASE, kubectl},
    scenario::{BINDING, INSTANCE, LIMIT, Scenario},
};

#[tokio::test]
async fn an_unknown_class_gets_a_suggestion_and_an_apply_corrects_it() {
    let scenario = Scenario::new("unknown-class").await;
    let mistyped = INSTANCE.replace("ExternalName: cockroachdb", "ExternalName: cockroachd");
    scenario.apply(&mistyped).await.expect_success();
    let condition = scenario.instance_says("mydb01", "ReferencesNonexistentServiceClass").await;
    assert!(
        condition.message.contains("\"cockroachd\"") && condition.message.contains("cockroachdb"),
        "{}",
        condition.message
    );
    // The event is written after the condition.
    let reasons = ["get", "events", "--output=jsonpath={.items[*].reason}"];
    let before = std::time::Instant::now();
    loop {
        let events = scenario.kubectl(&reasons).await.expect_success();
        if events.contains("ReferencesNonexistentServiceClass") {
            break;
        }
        assert!(before.elapsed() < LIMIT, "{events}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

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
    // Users see no address; the broker's log has it, under the reference.
    let (told, reference) = condition.message.split_once("(reference ").expect("a reference");
    assert!(told.contains("the database server cannot be used at present"), "{told}");
    let reference = reference.split(')').next().unwrap();
    let log = kubectl(&["--namespace", NAMESPACE, "logs", &format!("{RELEASE}-broker-0")]).await;
    let address = format!(":{}", postgres.port());
    let named = log.lines().any(|line| line.contains(reference) && line.contains(&address));
    assert!(named, "no line of the broker's log has {reference} and {address}:\n{log}");

    let credentials = scenario.credentials("mydb01-binding").await;
    scenario.finish(&[&credentials]).await;
}
