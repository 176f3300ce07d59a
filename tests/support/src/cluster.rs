//! The cluster of the suites that need one: `tests/cluster/with-cluster` runs it.

use std::time::Duration;

use bindery::k8s;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const LOOK: Duration = Duration::from_millis(50);
/// A controller of Kubernetes makes the service account of a namespace.
const ACCOUNT: Duration = Duration::from_mins(2);

/// A client of the cluster.
pub async fn client(suite: &str) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "these tests need a cluster: tests/cluster/with-cluster cargo test --test {suite}"
    );
    k8s::client().await.unwrap()
}

/// Creates a namespace in which pods can be created.
pub async fn create_namespace(client: &Client, name: &str, metadata: &Value) {
    let mut manifest = json!({"metadata": {"name": name}});
    json_patch::merge(&mut manifest["metadata"], metadata);
    let namespace: Namespace = serde_json::from_value(manifest).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    until(ACCOUNT, "the namespace has a service account", async || accounts.get("default").await.is_ok())
        .await;
}

/// Waits until a condition holds.
pub async fn until(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        sleep(LOOK).await;
    }
}
