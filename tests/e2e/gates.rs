//! Pods that wait behind a scheduling gate for their bindings, with a real scheduler and kubelet.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    installation::{NAMESPACE, RELEASE},
    scenario::{BINDING, INSTANCE, LIMIT, POD, Scenario, run},
};

/// The kubelet retries a missing Secret after 15.5 s and then after 31.5 s. Without the gate, a pod whose Secret
/// appears after this time would start more than 10 s later.
const LONG: Duration = Duration::from_secs(18);
/// From the Secret to the running container: scheduling, volumes and the container's start, on a busy machine. Without the
/// gate it would be more than 10 s.
const SOON: Duration = Duration::from_secs(9);
/// From the pod, or from its Secrets, to the open gate. A busy scheduler and kubelet have no part in it.
const AT_ONCE: Duration = Duration::from_secs(5);

fn gates(pod: &Pod) -> Vec<&str> {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref());
    gates.unwrap_or_default().iter().map(|gate| gate.name.as_str()).collect()
}

fn is_gated(pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| gates(pod) == ["bindery.dev/binding"])
}

/// Waits until the pod has no gate, and checks that this took no longer than bindery may take.
async fn until_open(scenario: &Scenario, name: &str, since: Instant) {
    let is_open = |pod: Option<&Pod>| pod.is_some_and(|pod| gates(pod).is_empty());
    scenario.until::<Pod>(name, "without a gate", is_open).await;
    assert!(since.elapsed() < AT_ONCE, "the gate of {name} was open after {:?}", since.elapsed());
}

/// The pod after a dry run.
async fn shown(scenario: &Scenario, manifest: &str) -> Pod {
    let arguments = ["create", "--dry-run=server", "--output=json", "-f", "-"];
    let shown = scenario.kubectl_with_input(&arguments, manifest).await.expect_success();
    serde_json::from_str(&shown).unwrap()
}

/// Waits until pods of a missing binding get a gate, or no gate any more: the webhook checks at intervals whether a
/// catalog runs.
async fn until_gated(scenario: &Scenario, gated: bool) {
    let pod = POD.replace("mydb01-binding", "nobody").replace("name: client-app01", "name: shown");
    let wait = async {
        while is_gated(Some(&shown(scenario, &pod).await)) != gated {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("gated is not {gated}"));
}

/// Creates a waiting pod. If a webhook server does not know yet that a catalog runs, the pod is created again.
async fn waiting(scenario: &Scenario, name: &str) {
    let make = async {
        loop {
            scenario
                .apply(&POD.replace("name: client-app01", &format!("name: {name}")))
                .await
                .expect_success();
            if is_gated(Some(&scenario.api::<Pod>().get(name).await.unwrap())) {
                return;
            }
            scenario.kubectl(&["delete", "pod", name, "--grace-period=1"]).await.expect_success();
        }
    };
    timeout(LIMIT, make).await.unwrap_or_else(|_| panic!("{name} gets no gate"));
}

#[tokio::test]
async fn a_pod_whose_secret_comes_late_starts_with_it() {
    let scenario = Scenario::new("late").await;
    scenario.apply(BINDING).await.expect_success();
    waiting(&scenario, "client-app01").await;
    let described = scenario.kubectl(&["get", "pod", "client-app01"]).await.expect_success();
    assert!(described.contains("SchedulingGated"), "{described}");
    // There is no condition to wait for: the test needs the waiting time itself.
    tokio::time::sleep(LONG).await;
    scenario.apply(INSTANCE).await.expect_success();
    scenario.until::<Secret>("mydb01-binding", "there", |secret: Option<&Secret>| secret.is_some()).await;
    let written = Instant::now();
    scenario.running("client-app01").await;
    let took = written.elapsed();
    println!("running {} ms after its Secret", took.as_millis());
    assert!(took < SOON, "running {took:?} after its Secret");
    let credentials = scenario.credentials("mydb01-binding").await;
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    scenario.finish(&[&credentials]).await;
}

const RESTORED: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: mydb01-binding-env}
stringData: {COCKROACH_URL: none}
---
apiVersion: v1
kind: Secret
metadata: {name: mydb01-binding}
stringData: {uri: none}
";

/// As after a restore from a backup: bindery did not write these Secrets, so no binding reports them.
#[tokio::test]
async fn the_gate_of_a_pod_with_existing_secrets_is_opened_at_once() {
    let scenario = Scenario::new("restored").await;
    scenario.apply(RESTORED).await.expect_success();
    let before = Instant::now();
    scenario.apply(POD).await.expect_success();
    until_open(&scenario, "client-app01", before).await;
    scenario.running("client-app01").await;
    // bindery also looks for Secrets that appear after the pod.
    scenario.kubectl(&["delete", "secret", "mydb01-binding"]).await.expect_success();
    waiting(&scenario, "second").await;
    scenario.apply(RESTORED).await.expect_success();
    until_open(&scenario, "second", Instant::now()).await;
    scenario.running("second").await;
    scenario.kubectl(&["delete", "secrets", "--all"]).await.expect_success();
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn without_a_catalog_no_pod_is_gated() {
    let scenario = Scenario::alone("uncatalogued").await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    scenario.installation.scale("deployment/e2e-catalog", 0).await;
    // The Secrets exist, so there is no gate, however long the catalog has been away.
    scenario.apply(POD).await.expect_success();
    let pod = scenario.api::<Pod>().get("client-app01").await.unwrap();
    assert!(gates(&pod).is_empty(), "{:?}", gates(&pod));
    scenario.running("client-app01").await;
    until_gated(&scenario, false).await;
    scenario.installation.scale("deployment/e2e-catalog", 2).await;
    until_gated(&scenario, true).await;
    scenario.finish(&[&credentials]).await;
}

#[tokio::test]
async fn an_uninstall_opens_all_gates() {
    let scenario = Scenario::alone("let-go").await;
    waiting(&scenario, "client-app01").await;
    // Uninstalls an installation that is already gone, so that this one stays.
    let program = env!("CARGO_BIN_EXE_bindery");
    let said = run(program, &["uninstall", "--force", "--name=gone"], "").await.expect_success();
    // Pods of other scenarios may wait as well.
    let opened = said.trim_end().rsplit_once("gates of waiting pods: ").unwrap().1;
    assert!(opened.parse::<usize>().unwrap() >= 1, "{said}");
    let pod = scenario.api::<Pod>().get("client-app01").await.unwrap();
    assert!(gates(&pod).is_empty(), "{:?}", gates(&pod));
    scenario.finish(&[]).await;
}

const HELD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: held, labels: {app: held}, annotations: {bindery.dev/bind: nobody}}
spec:
  schedulingGates: [{name: example.com/quota}, {name: bindery.dev/binding}]
  containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]
";

/// Access to the cluster with the catalog's rights.
async fn as_the_catalog() -> Client {
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:{RELEASE}-catalog"));
    Client::try_from(config).unwrap()
}

/// The right to patch pods only allows opening bindery's gate.
#[tokio::test]
async fn the_catalog_may_change_only_the_gate_of_a_pod() {
    let scenario = Scenario::new("confined").await;
    scenario.apply(HELD).await.expect_success();
    let pods: Api<Pod> = Api::namespaced(as_the_catalog().await, &scenario.namespace);
    for change in [
        json!({"spec": {"containers": [{"name": "main", "image": "other"}]}}),
        json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
        json!({"metadata": {"labels": {"app": "other"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": "example.com/quota"}]}}),
    ] {
        let refused =
            pods.patch("held", &PatchParams::default(), &Patch::Strategic(&change)).await.unwrap_err();
        assert!(refused.to_string().contains("bindery's catalog may"), "{change}: {refused}");
    }
    let gate = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": "bindery.dev/binding"}]}});
    let opened = pods.patch("held", &PatchParams::default(), &Patch::Strategic(&gate)).await.unwrap();
    assert_eq!(gates(&opened), ["example.com/quota"]);
    scenario.finish(&[]).await;
}
