//! Kills bindery (-9) at four points of a branch's life. As in `crash`, something stops bindery at the right moment:
//! a lock in the database, or a policy of the API server that refuses bindery's next step.

use std::time::{Duration, Instant};

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use kube::Api;
use tokio::time::sleep;

use super::{Branches, DEFAULT};
use crate::{
    crash::kill_while_waiting,
    installation::kubectl,
    scenario::{LIMIT, Scenario, run},
};

/// A policy that refuses one operation on one kind in the namespaces of a test.
struct Forbidden {
    name: String,
}

impl Forbidden {
    /// Creates the policy and waits until `tried`, a command in the namespace, is refused.
    async fn start(branches: &Branches, operation: &str, resource: &str, tried: (&[&str], &str)) -> Self {
        let name = branches.name.clone();
        let manifest = format!(
            r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {{apiGroups: [servicecatalog.k8s.io], apiVersions: [v1beta1], operations: [{operation}], resources: [{resource}]}}
  validations: [{{expression: '!request.namespace.startsWith("{name}-")', message: not now}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"#
        );
        branches.scenario.apply(&manifest).await.expect_success();
        let started = Instant::now();
        while run("kubectl", tried.0, tried.1).await.success {
            assert!(started.elapsed() < LIMIT, "{operation} is not refused");
            sleep(Duration::from_millis(100)).await;
        }
        Self { name }
    }

    async fn end(self) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            kubectl(&["delete", kind, &self.name]).await;
        }
    }
}

impl Branches {
    fn instances(&self, namespace: &str) -> Api<ServiceInstance> {
        Api::namespaced(self.scenario.client.clone(), namespace)
    }

    fn bindings(&self, namespace: &str) -> Api<ServiceBinding> {
        Api::namespaced(self.scenario.client.clone(), namespace)
    }

    /// Kills the catalog, and waits until another one is active.
    async fn kill_catalog(&self) {
        self.scenario.installation.kill("catalog").await;
        self.scenario.installation.recovered().await;
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "{what} does not happen");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn killed_while_a_branchs_database_is_made() {
    let branches = Branches::start(Scenario::alone("branch-killed-making").await, DEFAULT).await;
    let mut namespace = String::new();
    kill_while_waiting(branches.scenario.installation, async || namespace = branches.branch("a").await).await;
    branches.wait(&namespace).await.expect_success();
    branches.running(&namespace).await;
    let answer = branches.sql(&namespace, "$DATABASE_URL", "select 42").await;
    assert_eq!(answer.expect_success().trim(), "42");
    assert_eq!(branches.databases(), ["1"]);
    branches.ends(&namespace).await;
}

#[tokio::test]
async fn killed_while_a_branchs_user_is_removed() {
    let branches = Branches::start(Scenario::alone("branch-killed-removing").await, DEFAULT).await;
    let namespace = branches.branch("a").await;
    branches.running(&namespace).await;
    kill_while_waiting(branches.scenario.installation, async || branches.delete(&namespace).await).await;
    branches.ended(&namespace).await;
}

#[tokio::test]
async fn killed_between_a_branchs_instance_and_its_binding() {
    let branches = Branches::start(Scenario::alone("branch-killed-between").await, DEFAULT).await;
    let namespace = format!("{}-a", branches.name);
    kubectl(&["create", "namespace", &namespace]).await;
    let binding = "{apiVersion: servicecatalog.k8s.io/v1beta1, kind: ServiceBinding, metadata: {name: tried}, \
         spec: {instanceRef: {name: tried}}}";
    let tried = ["--namespace", &namespace, "create", "--dry-run=server", "-f", "-"];
    let forbidden = Forbidden::start(&branches, "CREATE", "servicebindings", (&tried, binding)).await;
    kubectl(&["label", "namespace", &namespace, &format!("branches-of={}", branches.name)]).await;
    until("the refusal", async || {
        let told = kubectl(&["get", "events", "--namespace", &namespace]).await;
        told.contains("Refused").then_some(())
    })
    .await;
    let made = branches.instances(&namespace).get("db").await.unwrap();
    branches.kill_catalog().await;
    forbidden.end().await;
    // The refusal stands until the controller retries.
    until("the binding", async || branches.wait(&namespace).await.success.then_some(())).await;
    let instance = branches.instances(&namespace).get("db").await.unwrap();
    assert_eq!(instance.metadata.uid, made.metadata.uid, "the instance is the one that was made before");
    assert_eq!(branches.databases(), ["1"]);
    branches.ends(&namespace).await;
}

#[tokio::test]
async fn killed_between_the_ends_of_a_branchs_binding_and_its_instance() {
    let spec = format!("{DEFAULT}\n  gracePeriod: 1s");
    let branches = Branches::start(Scenario::alone("branch-killed-leaving").await, &spec).await;
    let namespace = branches.branch("a").await;
    branches.wait(&namespace).await.expect_success();
    let tried = ["--namespace", &namespace, "delete", "serviceinstance", "db", "--dry-run=server"];
    let forbidden = Forbidden::start(&branches, "DELETE", "serviceinstances", (&tried, "")).await;
    kubectl(&["label", "namespace", &namespace, "branches-of-"]).await;
    until("the binding's end", async || {
        branches.bindings(&namespace).get_opt("db").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(branches.instances(&namespace).get_opt("db").await.unwrap().is_some());
    branches.kill_catalog().await;
    forbidden.end().await;
    until("the instance's end", async || {
        branches.instances(&namespace).get_opt("db").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(branches.databases(), ["0"], "while the namespace is still there");
    branches.ends(&namespace).await;
}
