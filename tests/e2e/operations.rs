//! What operators see: health and metrics of every role, read through the API server as with `kubectl`.

use kube::ResourceExt;

use crate::{
    installation::{NAMESPACE, RELEASE, kubectl},
    scenario::{BINDING, INSTANCE, POD, Scenario, run},
};

#[tokio::test]
async fn every_role_reports_health_and_metrics() {
    let scenario = Scenario::new("operations").await;
    for manifest in [INSTANCE, BINDING, POD] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;

    for (role, lines) in [
        (
            "admission",
            [
                r#"bindery_admissions_total{outcome="injected"}"#,
                r#"bindery_certificate_expiry_timestamp_seconds{name="admission"}"#,
            ],
        ),
        (
            "broker",
            [
                r#"bindery_osb_requests_total{verb="bind",result="#,
                r#"bindery_certificate_expiry_timestamp_seconds{name="broker"}"#,
            ],
        ),
        (
            "catalog",
            [
                r#"bindery_reconcile_duration_seconds_count{kind="ServiceBinding"}"#,
                r#"bindery_reconcile_errors_total{kind="ServiceBinding"}"#,
            ],
        ),
    ] {
        let metrics = metrics_of(&scenario, role).await;
        for line in lines {
            assert!(metrics.contains(line), "{line} is not in the metrics of {role}:\n{metrics}");
        }
        let password = credentials.get("password");
        assert!(
            !metrics.contains(&password) && !logs_of(role).await.contains(&password),
            "{role} shows a password"
        );
    }
    scenario.finish(&[&credentials]).await;
}

/// The metrics of all pods of a role, which must be healthy and ready.
async fn metrics_of(scenario: &Scenario, role: &str) -> String {
    let mut metrics = String::new();
    for pod in scenario.installation.pods(role).await {
        let port = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:9090/proxy", pod.name_any());
        for path in ["/healthz", "/readyz"] {
            assert_eq!(
                kubectl(&["get", "--raw", &format!("{port}{path}")]).await.trim(),
                "ok",
                "{role}{path}"
            );
        }
        metrics.push_str(&kubectl(&["get", "--raw", &format!("{port}/metrics")]).await);
    }
    metrics
}

async fn logs_of(role: &str) -> String {
    let selector = format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={role}");
    kubectl(&["--namespace", NAMESPACE, "logs", "--selector", &selector, "--tail=-1"]).await
}

/// The new password is in the Secret, the kubelet brings it to the broker's volume, and the server accepts only the
/// new one.
#[tokio::test]
async fn the_administrators_password_is_changed_in_its_secret() {
    let scenario = Scenario::alone("rotated").await;
    let in_release = ["--namespace", NAMESPACE];
    let read = async || {
        let path = ["get", "secret", "main-admin", "--output=jsonpath={.data}"];
        kubectl(&[&in_release[..], &path].concat()).await
    };
    let before: serde_json::Value = serde_json::from_str(&read().await).unwrap();
    let broker = format!("{RELEASE}-broker-0");
    let rotate = [
        "exec",
        &broker,
        "--",
        "bindery",
        "rotate-admin",
        "--backend=main",
        "--secret=main-admin",
        "--settle=1s",
    ];
    let said = kubectl(&[&in_release[..], &rotate].concat()).await;
    assert!(said.contains("backend main"), "{said}");
    let after: serde_json::Value = serde_json::from_str(&read().await).unwrap();
    assert_ne!(before["password"], after["password"]);
    assert!(after["password.next"].is_null(), "it has taken the former's place");

    // The volume still has both passwords; a broker that starts now finds the valid one.
    scenario.installation.kill("broker").await;
    scenario.installation.recovered().await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    let wrong = [&rotate[..5], &["--backend=main", "--secret=e2e-broker"]].concat();
    let refused = run("kubectl", &[&in_release[..], &wrong].concat(), "").await.expect_failure();
    assert!(refused.contains("e2e-broker"), "{refused}");
    scenario.finish(&[&credentials]).await;
}
