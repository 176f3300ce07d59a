//! Validating webhooks on this machine: one for comparison, which shows what a request costs if policies are judged by a
//! server instead of the API server, and those that other tests register.

use std::{collections::BTreeMap, net::TcpListener, sync::Arc};

use axum::{Json, Router, extract::State, routing::post};
use bindery::{
    policy::{Namespace, Policies, Subject},
    server::{PresentedCertificate, TlsSettings, pki::ServingCertificate, serve_tls},
};
use k8s_openapi::{
    ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration, jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::Place;

/// A webhook on this machine.
pub(crate) struct Webhook {
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
    _stop: DropGuard,
}

impl Webhook {
    /// Registers a webhook that judges pods of a namespace by these policies.
    pub(crate) async fn start(place: &Place, namespace: &str, policies: Policies) -> Self {
        let router = Router::new().route("/", post(review)).with_state(Arc::new(policies));
        let webhooks = |port: u16, bundle: &ByteString| {
            json!([{
                "name": "pods.bindery.test", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "clientConfig": {"url": format!("https://localhost:{port}/"), "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}])
        };
        Self::register(place, namespace, router, CancellationToken::new(), webhooks).await
    }

    /// Serves the router until `stop` or the end of the webhook, and registers what `webhooks` makes of its port and its CA
    /// bundle.
    pub(crate) async fn register(
        place: &Place,
        name: &str,
        router: Router,
        stop: CancellationToken,
        webhooks: impl Fn(u16, &ByteString) -> Value,
    ) -> Self {
        let certificate = ServingCertificate::generate(&["localhost".to_owned()], Timestamp::now()).unwrap();
        let presented = PresentedCertificate::default();
        presented.present(&certificate.leaf).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let tls = TlsSettings { certificate: presented, clients: None };
        tokio::spawn(serve_tls(address, router, tls, stop.clone()));
        let bundle = ByteString(certificate.bundle.into_bytes());
        let configuration =
            json!({"metadata": {"name": name}, "webhooks": webhooks(address.port(), &bundle)});
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(place.client.clone());
        let configuration = serde_json::from_value(configuration).unwrap();
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        Self { configurations, name: name.to_owned(), _stop: stop.drop_guard() }
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
