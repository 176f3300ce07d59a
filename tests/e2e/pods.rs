//! Pods after creation: events say what they wait for, and missed pods are found and, if the Namespace asks for it,
//! replaced.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Pod, events::v1::Event,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use tokio::time::timeout;

use crate::{
    installation::RELEASE,
    scenario::{BINDING, INSTANCE, LIMIT, POD, Scenario},
};

/// Waits for an event on an object with this reason and text, and returns the whole message.
async fn told(scenario: &Scenario, kind: &str, name: &str, reason: &str, what: &str) -> String {
    let wait = async {
        loop {
            let events = scenario.api::<Event>().list(&ListParams::default()).await.unwrap();
            let is_it = |event: &Event| {
                let about = event.regarding.clone().unwrap_or_default();
                event.reason.as_deref() == Some(reason)
                    && (about.kind.as_deref(), about.name.as_deref()) == (Some(kind), Some(name))
                    && event.note.as_ref().is_some_and(|note| note.contains(what))
            };
            if let Some(event) = events.into_iter().find(is_it) {
                return event.note.unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match timeout(LIMIT, wait).await {
        Ok(note) => note,
        Err(_) => {
            let all = scenario.kubectl(&["get", "events"]).await.all();
            panic!("{kind} {name} is not told {reason}, {what}, but:\n{all}")
        }
    }
}

#[tokio::test]
async fn a_pod_before_its_binding_gets_a_suggested_name_and_starts_with_the_binding() {
    let scenario = Scenario::new("nearest").await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    let misspelt = |manifest: &str| manifest.replace("mydb01-binding", "mydb01-bindign");
    scenario.apply(&misspelt(POD)).await.expect_success();
    let note = told(&scenario, "Pod", "client-app01", "BindingMissing", "mydb01-bindign").await;
    assert!(note.ends_with("did you mean \"mydb01-binding\"?"), "{note}");
    scenario.apply(&misspelt(BINDING)).await.expect_success();
    scenario.running("client-app01").await;
    let others = scenario.credentials("mydb01-bindign").await;
    scenario.finish(&[&credentials, &others]).await;
}

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {bindery.dev/bind: mydb01-binding}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]
";

/// The number of the Deployment's pods that are not terminating, and of those that are bound and running.
async fn pods(scenario: &Scenario) -> (usize, usize) {
    let pods = scenario.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap();
    let pods: Vec<Pod> = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    let is_bound = |pod: &&Pod| pod.spec.as_ref().unwrap().containers[0].env_from.is_some();
    let runs =
        |pod: &&Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    (pods.len(), pods.iter().filter(is_bound).filter(runs).count())
}

/// The API server learns a moment later that the configuration is gone.
async fn until_pods_are_let_pass(scenario: &Scenario) {
    let wait = async {
        let arguments = ["apply", "--dry-run=server", "--output=json", "-f", "-"];
        loop {
            let shown = scenario.kubectl_with_input(&arguments, POD).await.expect_success();
            let pod: Pod = serde_json::from_str(&shown).unwrap();
            if pod.spec.unwrap().containers[0].env_from.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, wait).await.expect("nobody binds pods any more");
}

/// Removes the webhook configuration until this is dropped. It is restored even if the test fails, because other
/// scenarios need it.
struct WithoutWebhook(MutatingWebhookConfiguration);

impl WithoutWebhook {
    async fn new(scenario: &Scenario) -> Self {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(scenario.client.clone());
        let mut configuration = configurations.get(RELEASE).await.unwrap();
        configurations.delete(RELEASE, &DeleteParams::default()).await.unwrap();
        configuration.metadata.resource_version = None;
        configuration.metadata.uid = None;
        Self(configuration)
    }
}

impl Drop for WithoutWebhook {
    fn drop(&mut self) {
        let kubectl = Command::new("kubectl").args(["create", "-f", "-"]).stdin(Stdio::piped()).spawn();
        let mut kubectl = kubectl.expect("kubectl, as before");
        serde_json::to_writer(kubectl.stdin.take().expect("piped"), &self.0).expect("a manifest");
        let is_back = kubectl.wait().is_ok_and(|status| status.success());
        assert!(is_back || std::thread::panicking(), "the webhook configuration could not be put back");
    }
}

#[tokio::test]
async fn missed_pods_are_found_reported_and_evicted_if_the_namespace_asks_for_it() {
    let scenario = Scenario::alone("missed").await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    let away = WithoutWebhook::new(&scenario).await;
    until_pods_are_let_pass(&scenario).await;
    scenario.apply(DEPLOYMENT).await.expect_success();
    let note = told(&scenario, "Deployment", "web", "BindingMissed", "asks for mydb01-binding").await;
    let remedy = format!("kubectl rollout restart deployment/web -n {}", scenario.namespace);
    assert!(note.ends_with(&remedy), "{note}");

    drop(away);
    let evict = ["annotate", "namespace", &scenario.namespace, "bindery.dev/missed-pods=evict"];
    scenario.kubectl(&evict).await.expect_success();
    let replaced = async {
        while pods(&scenario).await != (2, 2) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(LIMIT, replaced).await.is_err() {
        let state = scenario.kubectl(&["get", "pods,events"]).await.all();
        panic!("the pods were not replaced by bound ones:\n{state}");
    }
    for pod in scenario.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap() {
        if pod.metadata.deletion_timestamp.is_none() {
            let url = scenario.exec(&pod.name_any(), &["sh", "-c", "echo \"$COCKROACH_URL\""]).await;
            assert_eq!(url.expect_success().trim_end(), credentials.get("uri"));
        }
    }
    scenario.kubectl(&["delete", "deployment", "web"]).await.expect_success();
    scenario.finish(&[&credentials]).await;
}
