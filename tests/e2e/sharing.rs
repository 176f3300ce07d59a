//! Several bindings on one instance, several instances on one server.

use crate::scenario::{BINDING, INSTANCE, POD, Scenario};

#[tokio::test]
async fn two_bindings_share_tables_and_each_can_be_deleted() {
    let scenario = Scenario::new("sharing").await;
    scenario.apply(INSTANCE).await.expect_success();
    for number in ["1", "2"] {
        let renamed = |manifest: &str| {
            manifest
                .replace("mydb01-binding", &format!("binding-{number}"))
                .replace("client-app01", &format!("app-{number}"))
        };
        scenario.apply(&renamed(BINDING)).await.expect_success();
        scenario.apply(&renamed(POD)).await.expect_success();
    }
    for pod in ["app-1", "app-2"] {
        scenario.running(pod).await;
    }
    let first = scenario.credentials("binding-1").await;
    let second = scenario.credentials("binding-2").await;
    assert_ne!(first.get("username"), second.get("username"));
    assert_eq!(first.get("database"), second.get("database"));

    scenario.sql("app-1", "create table mine (id int); insert into mine values (1)").await.expect_success();
    scenario
        .sql("app-2", "alter table mine add note text; insert into mine values (2, 'second')")
        .await
        .expect_success();
    scenario.kubectl(&["delete", "servicebinding", "binding-1", "--timeout=60s"]).await.expect_success();
    scenario.sql("app-1", "select 1").await.expect_failure();
    let count =
        scenario.sql("app-2", "insert into mine values (3, 'alone'); select count(*) from mine").await;
    assert_eq!(count.expect_success().trim(), "3");
    scenario.finish(&[&first, &second]).await;
}

#[tokio::test]
async fn one_tenant_cannot_enter_anothers_database() {
    let (left, right) = (Scenario::new("left").await, Scenario::new("right").await);
    for scenario in [&left, &right] {
        scenario.apply(INSTANCE).await.expect_success();
        scenario.apply(BINDING).await.expect_success();
    }
    let (ours, theirs) =
        (left.credentials("mydb01-binding").await, right.credentials("mydb01-binding").await);
    left.apply(POD).await.expect_success();
    left.running("client-app01").await;
    let trespass = format!(
        "psql -qtA \"${{COCKROACH_URL%/*}}/{}?sslmode=require\" -c 'select 1'",
        theirs.get("database")
    );
    let refused = left.exec("client-app01", &["sh", "-c", &trespass]).await.expect_failure();
    assert!(refused.contains("permission denied for database"), "{refused}");
    left.finish(&[&ours]).await;
    right.finish(&[&theirs]).await;
}

#[tokio::test]
async fn a_vanished_namespace_leaves_nothing() {
    let scenario = Scenario::new("vanishing").await;
    for manifest in [INSTANCE, BINDING, POD] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    crate::installation::kubectl(&["delete", "namespace", &scenario.namespace, "--timeout=120s"]).await;
    scenario.nothing_left(&[&credentials]).await;
}

/// The URL names the CA's file, and the pod has that file.
#[tokio::test]
async fn a_verifying_plan_works_with_only_the_url() {
    let scenario = Scenario::new("verified").await;
    let instance = INSTANCE.replace("PlanExternalName: default", "PlanExternalName: verified");
    for manifest in [&instance, BINDING, POD] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    let uri = credentials.get("uri");
    assert!(uri.ends_with("?sslmode=verify-full&sslrootcert=/var/secrets/mydb01-binding/ca.crt"), "{uri}");
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    scenario.finish(&[&credentials]).await;
}
