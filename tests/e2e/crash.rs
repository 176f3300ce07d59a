//! Kills bindery (-9) at three points of the story. A lock on the database's table of roles makes the broker's
//! statement wait, so the test can kill the process that sent it. The statement may still take effect afterwards,
//! which is the worst case.

use crate::{
    installation::Installation,
    scenario::{BINDING, INSTANCE, POD, Scenario},
};

/// While this lock is held, roles cannot be created, changed or dropped; logins still work.
const NO_ROLE_CHANGES: &str = "begin; lock table pg_authid in share row exclusive mode;";

const BROKER_WAITS: &str =
    "select count(*) > 0 from pg_stat_activity where usename = 'bindery' and wait_event_type = 'Lock'";

/// Kills broker and catalog while the broker's statement waits, then releases the lock.
pub(crate) async fn kill_while_waiting(installation: &Installation, act: impl AsyncFnOnce()) {
    let held = installation.postgres.hold(NO_ROLE_CHANGES);
    installation
        .postgres
        .until("select count(*) > 0 from pg_locks where mode = 'ShareRowExclusiveLock' and granted")
        .await;
    act().await;
    installation.postgres.until(BROKER_WAITS).await;
    installation.kill("broker").await;
    installation.kill("catalog").await;
    held.release();
    installation.recovered().await;
}

/// After the interruption the story completes by itself and leaves nothing.
async fn ends_as_always(scenario: Scenario) {
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    let installation = scenario.installation;
    scenario
        .finish_with(&[&credentials], async || {
            let report = installation.sweep().await;
            assert!(report.contains("nothing left over"), "{report}");
        })
        .await;
}

#[tokio::test]
async fn killed_while_the_database_is_made() {
    let scenario = Scenario::alone("killed-provisioning").await;
    kill_while_waiting(scenario.installation, async || {
        for manifest in [POD, BINDING, INSTANCE] {
            scenario.apply(manifest).await.expect_success();
        }
    })
    .await;
    ends_as_always(scenario).await;
}

#[tokio::test]
async fn killed_while_the_user_is_made() {
    let scenario = Scenario::alone("killed-binding").await;
    scenario.apply(INSTANCE).await.expect_success();
    scenario.instance_says("mydb01", "ProvisionedSuccessfully").await;
    kill_while_waiting(scenario.installation, async || {
        for manifest in [POD, BINDING] {
            scenario.apply(manifest).await.expect_success();
        }
    })
    .await;
    ends_as_always(scenario).await;
}

#[tokio::test]
async fn killed_while_the_user_is_removed() {
    let scenario = Scenario::alone("killed-unbinding").await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    kill_while_waiting(scenario.installation, async || {
        let arguments = ["delete", "servicebinding,serviceinstance", "--all", "--wait=false"];
        scenario.kubectl(&arguments).await.expect_success();
    })
    .await;
    let installation = scenario.installation;
    scenario
        .finish_with(&[&credentials], async || {
            let report = installation.sweep().await;
            assert!(report.contains("nothing left over"), "{report}");
        })
        .await;
}
