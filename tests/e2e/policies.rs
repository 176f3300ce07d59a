//! The installed controller of policies: its account has the rights that it needs, and the policies hold without it.

use bindery_test_support::cluster;

use crate::scenario::{LIMIT, Scenario};

const POLICY: &str = "
apiVersion: bindery.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: NAMESPACE}
spec:
  mode: Enforce
  scope: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}
  rules: {filesOnly: {}, noRandomValues: {}}
";

/// The webhook judges this one.
const RANDOM: &str = "
apiVersion: v1
kind: Pod
metadata: {name: random}
spec:
  containers: [{name: app, image: app, env: [{name: SIGNING_KEY, value: kq3vz9xw7bm2tj5hx8}]}]
";

/// No node has the label, so the pod waits for ever.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeSelector: {none: none}
  containers: [{name: app, image: app, envFrom: [{secretRef: {name: db}}]}]
";

async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    cluster::until(LIMIT, what, condition).await;
}

#[tokio::test]
async fn installed_policies_are_audited_and_hold_without_bindery() {
    let scenario = Scenario::alone("policies").await;
    let name = scenario.namespace.clone();
    scenario.apply(&POD.replace("NAME", "old")).await.expect_success();
    scenario.installation.upgrade(&["enforcement.enabled=true"]).await;
    scenario.apply(&POLICY.replace("NAMESPACE", &name)).await.expect_success();
    let is_refused_by = async |rule: &str, pod: &str| {
        let new = ["create", "--dry-run=server", "-f", "-"];
        let output = scenario.kubectl_with_input(&new, pod).await;
        !output.success && output.all().contains(rule)
    };
    let is_refused = async || is_refused_by("[filesOnly]", &POD.replace("NAME", "new")).await;
    until("the policy holds", is_refused).await;
    until("the webhook judges", async || is_refused_by("[noRandomValues]", RANDOM).await).await;
    let status = async |path: &str| {
        let path = format!("jsonpath={{.status.{path}}}");
        scenario.kubectl(&["get", "credentialpolicy", &name, "--output", &path]).await.stdout
    };
    until("the pod that is older is counted", async || status("audit.violations").await == "1").await;
    // Until its roles reach the API server, the account may not read every kind.
    let reason = async || status("conditions[?(@.type==\"Audited\")].reason").await;
    until("every kind is read", async || reason().await == "NoReportKind").await;
    assert_eq!(status("audit.namespaces[0].namespace").await, name);
    assert_eq!(status("rules[*].engine").await, "Webhook ApiServer");
    let ready = async || status("conditions[?(@.type==\"Ready\")].reason").await;
    until("the webhook's registration is seen", async || ready().await == "Enforced").await;

    scenario.installation.scale("deployment/e2e-enforcement", 0).await;
    assert!(is_refused().await, "the API server holds the policy by itself");
    scenario.kubectl(&["delete", "credentialpolicy", &name]).await.expect_success();
    until("the policy ends with its object, also without bindery", async || !is_refused().await).await;
    scenario.installation.upgrade(&["enforcement.enabled=false"]).await;
    scenario.finish(&[]).await;
}
