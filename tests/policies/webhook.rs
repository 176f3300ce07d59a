//! A validating webhook for comparison: what a request costs if policies are judged by a server instead of the API server.

use std::{collections::BTreeMap, net::TcpListener, sync::Arc};

use axum::{Json, Router, extract::State, routing::post};
use bindery::{
    policy::{Namespace, Policies, Subject},
    server::{PresentedCertificate, TlsSettings, pki::ServingCertificate, serve_tls},
};
use k8s_openapi::{api::admissionregistration::v1::ValidatingWebhookConfiguration, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::Place;

/// A webhook for the pods of one namespace.
pub(crate) struct Webhook {
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
    _stop: DropGuard,
}

impl Webhook {
    /// Registers a webhook on this machine that judges pods by these policies.
    pub(crate) async fn start(place: &Place, namespace: &str, policies: Policies) -> Self {
        let certificate = ServingCertificate::generate(&["localhost".to_owned()], Timestamp::now()).unwrap();
        let presented = PresentedCertificate::default();
        presented.present(&certificate.leaf).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", post(review)).with_state(Arc::new(policies));
        let tls = TlsSettings { certificate: presented, clients: None };
        tokio::spawn(serve_tls(address, router, tls, stop.clone()));
        let bundle = k8s_openapi::ByteString(certificate.bundle.into_bytes());
        let configuration = json!({"metadata": {"name": namespace}, "webhooks": [{
            "name": "pods.bindery.test", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"url": format!("https://localhost:{}/", address.port()), "caBundle": bundle},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(place.client.clone());
        let configuration = serde_json::from_value(configuration).unwrap();
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        Self { configurations, name: namespace.to_owned(), _stop: stop.drop_guard() }
    }

    pub(crate) async fn finish(self) {
        self.configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

async fn review(State(policies): State<Arc<Policies>>, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    let namespace = Namespace::new(request["namespace"].as_str().unwrap(), BTreeMap::new(), BTreeMap::new());
    let name = request["name"].as_str().unwrap_or_default();
    let subject =
        Subject { name, namespace: &namespace, template: &request["object"], only_ephemeral: false };
    let verdicts = policies.judge(&subject, Timestamp::now());
    let message =
        verdicts.first().map(|verdict| format!("[{}] {}", verdict.finding.rule.name(), verdict.message));
    Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": request["uid"], "allowed": verdicts.is_empty(), "status": {"message": message.unwrap_or_default()}}}))
}
