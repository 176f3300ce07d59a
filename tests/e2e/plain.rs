//! bindery without Helm: the plain manifests, and certificates by `bindery certs`.

use std::{fs, path::PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    installation::{PLAIN_NAMESPACE, kubectl, repository},
    scenario::{POD, Scenario, run},
};

#[tokio::test]
async fn the_plain_manifests_and_bindery_certs_inject_a_pod() {
    let scenario = Scenario::alone_in(PLAIN_NAMESPACE).await;
    let installed = Installed;
    apply("0-namespace.yaml").await;
    install_certificates().await;
    for file in ["1-rbac.yaml", "2-deployment.yaml", "3-service.yaml"] {
        apply(file).await;
    }
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
    drop(installed);
    scenario.finish(&[]).await;
}

/// Removes the installation, even if the test fails, because its webhook would affect pods of other scenarios.
struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        for path in [folder().join("4-webhook.yaml"), folder()] {
            let _ = std::process::Command::new("kubectl")
                .args(["delete", "--ignore-not-found", "--timeout=60s", "-f"])
                .arg(path)
                .status();
        }
    }
}

fn folder() -> PathBuf {
    repository().join("webhook-config")
}

/// `kubectl apply -f`, with the image of these tests.
async fn apply(file: &str) {
    let manifest = fs::read_to_string(folder().join(file)).unwrap();
    let manifest = manifest.replace("image: bindery:0.1.0", "image: docker.io/library/bindery:dev");
    run("kubectl", &["apply", "-f", "-"], &manifest).await.expect_success();
}

/// `bindery certs --webhook FILE | kubectl apply -f -`.
async fn install_certificates() {
    let webhook = folder().join("4-webhook.yaml").display().to_string();
    let arguments = ["certs", "--name=bindery", "--namespace=bindery", "--webhook", &webhook];
    let manifests = run(env!("CARGO_BIN_EXE_bindery"), &arguments, "").await.expect_success();
    run("kubectl", &["apply", "-f", "-"], &manifests).await.expect_success();
}
