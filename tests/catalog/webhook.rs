//! The webhook's configuration in a real API server: bindery maintains the CA bundle, other programs maintain the
//! rest, and they do not conflict.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    net::{SocketAddr, TcpListener},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bindery::{
    admission::{
        namespaces::{NamespaceReadError, Namespaces},
        router::Routes,
    },
    injection::NamespaceDefaults,
    install::ca_bundle::WebhookBundle,
    server::{
        PresentedCertificate, TlsSettings,
        certificates::{CertificateKeeper, CertificateSource},
        serve_tls,
    },
    telemetry::{Metrics, ops::Readiness},
};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{client, until};

const WEBHOOKS: usize = 6;

/// A webhook configuration for one namespace, and the task that maintains its bundle.
struct Kept {
    client: Client,
    /// The namespace's name, and the configuration's.
    name: String,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Kept {
    /// Starts the task and a server. There is no configuration yet.
    async fn start() -> Self {
        let client = client().await;
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"generateName": "webhook-"}})).unwrap();
        let namespaces = Api::<Namespace>::all(client.clone());
        let name = namespaces.create(&PostParams::default(), &namespace).await.unwrap().name_any();
        let stop = CancellationToken::new();
        let (metrics, presented) = (Arc::new(Metrics::new()), PresentedCertificate::default());
        let keeper = CertificateKeeper {
            role: "admission",
            source: CertificateSource::Secret {
                client: client.clone(),
                namespace: name.clone(),
                name: "bindery-admission-tls".to_owned(),
                dns_names: vec!["localhost".to_owned()],
            },
            anchors: Box::new(WebhookBundle::new(client.clone(), name.clone(), true)),
            presented: presented.clone(),
            metrics: metrics.clone(),
            readiness: Readiness::default(),
        };
        tokio::spawn(keeper.maintain(stop.clone()));
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let router =
            Routes::of_pods(Arc::default(), Arc::new(NoDefaults), None, metrics.clone()).into_router();
        let tls = TlsSettings { certificate: presented, clients: None };
        tokio::spawn(serve_tls(address, router, tls, stop.clone()));
        Self { client, name, metrics, address, _stop: stop.drop_guard() }
    }

    fn api(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    async fn current(&self) -> MutatingWebhookConfiguration {
        self.api().get(&self.name).await.unwrap()
    }

    /// The chart's configuration, limited to this test's namespace.
    async fn manifest(&self) -> Value {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/bindery");
        let arguments = ["template", &self.name, chart, "--show-only=templates/webhook.yaml"];
        let rendered = run("helm", &arguments, "").await.0;
        let mut manifest: Value = serde_saphyr::from_str(rendered.trim_start_matches("---\n")).unwrap();
        // This webhook cannot be limited to the test's namespace.
        let webhooks = manifest["webhooks"].as_array_mut().unwrap();
        webhooks.retain(|webhook| webhook["name"] != "brokers.bindery.dev");
        for webhook in webhooks {
            webhook["namespaceSelector"]["matchExpressions"] =
                json!([{"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.name]}]);
        }
        manifest
    }

    /// The same configuration, for the server of this test.
    async fn reachable_manifest(&self) -> Value {
        let mut manifest = self.manifest().await;
        for webhook in manifest["webhooks"].as_array_mut().unwrap() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            let url = format!("https://localhost:{}{path}", self.address.port());
            webhook["clientConfig"] = json!({"url": url});
        }
        manifest
    }

    async fn apply(&self, manager: &str, manifest: &Value) -> MutatingWebhookConfiguration {
        let parameters = PatchParams::apply(manager).force();
        self.api().patch(&self.name, &parameters, &Patch::Apply(manifest)).await.unwrap()
    }

    /// Waits until every webhook has the bundle, and returns it.
    async fn published(&self) -> Vec<u8> {
        until("every webhook has the CA bundle", async || bundles(&self.current().await).len() == WEBHOOKS)
            .await;
        let mut bundles = bundles(&self.current().await);
        bundles.dedup();
        assert_eq!(bundles.len(), 1, "the same for all");
        bundles.remove(0)
    }

    /// Waits for the bundle, but not as long as the interval of the regular checks.
    async fn repaired(&self, bundle: &[u8], after: &str) {
        let began = Instant::now();
        assert_eq!(self.published().await, bundle);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} after {after}", began.elapsed());
    }

    fn workload_reviews(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let count = "bindery_admission_duration_seconds_count{entry=\"workload\"} ";
        text.lines().find_map(|line| line.strip_prefix(count)).map_or(0, |count| count.parse().unwrap())
    }

    async fn finish(self) {
        self.api().delete(&self.name, &DeleteParams::default()).await.unwrap();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

struct NoDefaults;

#[async_trait]
impl Namespaces for NoDefaults {
    async fn defaults(&self, _: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        Ok(None)
    }
}

/// The bundles of the configuration.
fn bundles(configuration: &MutatingWebhookConfiguration) -> Vec<Vec<u8>> {
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    webhooks.iter().filter_map(|webhook| Some(webhook.client_config.ca_bundle.as_ref()?.0.clone())).collect()
}

/// Runs a command that must succeed, and returns stdout and stderr.
async fn run(program: &str, arguments: &[&str], input: &str) -> (String, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    let [out, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{program} {arguments:?}: {beside}");
    (out, beside)
}

/// The fields that a field manager owns, without the marks of lists and keys.
fn owned(configuration: &MutatingWebhookConfiguration, manager: &str) -> Vec<String> {
    let entries = configuration.metadata.managed_fields.as_deref().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.manager.as_deref() == Some(manager)).unwrap();
    let mut found = Vec::new();
    leaves(&entry.fields_v1.as_ref().unwrap().0, "", &mut found);
    found
}

fn leaves(fields: &Value, path: &str, found: &mut Vec<String>) {
    for (field, inner) in fields.as_object().unwrap() {
        let path = format!("{path}/{field}");
        if inner.as_object().unwrap().is_empty() {
            if field != "." {
                found.push(path);
            }
        } else {
            leaves(inner, &path, found);
        }
    }
}

/// P13. Argo CD and Flux apply the rendered chart again and again, server-side.
#[tokio::test]
async fn applying_the_chart_again_leaves_the_bundle_and_the_generation_alone() {
    let kept = Kept::start().await;
    let manifest = kept.manifest().await;
    kept.apply("argocd-controller", &manifest).await;
    let bundle = kept.published().await;
    kept.apply("helm-controller", &manifest).await;
    let before = kept.current().await;
    for _ in 0..2 {
        for manager in ["argocd-controller", "helm-controller"] {
            let after = kept.apply(manager, &manifest).await;
            assert_eq!(bundles(&after), vec![bundle.clone(); WEBHOOKS], "after {manager}");
            assert_eq!(after.metadata.generation, before.metadata.generation, "{manager} changed something");
            assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        }
    }
    // bindery's own client removes `managedFields`.
    let bare: Api<MutatingWebhookConfiguration> = Api::all(Client::try_default().await.unwrap());
    let owned = owned(&bare.get(&kept.name).await.unwrap(), "bindery-ca-bundle");
    assert!(owned.iter().all(|field| field.ends_with("/f:clientConfig/f:caBundle")), "{owned:?}");
    assert_eq!(owned.len(), WEBHOOKS);
    kept.finish().await;
}

/// For example a chart of another version: fields that bindery owns do not keep a webhook alive.
#[tokio::test]
async fn applying_the_configuration_can_remove_a_webhook() {
    let kept = Kept::start().await;
    let mut manifest = kept.manifest().await;
    kept.apply("argocd-controller", &manifest).await;
    kept.published().await;
    manifest["webhooks"].as_array_mut().unwrap().pop();
    let applied = kept.apply("argocd-controller", &manifest).await;
    assert_eq!(bundles(&applied).len(), WEBHOOKS - 1);
    assert_eq!(applied.webhooks.unwrap().len(), WEBHOOKS - 1);
    kept.finish().await;
}

#[tokio::test]
async fn a_removed_bundle_is_restored_at_once() {
    let kept = Kept::start().await;
    let manifest = kept.manifest().await;
    kept.apply("argocd-controller", &manifest).await;
    let bundle = kept.published().await;
    for webhook in 0..WEBHOOKS {
        let path = format!("/webhooks/{webhook}/clientConfig/caBundle");
        let strip = serde_json::from_value(json!([{"op": "remove", "path": path}])).unwrap();
        let stripped = kept.api().patch(&kept.name, &PatchParams::default(), &Patch::<()>::Json(strip)).await;
        assert_eq!(bundles(&stripped.unwrap()).len(), WEBHOOKS - 1);
        kept.repaired(&bundle, &path).await;
    }
    let mut other: MutatingWebhookConfiguration = serde_json::from_value(manifest.clone()).unwrap();
    other.metadata.resource_version = kept.current().await.metadata.resource_version;
    kept.api().replace(&kept.name, &PostParams::default(), &other).await.unwrap();
    kept.repaired(&bundle, "kubectl replace").await;
    kept.api().delete(&kept.name, &DeleteParams::default()).await.unwrap();
    kept.apply("argocd-controller", &manifest).await;
    kept.repaired(&bundle, "being made anew").await;
    kept.finish().await;
}

/// A workload of each kind, with this metadata for it and for its pods.
fn workloads(metadata: &Value, template: &Value) -> Vec<Value> {
    let mut template = json!({
        "metadata": template,
        "spec": {"containers": [{"name": "main", "image": "busybox:1.35", "imagePullPolicy": "Never"}]}
    });
    template["metadata"]["labels"] = json!({"app": "web"});
    let selector = json!({"matchLabels": {"app": "web"}});
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let specs = [
        ("apps/v1", "Deployment", json!({"replicas": 0, "selector": selector, "template": template})),
        (
            "apps/v1",
            "StatefulSet",
            json!({"replicas": 0, "selector": selector, "serviceName": "web", "template": template}),
        ),
        ("apps/v1", "ReplicaSet", json!({"replicas": 0, "selector": selector, "template": template})),
        ("apps/v1", "DaemonSet", json!({"selector": selector, "template": template})),
        ("batch/v1", "Job", json!({"suspend": true, "template": job})),
        (
            "batch/v1",
            "CronJob",
            json!({"suspend": true, "schedule": "@yearly", "jobTemplate": {"spec": {"template": job}}}),
        ),
        ("v1", "ReplicationController", json!({"replicas": 0, "template": template})),
    ];
    let template =
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template});
    specs
        .into_iter()
        .map(|(version, kind, spec)| json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))
        .chain([template])
        .collect()
}

#[tokio::test]
async fn a_workload_with_a_misplaced_annotation_causes_a_warning() {
    let kept = Kept::start().await;
    kept.apply("tests", &kept.reachable_manifest().await).await;
    kept.published().await;
    let apply = async |workload: &Value| {
        let arguments = ["apply", "--namespace", &kept.name, "--dry-run=server", "-f", "-"];
        run("kubectl", &arguments, &workload.to_string()).await.1
    };
    let asking = json!({"bindery.dev/bind": "mydb01-binding"});
    let misplaced = workloads(&json!({"name": "web", "annotations": asking}), &json!({}));
    // API servers learn of a configuration a moment after it was written.
    until("the webhook is asked", async || apply(&misplaced[0]).await.contains("binds nothing")).await;
    let before = kept.workload_reviews();
    for workload in &misplaced {
        let path = match workload["kind"].as_str() {
            Some("CronJob") => "spec.jobTemplate.spec.template",
            Some("PodTemplate") => "template",
            _ => "spec.template",
        };
        let warning = format!(
            "Warning: bindery.dev/bind in metadata.annotations binds nothing; move it to {path}.metadata.annotations"
        );
        let said = apply(workload).await;
        assert!(said.contains(&warning), "{}: {said}", workload["kind"]);
    }
    assert_eq!(kept.workload_reviews() - before, misplaced.len() as u64);

    // Correct workloads, and workloads with an owner, never leave the API server.
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4"}]);
    let right = [
        workloads(&json!({"name": "web"}), &json!({"annotations": asking})),
        workloads(&json!({"name": "web", "annotations": asking}), &json!({"annotations": asking})),
        workloads(&json!({"name": "web", "annotations": {"bindery.dev/as": "files"}}), &json!({})),
        workloads(&json!({"name": "web", "annotations": asking, "ownerReferences": owner}), &json!({})),
    ];
    for workload in right.iter().flatten() {
        assert_eq!(apply(workload).await, "", "{workload}");
    }
    assert_eq!(kept.workload_reviews() - before, misplaced.len() as u64);
    kept.finish().await;
}

/// No request has to wait for a warning.
#[tokio::test]
async fn workloads_pass_while_the_webhook_is_away() {
    let kept = Kept::start().await;
    let mut manifest = kept.reachable_manifest().await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    manifest["webhooks"][2]["clientConfig"]["url"] = json!(format!("https://localhost:{}/", gone.port()));
    kept.apply("tests", &manifest).await;
    kept.published().await;
    let misplaced = workloads(&json!({"name": "web", "annotations": {"bindery.dev/bind": "b"}}), &json!({}));
    for workload in &misplaced {
        let arguments = ["apply", "--namespace", &kept.name, "--dry-run=server", "-f", "-"];
        run("kubectl", &arguments, &workload.to_string()).await;
    }
    kept.finish().await;
}
