//! Injection by the API server itself: with all of bindery scaled to zero, a new annotated pod is bound and uses its credentials.

use crate::scenario::{BINDING, INSTANCE, POD, Scenario};

const WORKLOADS: [(&str, usize); 3] =
    [("deployment/e2e-admission", 2), ("deployment/e2e-catalog", 2), ("statefulset/e2e-broker", 1)];

#[tokio::test]
async fn a_pod_is_bound_while_bindery_is_away() {
    let scenario = Scenario::alone("native").await;
    scenario.installation.upgrade(&["admission.native=auto"]).await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    for (workload, _) in WORKLOADS {
        scenario.installation.scale(workload, 0).await;
    }
    scenario.apply(POD).await.expect_success();
    scenario.running("client-app01").await;
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    let password = scenario.exec("client-app01", &["cat", "/var/secrets/mydb01-binding/password"]).await;
    assert_eq!(password.expect_success(), credentials.get("password"));
    let other = POD.replace("client-app01", "unbound").replace("bindery.dev/bind", "example.com/bind");
    scenario.apply(&other).await.expect_success();
    scenario.running("unbound").await;
    let variables = scenario.exec("unbound", &["env"]).await.expect_success();
    assert!(!variables.contains("COCKROACH_URL"), "{variables}");

    for (workload, replicas) in WORKLOADS {
        scenario.installation.scale(workload, replicas).await;
    }
    scenario.installation.upgrade(&["admission.native=off"]).await;
    scenario.finish(&[&credentials]).await;
}
