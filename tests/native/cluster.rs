//! Namespaces of a real API server with the policy of the chart.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bindery::contract::{namespace, pod};
use bindery_test_support::cluster;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(2);

/// The label of namespaces in which the webhook is registered.
const HOOKED: &str = "bindery-tests/hooked";

/// A part of the cluster that belongs to one test.
pub(crate) struct Place {
    pub(crate) client: Client,
    /// The name of the release, and of its namespace, which injection leaves out.
    release: String,
    pub(crate) alone: String,
    pub(crate) hooked: String,
}

impl Place {
    pub(crate) async fn new(name: &str) -> Self {
        Self::with_values(name, &[]).await
    }

    /// A place with a release of its own; the policy of one test does not reach the namespaces of others.
    pub(crate) async fn with_values(name: &str, values: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let client = cluster::client("native").await;
        let release = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place =
            Self { client, alone: format!("{release}-alone"), hooked: format!("{release}-hooked"), release };
        place.namespace(&place.release, &json!({})).await;
        place.namespace(&place.alone, &json!({})).await;
        place.namespace(&place.hooked, &json!({"labels": {HOOKED: "yes"}})).await;
        for mut object in place.rendered(values) {
            place.limit(&mut object);
            place.apply(&object).await;
        }
        place.settled().await;
        place
    }

    /// A pair of namespaces with these defaults: one with the policy alone, and one with the webhook too.
    pub(crate) async fn with_defaults(&self, name: &str, annotations: &Value) -> Pair {
        let (label, enabled) = namespace::INJECT;
        let [alone, hooked] = ["alone", "hooked"].map(|kind| format!("{}-{name}-{kind}", self.release));
        let labels = json!({label: enabled});
        self.namespace(&alone, &json!({"labels": labels, "annotations": annotations})).await;
        let labels = json!({label: enabled, HOOKED: "yes"});
        self.namespace(&hooked, &json!({"labels": labels, "annotations": annotations})).await;
        Pair { alone, hooked }
    }

    pub(crate) fn pair(&self) -> Pair {
        Pair { alone: self.alone.clone(), hooked: self.hooked.clone() }
    }

    /// What the chart renders for clusters that serve MutatingAdmissionPolicies.
    fn rendered(&self, values: &[&str]) -> Vec<Value> {
        let output = Command::new("helm")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["template", &self.release, "charts/bindery", "--namespace", &self.release])
            .args(["--kube-version", "1.36.0"])
            .args(["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"])
            .args(["--show-only", "templates/native-injection.yaml"])
            .args(["--show-only", "templates/webhook.yaml"])
            .args(values)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let documents = text.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
        let documents = documents.map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        documents.filter(|document| !document.is_null()).collect()
    }

    /// Keeps the objects away from the namespaces of other tests, and the webhooks from any server.
    fn limit(&self, object: &mut Value) {
        let of_place = json!({"key": "bindery-tests/place", "operator": "In", "values": [self.release]});
        let limit = |selector: &mut Value| {
            selector["matchExpressions"].as_array_mut().unwrap().push(of_place.clone());
        };
        if object["kind"] == "MutatingAdmissionPolicyBinding" {
            limit(&mut object["spec"]["matchResources"]["namespaceSelector"]);
        }
        if let Some(webhooks) = object.get_mut("webhooks").and_then(Value::as_array_mut) {
            webhooks.retain(|webhook| {
                let name = webhook["name"].as_str().unwrap();
                [
                    "inject.bindery.dev",
                    "defaults.bindery.dev",
                    "gate.bindery.dev",
                    "gate-defaults.bindery.dev",
                ]
                .contains(&name)
            });
            for webhook in webhooks {
                webhook["clientConfig"] = json!({"url": "https://127.0.0.1:1/"});
                limit(&mut webhook["namespaceSelector"]);
                let hooked = json!({"key": HOOKED, "operator": "Exists"});
                webhook["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(hooked);
            }
        }
    }

    async fn apply(&self, object: &Value) {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = version.split_once('/').unwrap();
        let resource = match kind {
            "MutatingAdmissionPolicy" => ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk(group, version, kind),
                "mutatingadmissionpolicies",
            ),
            _ => ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let parameters = PatchParams::apply("tests").force();
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &parameters, &Patch::Apply(object)).await.unwrap();
    }

    async fn namespace(&self, name: &str, metadata: &Value) {
        let mut labelled = json!({"labels": {"bindery-tests/place": self.release}});
        json_patch::merge(&mut labelled, metadata);
        cluster::create_namespace(&self.client, name, &labelled).await;
    }

    /// Waits until the API server knows policy and webhook.
    async fn settled(&self) {
        let asking = |bind: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "canary", "annotations": {pod::BIND: bind}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}})
        };
        until("the policy holds", async || {
            let result = self.create(&self.alone, &asking("canary")).await;
            result.unwrap()["spec"].to_string().contains("bindery-secret-canary")
        })
        .await;
        until("the webhook is registered", async || {
            self.create(&self.hooked, &asking("Not_A_Name")).await.is_err()
        })
        .await;
    }

    /// The pod as it would be without bindery.
    pub(crate) async fn plain(&self, pod: &Value) -> Result<Value, String> {
        self.create(&self.release, pod).await
    }

    /// The pod that the API server would create, or its error.
    pub(crate) async fn create(&self, namespace: &str, pod: &Value) -> Result<Value, String> {
        self.send(namespace, pod, "?dryRun=All").await
    }

    pub(crate) async fn send(&self, namespace: &str, pod: &Value, query: &str) -> Result<Value, String> {
        let path = format!("/api/v1/namespaces/{namespace}/pods{query}");
        let request = axum::http::Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(pod.to_string().into_bytes())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let is_success = response.status().is_success();
        let body = response.into_body().collect_bytes().await.unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        if is_success { Ok(normal(value)) } else { Err(value["message"].as_str().unwrap().to_owned()) }
    }
}

/// A namespace with the policy alone, and one with the webhook too.
pub(crate) struct Pair {
    pub(crate) alone: String,
    pub(crate) hooked: String,
}

/// The pod without what the API server chooses at random, or fills in for volumes.
fn normal(mut pod: Value) -> Value {
    for field in ["uid", "creationTimestamp", "managedFields", "namespace"] {
        pod["metadata"].as_object_mut().unwrap().remove(field);
    }
    let mut named: Vec<&mut Value> = Vec::new();
    let spec = pod["spec"].as_object_mut().unwrap();
    for (kind, list) in spec.iter_mut() {
        let Some(entries) = list.as_array_mut() else { continue };
        for entry in entries {
            match kind.as_str() {
                "volumes" => {
                    if let Some(secret) = entry.get_mut("secret") {
                        secret.as_object_mut().unwrap().remove("defaultMode");
                    }
                    named.push(&mut entry["name"]);
                }
                "containers" | "initContainers" => {
                    let mounts = entry.get_mut("volumeMounts").and_then(Value::as_array_mut);
                    named.extend(mounts.into_iter().flatten().map(|mount| &mut mount["name"]));
                }
                _ => {}
            }
        }
    }
    for name in named.into_iter().filter(|name| name.as_str().unwrap().starts_with("kube-api-access-")) {
        *name = json!("kube-api-access");
    }
    pod
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    cluster::until(PATIENCE, what, condition).await;
}
