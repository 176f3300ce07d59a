//! What the API server does with pods through the webhook, and without it.

use k8s_openapi::api::core::v1::Pod;

use crate::scenario::{BINDING, INSTANCE, POD, Scenario};

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
async fn a_pod_that_does_not_ask_is_not_touched() {
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
async fn while_bindery_is_down_only_pods_that_ask_are_refused() {
    let scenario = Scenario::alone("down").await;
    scenario.installation.scale("deployment/e2e-admission", 0).await;
    let plain = scenario.apply(PLAIN_POD).await;
    let asking = scenario.apply(POD).await;
    scenario.installation.scale("deployment/e2e-admission", 2).await;
    plain.expect_success();
    let refused = asking.expect_failure();
    assert!(refused.contains("bindery"), "{refused}");
    scenario.running("plain").await;

    // Being ready again is what recovers: nobody has to do anything else.
    scenario.apply(POD).await.expect_success();
    scenario.finish(&[]).await;
}

/// The API server asks about a pod that names bindings for one container only.
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
