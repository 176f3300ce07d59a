//! A namespace with bindery's webhook, and other webhooks beside it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindery::{
    admission::{namespaces::WatchedNamespaces, router::Routes},
    server::{PresentedCertificate, TlsSettings, pki::ServingCertificate, serve_tls},
    telemetry::{Metrics, ops::Readiness},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::harness::{client, until};

/// The registration of the webhook by the plain manifests, which the chart also uses.
pub(crate) const REGISTRATION: &str = include_str!("../../../webhook-config/4-webhook.yaml");

/// A namespace, and the webhook for it alone.
pub(super) struct Webhook {
    pub(super) client: Client,
    pub(super) namespace: String,
    asked: Seen,
    server: Server,
    registered: Mutex<Vec<String>>,
}

/// A review and its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: Value,
    pub(super) response: Value,
}

type Seen = Arc<Mutex<Vec<Asked>>>;

impl Webhook {
    pub(super) async fn start() -> Self {
        Self::start_in(json!({})).await
    }

    /// The same in a namespace with these labels and annotations.
    pub(super) async fn start_in(metadata: Value) -> Self {
        let client = client().await;
        let namespace = namespace(&client, metadata).await;
        let (namespaces, watch) = WatchedNamespaces::new(client.clone(), Readiness::default());
        tokio::spawn(watch);
        let asked = Seen::default();
        let router = Routes::of_pods(Arc::default(), Arc::new(namespaces), None, Arc::new(Metrics::new()))
            .into_router()
            .layer(middleware::from_fn_with_state(asked.clone(), record));
        let server = Server::start(router).await;
        let webhook = Self { client, namespace, asked, server, registered: Mutex::default() };
        let configuration = serde_saphyr::from_str(REGISTRATION).unwrap();
        webhook.register("bindery", configuration, &webhook.server).await;
        let probe = pod(json!({"bindery.dev/bind": "probe"}), json!({}));
        until("the API server asks the webhook", async || {
            webhook.tried(&probe).await.unwrap()["spec"]["volumes"].is_array()
        })
        .await;
        webhook.asked().clear();
        webhook
    }

    /// Registers another webhook that applies this change to every pod. The API server calls webhooks in the order of
    /// their configurations' names.
    pub(super) async fn beside(&self, name: &'static str, change: fn(&mut Value)) {
        let change = Change { label: name, change };
        let server = Server::start(Router::new().route("/", post(answer_with)).with_state(change)).await;
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "webhooks": [{
                "name": format!("{name}.example.com"),
                "clientConfig": {"service": {"path": "/"}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "reinvocationPolicy": "Never",
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "namespaceSelector": {"matchExpressions": []}
            }]
        });
        self.register(name, configuration, &server).await;
        let probe = pod(json!(null), json!({}));
        until("the API server asks the other webhook", async || {
            self.tried(&probe).await.unwrap()["metadata"]["labels"][name] == "was-here"
        })
        .await;
        self.asked().clear();
    }

    /// Registers the configuration for this namespace, served by this process.
    async fn register(&self, name: &str, mut configuration: Value, server: &Server) {
        let name = format!("{name}-{}", self.namespace);
        configuration["metadata"]["name"] = json!(name);
        // The webhooks for objects of the Service Catalog API have tests of their own.
        let webhooks = configuration["webhooks"].as_array_mut().unwrap();
        webhooks.retain(|webhook| webhook["namespaceSelector"].is_object());
        for webhook in webhooks {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            let url = format!("https://{}{path}", server.address);
            webhook["clientConfig"] = json!({"url": url, "caBundle": STANDARD.encode(&server.bundle)});
            let only =
                json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.namespace]});
            webhook["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(only);
        }
        let configuration = serde_json::from_value(configuration).unwrap();
        self.configurations().create(&PostParams::default(), &configuration).await.unwrap();
        self.registered.lock().unwrap().push(name);
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// The reviews since the start, or since this was cleared.
    pub(super) fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap()
    }

    /// Stops the webhook but keeps its registration, as if all its pods were gone.
    pub(super) async fn stop(&self) {
        self.server.stop().await;
    }

    /// The pod after a dry run.
    pub(super) async fn tried(&self, pod: &Value) -> kube::Result<Value> {
        self.send("POST", &format!("{}/pods?dryRun=All", self.core()), pod).await
    }

    pub(super) async fn created(&self, pod: &Value) -> Value {
        self.send("POST", &format!("{}/pods", self.core()), pod).await.unwrap()
    }

    /// The path of the namespace's core objects.
    pub(super) fn core(&self) -> String {
        format!("/api/v1/namespaces/{}", self.namespace)
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
        send(&self.client, method, path, body).await
    }

    /// Deletes the cluster-scoped objects of the test.
    pub(super) async fn finish(self) {
        let registered = std::mem::take(&mut *self.registered.lock().unwrap());
        for name in registered {
            self.configurations().delete(&name, &DeleteParams::default()).await.unwrap();
        }
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }
}

/// Sends JSON unchanged; typed clients would drop unknown fields.
pub(super) async fn send(client: &Client, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
    let content =
        if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    let body = if method == "GET" { Vec::new() } else { body.to_string().into_bytes() };
    client.request(request.body(body).unwrap()).await
}

/// Creates a namespace in which pods can be created.
pub(super) async fn namespace(client: &Client, mut metadata: Value) -> String {
    metadata["generateName"] = json!("admission-");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    let namespace =
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap().name_any();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
    until("a default ServiceAccount", async || accounts.get_opt("default").await.unwrap().is_some()).await;
    namespace
}

/// A pod with these annotations, and these fields of its spec.
pub(super) fn pod(annotations: Value, spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "pod-"},
        "spec": {
            "schedulerName": "nobody",
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "app"}]
        }
    });
    if annotations.is_object() {
        pod["metadata"]["annotations"] = annotations;
    }
    if let (Value::Object(fields), Value::Object(of_pod)) = (spec, &mut pod["spec"]) {
        of_pod.extend(fields);
    }
    pod
}

/// An HTTPS server in this process. It ends with the runtime of the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The CA bundle for its clients.
    pub(crate) bundle: String,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let made = ServingCertificate::generate(&[address.ip().to_string()], Timestamp::now()).unwrap();
        let certificate = PresentedCertificate::default();
        certificate.present(&made.leaf).unwrap();
        let tls = TlsSettings { certificate, clients: None };
        let serving = tokio::spawn(async move {
            serve_tls(address, router, tls, CancellationToken::new()).await.unwrap();
        });
        until("the webhook listens", async || TcpStream::connect(address).await.is_ok()).await;
        Self { address, bundle: made.bundle, serving }
    }

    /// Stops it, as if all its pods were gone.
    pub(crate) async fn stop(&self) {
        self.serving.abort();
        until("nobody listens", async || TcpStream::connect(self.address).await.is_err()).await;
    }
}

async fn record(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let question = to_bytes(body, usize::MAX).await.unwrap();
    let (answer, body) =
        next.run(Request::from_parts(parts, Body::from(question.clone()))).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let part = |bytes: &Bytes, name: &str| serde_json::from_slice::<Value>(bytes).unwrap()[name].take();
    seen.lock()
        .unwrap()
        .push(Asked { request: part(&question, "request"), response: part(&body, "response") });
    Response::from_parts(answer, Body::from(body))
}

/// The change that another webhook applies, and the label by which it is identified.
#[derive(Clone, Copy)]
struct Change {
    label: &'static str,
    change: fn(&mut Value),
}

async fn answer_with(State(change): State<Change>, Json(review): Json<Value>) -> Json<Value> {
    let before = &review["request"]["object"];
    let mut after = before.clone();
    after["metadata"]["labels"][change.label] = json!("was-here");
    (change.change)(&mut after);
    let patch = serde_json::to_vec(&json_patch::diff(before, &after)).unwrap();
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch)
        }
    }))
}
