//! Namespaces of feature branches, each with a database, in a real cluster with real pods and data.

mod killed;

use std::time::{Duration, Instant};

use bindery::apis::servicecatalog::ExternalResource;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::ListParams};
use tokio::time::sleep;

use crate::{
    installation::kubectl,
    scenario::{LIMIT, Output, Scenario, run},
};

/// A plain database.
const DEFAULT: &str =
    "  clusterServiceClassExternalName: cockroachdb\n  clusterServicePlanExternalName: default";

/// A NamespaceBinding for the branches of one test, which share a label.
struct Branches {
    /// A scenario that none of the branches uses; it holds the turn.
    scenario: Scenario,
    name: String,
}

impl Branches {
    async fn start(scenario: Scenario, spec: &str) -> Self {
        let name = scenario.namespace.clone();
        let manifest = format!(
            r"
apiVersion: bindery.dev/v1alpha1
kind: NamespaceBinding
metadata: {{name: {name}}}
spec:
  namespaceSelector: {{matchLabels: {{branches-of: {name}}}}}
  bindingName: db
  env: DATABASE_URL=uri
  defaultForPods: true
{spec}
"
        );
        scenario.apply(&manifest).await.expect_success();
        Self { scenario, name }
    }

    /// Creates a namespace and a pod in it with one apply. The pod does not mention a database.
    async fn branch(&self, suffix: &str) -> String {
        let namespace = format!("{}-{suffix}", self.name);
        let manifest = format!(
            r"
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{branches-of: {}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: app, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: app, image: 'cockroachdb/cockroach:v2.0.3', imagePullPolicy: IfNotPresent, command: [sleep, '3600']}}
",
            self.name
        );
        // The default service account takes a moment; `kubectl apply` does not wait for it.
        let started = Instant::now();
        loop {
            let applied = run("kubectl", &["apply", "-f", "-"], &manifest).await;
            if applied.success {
                return namespace;
            }
            let is_early = applied.stderr.contains("serviceaccount \"default\" not found");
            assert!(is_early && started.elapsed() < LIMIT, "{}", applied.all());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// `bindery wait`, as in CI.
    async fn wait(&self, namespace: &str) -> Output {
        bindery(&["wait", "--namespace", namespace, "--timeout", "2m"]).await
    }

    async fn running(&self, namespace: &str) {
        let condition = ["wait", "pod/app", "--for=condition=Ready", "--timeout=120s"];
        kubectl(&[&["--namespace", namespace], &condition[..]].concat()).await;
    }

    async fn sql(&self, namespace: &str, url: &str, sql: &str) -> Output {
        let script = format!("psql --no-psqlrc -qtA -v ON_ERROR_STOP=1 \"{url}\" -c {sql:?}");
        run("kubectl", &["--namespace", namespace, "exec", "app", "--", "sh", "-c", &script], "").await
    }

    async fn delete(&self, namespace: &str) {
        kubectl(&["delete", "namespace", namespace, "--wait=false"]).await;
    }

    /// Waits until the namespace is gone, and returns how long that took.
    async fn gone(&self, namespace: &str) -> Duration {
        let started = Instant::now();
        let api: Api<Namespace> = Api::all(self.scenario.client.clone());
        while api.get_opt(namespace).await.unwrap().is_some() {
            assert!(started.elapsed() < LIMIT, "{namespace} does not go");
            sleep(Duration::from_millis(100)).await;
        }
        started.elapsed()
    }

    async fn external_resources(&self, namespace: &str) -> usize {
        let external_resources = Api::<ExternalResource>::all(self.scenario.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        external_resources
            .iter()
            .filter(|external_resource| external_resource.spec.namespace == namespace)
            .count()
    }

    async fn settled(&self, namespace: &str) {
        let started = Instant::now();
        while self.external_resources(namespace).await > 0 {
            assert!(started.elapsed() < LIMIT * 2, "ExternalResources of {namespace} are not settled");
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn databases(&self) -> Vec<String> {
        let count = "select count(*) from pg_database where datname like 'cf\\_%'";
        self.scenario.installation.postgres.psql(count)
    }

    /// Deletes the branch and checks that nothing is left.
    async fn ends(self, namespace: &str) {
        self.delete(namespace).await;
        self.ended(namespace).await;
    }

    /// Checks that nothing is left of a deleted branch.
    async fn ended(self, namespace: &str) {
        self.gone(namespace).await;
        self.settled(namespace).await;
        assert_eq!(self.databases(), ["0"]);
        self.finish().await;
    }

    async fn finish(self) {
        kubectl(&["delete", "namespacebinding", &self.name]).await;
        let installation = self.scenario.installation;
        self.scenario
            .finish_with(&[], async || {
                let report = installation.sweep().await;
                assert!(report.contains("nothing left over"), "{report}");
            })
            .await;
    }
}

async fn bindery(arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_bindery"), arguments, "").await
}

#[tokio::test]
async fn a_branch_has_its_own_data_until_it_is_deleted() {
    let scenario = Scenario::alone("branch-life").await;
    let postgres = &scenario.installation.postgres;
    postgres.psql("create database branch_demo owner bindery");
    let fill = "set role bindery; create table greetings as select 'hello' as word";
    postgres.psql_in("branch_demo", fill);
    let branches =
        Branches::start(scenario, "  clusterServiceClassExternalName: postgresql\n  template: demo").await;

    let namespace = branches.branch("a").await;
    let waited = branches.wait(&namespace).await;
    assert!(waited.success && waited.stderr.contains("ready"), "{}", waited.all());
    branches.running(&namespace).await;
    let word = branches.sql(&namespace, "$DATABASE_URL", "select word from greetings").await;
    assert_eq!(word.expect_success().trim(), "hello");
    let counted = kubectl(&["get", "nsb", &branches.name, "--no-headers"]).await;
    assert!(counted.split_whitespace().nth(2) == Some("1"), "{counted}");
    let listed = bindery(&["namespaces", "--namespace", &namespace]).await.expect_success();
    assert!(listed.contains("Ready") && listed.contains("never"), "{listed}");

    branches.delete(&namespace).await;
    branches.gone(&namespace).await;
    branches.settled(&namespace).await;
    let postgres = &branches.scenario.installation.postgres;
    assert_eq!(branches.databases(), ["0"]);
    postgres.psql("drop database branch_demo");
    branches.finish().await;
}

#[tokio::test]
async fn a_branch_cannot_enter_anothers_database() {
    let branches = Branches::start(Scenario::new("branch-apart").await, DEFAULT).await;
    let (left, right) = (branches.branch("left").await, branches.branch("right").await);
    for namespace in [&left, &right] {
        branches.running(namespace).await;
    }
    let theirs = branches.sql(&right, "$DATABASE_URL", "select current_database()").await.expect_success();
    let url = format!("${{DATABASE_URL%/*}}/{}?sslmode=require", theirs.trim());
    let refused = branches.sql(&left, &url, "select 1").await.expect_failure();
    assert!(refused.contains("permission denied for database"), "{refused}");
    for namespace in [&left, &right] {
        branches.delete(namespace).await;
        branches.gone(namespace).await;
    }
    branches.finish().await;
}

#[tokio::test]
async fn a_branch_is_deleted_while_the_database_is_down() {
    let branches = Branches::start(Scenario::alone("branch-down").await, DEFAULT).await;
    let namespace = branches.branch("a").await;
    branches.running(&namespace).await;
    let postgres = &branches.scenario.installation.postgres;
    postgres.stop();
    branches.delete(&namespace).await;
    let took = branches.gone(&namespace).await;
    let left = branches.external_resources(&namespace).await;
    postgres.start_again();
    assert!(took < Duration::from_mins(1), "{took:?}");
    assert_eq!(left, 2, "what is left to do is known");
    branches.settled(&namespace).await;
    assert_eq!(branches.databases(), ["0"]);
    branches.finish().await;
}

/// Catalog and webhook are away while one branch is created and another deleted; both complete afterwards. Kubernetes
/// deletes pods before everything else, so a pod that does not end keeps its database and can use it.
#[tokio::test]
async fn branches_are_created_and_deleted_while_bindery_is_down() {
    let branches = Branches::start(Scenario::alone("branch-away").await, DEFAULT).await;
    let going = branches.branch("going").await;
    branches.running(&going).await;
    let stuck = r#"{"metadata": {"finalizers": ["example.com/stuck"]}}"#;
    kubectl(&["--namespace", &going, "patch", "pod", "app", "--type=merge", "--patch", stuck]).await;
    let installation = branches.scenario.installation;
    for role in ["catalog", "admission"] {
        installation.scale(&format!("deployment/e2e-{role}"), 0).await;
    }
    branches.delete(&going).await;
    let coming = format!("{}-coming", branches.name);
    let manifest = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {coming}, labels: {{branches-of: {}}}}}}}",
        branches.name
    );
    let made = run("kubectl", &["apply", "-f", "-"], &manifest).await;
    for role in ["admission", "catalog"] {
        installation.scale(&format!("deployment/e2e-{role}"), 2).await;
    }
    made.expect_success();
    branches.wait(&coming).await.expect_success();
    let namespace = Api::<Namespace>::all(branches.scenario.client.clone()).get(&coming).await.unwrap();
    assert_eq!(namespace.annotations()["bindery.dev/bind"], "db", "said in it afterwards");

    assert_eq!(
        branches.external_resources(&going).await,
        2,
        "the pod that does not end still has its database"
    );
    let free = r#"{"metadata": {"finalizers": null}}"#;
    kubectl(&["--namespace", &going, "patch", "pod", "app", "--type=merge", "--patch", free]).await;
    branches.gone(&going).await;
    branches.settled(&going).await;
    branches.delete(&coming).await;
    branches.gone(&coming).await;
    branches.finish().await;
}
