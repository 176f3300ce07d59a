//! Pods that the API server creates with and without the webhook.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use crate::scenario::{BINDING, INSTANCE, LIMIT, POD, Scenario};

const PLAIN_POD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]}
";

#[tokio::test]
async fn a_dry_run_shows_the_injection_and_changes_nothing() {
    let scenario = Scenario::new("dry-run").await;
    let arguments = ["apply", "--dry-run=server", "--output=json", "-f", "-"];
    let shown = scenario.kubectl_with_input(&arguments, POD).await.expect_success();
    let pod: Pod = serde_json::from_str(&shown).unwrap();
    let container = &pod.spec.unwrap().containers[0];
    let sources = container.env_from.as_ref().expect("envFrom");
    assert_eq!(sources[0].secret_ref.as_ref().unwrap().name, "mydb01-binding-env");
    for kind in ["pods", "serviceinstances", "servicebindings", "secrets", "events"] {
        let listed = scenario.kubectl(&["get", kind, "--output=name"]).await.expect_success();
        assert_eq!(listed, "", "a dry run made {kind}");
    }
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn a_pod_without_annotation_is_not_touched() {
    let scenario = Scenario::new("untouched").await;
    scenario.apply(PLAIN_POD).await.expect_success();
    let pod = scenario.api::<Pod>().get("plain").await.unwrap();
    let container = &pod.spec.unwrap().containers[0];
    assert_eq!(container.env_from, None);
    let mounts = container.volume_mounts.as_ref().expect("the service account's token");
    assert!(
        mounts.iter().all(|mount| mount.mount_path.starts_with("/var/run/secrets/kubernetes.io")),
        "{mounts:?}"
    );
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn an_annotation_that_cannot_be_parsed_is_refused_with_the_remedy() {
    let scenario = Scenario::new("unparsable").await;
    let refused =
        scenario.apply(&POD.replace("bind: mydb01-binding", "bind: Not_A_Name")).await.expect_failure();
    assert!(refused.contains("bindery.dev/bind") && refused.contains("Not_A_Name"), "{refused}");
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn while_bindery_is_down_only_annotated_pods_are_refused() {
    let scenario = Scenario::alone("down").await;
    scenario.installation.scale("deployment/e2e-admission", 0).await;
    let plain = scenario.apply(PLAIN_POD).await;
    let out = PLAIN_POD.replace("name: plain", "name: out, annotations: {bindery.dev/bind: ''}");
    let out = scenario.apply(&out).await;
    let asking = scenario.apply(POD).await;
    scenario.installation.scale("deployment/e2e-admission", 2).await;
    plain.expect_success();
    out.expect_success();
    let refused = asking.expect_failure();
    assert!(refused.contains("bindery"), "{refused}");
    scenario.running("plain").await;

    // A ready webhook is sufficient for recovery; no other step is needed.
    scenario.apply(POD).await.expect_success();
    scenario.finish(&[]).await;
}

/// The API server also calls the webhook for a pod with bindings for only one container.
#[tokio::test]
async fn a_container_may_have_bindings_of_its_own() {
    let scenario = Scenario::new("one-container").await;
    let pod = POD.replace("bindery.dev/bind:", "bindery.dev/bind.client-app01:");
    assert_ne!(pod, POD);
    for manifest in [INSTANCE, BINDING, &pod] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    scenario.finish(&[&credentials]).await;
}

/// Sets the defaults of the scenario's Namespace, with label and annotations in one step.
async fn say(scenario: &Scenario, annotations: &str) {
    let namespace = &scenario.namespace;
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {{bindery.dev/inject: enabled}}\n  \
         annotations: {{{annotations}}}\n"
    );
    scenario.apply(&manifest).await.expect_success();
}

/// The pod after a dry run.
async fn shown(scenario: &Scenario, manifest: &str) -> Pod {
    let arguments = ["apply", "--dry-run=server", "--output=json", "-f", "-"];
    let shown = scenario.kubectl_with_input(&arguments, manifest).await.expect_success();
    serde_json::from_str(&shown).unwrap()
}

/// The Secrets from which the first container takes variables.
fn env_from(pod: &Pod) -> Vec<&str> {
    let sources = pod.spec.as_ref().unwrap().containers[0].env_from.as_deref().unwrap_or_default();
    sources.iter().map(|source| source.secret_ref.as_ref().unwrap().name.as_str()).collect()
}

/// API server and webhook each learn of a change of a Namespace a moment later.
async fn until_bound_to(scenario: &Scenario, secrets: &[&str]) {
    let wait = async {
        while env_from(&shown(scenario, PLAIN_POD).await) != secrets {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("pods are not bound to {secrets:?} by default"));
}

/// Pods of a controller: the object has no namespace and no name yet.
const PLAIN_REPLICAS: &str = r"
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: plain}
spec:
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec: {containers: [{name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600']}]}
";

#[tokio::test]
async fn a_labelled_namespace_binds_pods_without_annotation() {
    let scenario = Scenario::new("defaults").await;
    let asking = |annotations: &str| PLAIN_POD.replace("name: plain", &format!("name: plain, {annotations}"));
    say(&scenario, "bindery.dev/bind: mydb01-binding").await;
    until_bound_to(&scenario, &["mydb01-binding-env"]).await;

    // A pod with its own annotation does not get the default, and can opt out.
    let own = asking("annotations: {bindery.dev/bind: own}");
    assert_eq!(env_from(&shown(&scenario, &own).await), ["own-env"]);
    let out = asking("annotations: {bindery.dev/bind: ''}");
    assert!(env_from(&shown(&scenario, &out).await).is_empty());
    let files = asking("annotations: {bindery.dev/as: files}");
    assert!(env_from(&shown(&scenario, &files).await).is_empty());

    for manifest in [PLAIN_REPLICAS, BINDING, INSTANCE] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    let arguments = ["get", "pods", "--selector=app=plain", "--output=jsonpath={.items[*].metadata.name}"];
    let made = timeout(LIMIT, async {
        loop {
            let made = scenario.kubectl(&arguments).await.expect_success();
            if !made.is_empty() {
                break made;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let pod = made.await.expect("the ReplicaSet makes a pod");
    scenario.running(&pod).await;
    let url = scenario.exec(&pod, &["sh", "-c", "echo \"$COCKROACH_URL\""]).await.expect_success();
    assert_eq!(url.trim_end(), credentials.get("uri"));

    say(&scenario, "bindery.dev/bind: other").await;
    until_bound_to(&scenario, &["other-env"]).await;
    let label = ["label", "namespace", &scenario.namespace, "bindery.dev/inject-"];
    scenario.kubectl(&label).await.expect_success();
    until_bound_to(&scenario, &[]).await;
    scenario.kubectl(&["delete", "replicaset", "plain"]).await.expect_success();
    scenario.finish(&[&credentials]).await;
}

#[tokio::test]
async fn a_mistake_in_the_namespace_refuses_its_pods_unless_they_opt_out() {
    let scenario = Scenario::new("mistaken").await;
    say(&scenario, "bindery.dev/bind: mydb01-binding").await;
    until_bound_to(&scenario, &["mydb01-binding-env"]).await;
    say(&scenario, "bindery.dev/bind: Not_A_Name").await;
    let arguments = ["apply", "--dry-run=server", "-f", "-"];
    let wait = async {
        loop {
            let answer = scenario.kubectl_with_input(&arguments, PLAIN_POD).await;
            if !answer.success {
                break answer.expect_failure();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let refused = timeout(LIMIT, wait).await.expect("the mistake is seen");
    let whose = format!("metadata.annotations[bindery.dev/bind] of Namespace {}", scenario.namespace);
    assert!(refused.contains(&whose) && refused.contains("Not_A_Name"), "{refused}");
    let out = PLAIN_POD.replace("name: plain", "name: plain, annotations: {bindery.dev/bind: ''}");
    scenario.apply(&out).await.expect_success();
    scenario.running("plain").await;
    scenario.finish(&[]).await;
}
