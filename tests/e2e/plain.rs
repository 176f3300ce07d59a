//! bindery without Helm: the plain manifests, and certificates by `bindery certs`.

use std::fs;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    installation::{PLAIN_NAMESPACE, kubectl, repository},
    scenario::{POD, Scenario, run},
};

#[tokio::test]
async fn the_plain_manifests_inject_a_pod() {
    let scenario = Scenario::alone_in(PLAIN_NAMESPACE).await;
    apply_manifests().await;
    install_certificates().await;
    kubectl(&[
        "--namespace",
        "bindery",
        "rollout",
        "status",
        "deployment/bindery-admission",
        "--timeout=120s",
    ])
    .await;

    scenario.apply(POD).await.expect_success();
    let pod = scenario.api::<Pod>().get("client-app01").await.unwrap();
    let container = &pod.spec.unwrap().containers[0];
    assert_eq!(
        container.env_from.as_ref().unwrap()[0].secret_ref.as_ref().unwrap().name,
        "mydb01-binding-env"
    );
    let mounts = container.volume_mounts.as_ref().unwrap();
    assert!(mounts.iter().any(|mount| mount.mount_path == "/var/secrets/mydb01-binding"), "{mounts:?}");

    let folder = repository().join("webhook-config").display().to_string();
    kubectl(&["delete", "--wait=true", "-f", &format!("{folder}/4-webhook.yaml")]).await;
    kubectl(&["delete", "--wait=true", "--ignore-not-found", "-f", &folder]).await;
    scenario.finish(&[]).await;
}

/// `kubectl apply -f webhook-config/`, with the image that these tests have.
async fn apply_manifests() {
    let mut files: Vec<_> =
        fs::read_dir(repository().join("webhook-config")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let manifest = fs::read_to_string(file).unwrap();
        let manifest = manifest.replace("image: bindery:0.1.0", "image: docker.io/library/bindery:dev");
        run("kubectl", &["apply", "-f", "-"], &manifest).await.expect_success();
    }
}

/// `bindery certs --webhook FILE | kubectl apply -f -`.
async fn install_certificates() {
    let webhook = repository().join("webhook-config/4-webhook.yaml").display().to_string();
    let arguments = ["certs", "--name=bindery", "--namespace=bindery", "--webhook", &webhook];
    let manifests = run(env!("CARGO_BIN_EXE_bindery"), &arguments, "").await.expect_success();
    run("kubectl", &["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifests)
        .await
        .expect_success();
}
