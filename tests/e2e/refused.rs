//! Owners whose pods are refused while the webhook is away.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, api::ListParams};
use tokio::time::{Instant, timeout};

use crate::scenario::{LIMIT, Scenario};

/// From a ready webhook to all pods running.
const SOON: Duration = Duration::from_secs(10);

/// One owner of each kind, and the objects that they need.
const SECRET_AND_JOB: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: plain}
stringData: {key: value}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  template:
    metadata: {labels: {app: job}, annotations: {bindery.dev/bind: secret/plain}}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]
";

const APP: &str = r"
---
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}, annotations: {bindery.dev/bind: secret/plain}}
    spec: {containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]}
";

/// All four owners and the objects that they need.
fn owners() -> String {
    let apps = ["Deployment", "StatefulSet", "DaemonSet"]
        .map(|kind| APP.replace("KIND", kind).replace("NAME", &kind.to_lowercase()));
    format!("{SECRET_AND_JOB}{}", apps.concat())
}

const APPS: [&str; 4] = ["deployment", "statefulset", "daemonset", "job"];

/// Refusals after which the next retry is more than 20 s away: the backoff starts at 5 ms, for Jobs at 1 s, and
/// doubles.
fn is_far_off(event: &Event) -> bool {
    let enough = match event.involved_object.kind.as_deref() {
        Some("Job") => 6,
        Some("ReplicaSet" | "StatefulSet" | "DaemonSet") => 14,
        _ => return false,
    };
    event.count >= Some(enough)
}

/// Waits until all four owners have failed so often that their next retry is far away.
async fn until_far_off(scenario: &Scenario) {
    let events: Api<Event> = scenario.api();
    let failed = ListParams::default().fields("reason=FailedCreate");
    let wait = async {
        while events.list(&failed).await.unwrap().iter().filter(|event| is_far_off(event)).count()
            < APPS.len()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LIMIT, wait).await.expect("all four try again and again");
}

#[tokio::test]
async fn after_an_outage_refused_pods_run_within_seconds() {
    let scenario = Scenario::alone("refused").await;
    let installation = scenario.installation;
    installation.scale("deployment/e2e-admission", 0).await;
    scenario.apply(&owners()).await.expect_success();
    // As long as a soak test wants, or as short as is still meaningful.
    match std::env::var("BINDERY_SOAK_AWAY_SECONDS") {
        Ok(seconds) => tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await,
        Err(_) => until_far_off(&scenario).await,
    }
    let back = async {
        while !installation.is_any_ready("admission").await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ready = Instant::now();
        let pods: Api<Pod> = scenario.api();
        let running = ListParams::default().fields("status.phase=Running");
        while pods.list(&running).await.unwrap().items.len() < APPS.len() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ready.elapsed()
    };
    let (took, ()) = tokio::join!(timeout(LIMIT, back), installation.scale("deployment/e2e-admission", 2));
    let state = scenario.kubectl(&["get", "events,pods"]).await;
    let took = took.unwrap_or_else(|_| panic!("not all pods run:\n{}", state.all()));
    println!("running {} ms after the webhook was ready", took.as_millis());
    assert!(took < SOON, "running {took:?} after the webhook was ready:\n{}", state.all());
    // Running pods have not been touched; the request is in the status.
    let nudged = [
        "get",
        "job",
        "job",
        "--output=jsonpath={.status.conditions[?(@.type=='bindery.dev/Nudged')].status}",
    ];
    assert_eq!(scenario.kubectl(&nudged).await.expect_success(), "True");
    let all = ["delete", "deployment,statefulset,daemonset,job,secret", "--all", "--timeout=120s"];
    scenario.kubectl(&all).await.expect_success();
    scenario.finish(&[]).await;
}
