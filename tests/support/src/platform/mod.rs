//! The platform of the tests: it sends requests to the router of a broker with its own store. Shared by the suites.

mod conformance;
mod plans;
mod services;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request};
use bindery::{
    broker::{
        Broker, Held, HeldBinding, InstanceSpec,
        config::{BrokerConfig, LoadedConfig, PartialSettings},
    },
    telemetry::Metrics,
};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::strict;

pub use plans::{Plan, Plans, member};
pub use services::Server;

pub const SERVICE: &str = "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00";
pub const PLAN: &str = "d9a19cc6-fbae-597e-af9d-2c3fc640e42c";
/// `catalog:secret`
const AUTHORIZATION: &str = "Basic Y2F0YWxvZzpzZWNyZXQ=";

/// A broker with a store of its own.
pub struct Platform {
    folder: TempDir,
    config: BrokerConfig,
    /// The content of the configuration file.
    pub text: String,
    pub broker: Broker,
}

/// A status and a body.
pub type Answer = (u16, Value);

impl Platform {
    /// Opens a broker with these `backends` and `services` of the configuration file.
    pub async fn open(services: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("password"), "secret\n").unwrap();
        std::fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let store = format!("sqlite:{}", at("broker.db").display());
        let text = format!(
            "{services}\nauth: {{username: catalog, passwordFile: {}}}\nstore: {store}\nstoreKeyFile: {}\n",
            at("password").display(),
            at("key").display(),
        );
        let config = LoadedConfig::from_yaml(&text).unwrap().complete(PartialSettings::default()).unwrap();
        let broker = Broker::open(config.clone(), Arc::new(Metrics::new())).await.unwrap();
        Self { folder, config, text, broker }
    }

    /// Reopens the broker on the same store, as after a restart.
    pub async fn restart(&mut self) {
        self.broker.drain().await;
        self.broker = Broker::open(self.config.clone(), Arc::new(Metrics::new())).await.unwrap();
    }

    /// Reopens the broker on the same store, with `from` replaced by `to` in the configuration file.
    pub async fn restart_with(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{}", self.text);
        self.text = self.text.replace(from, to);
        let config = LoadedConfig::from_yaml(&self.text).unwrap();
        self.config = config.complete(PartialSettings::default()).unwrap();
        self.restart().await;
    }

    /// Reopens the broker on the same store with another configuration.
    pub async fn reconfigure(&mut self, change: impl FnOnce(&mut BrokerConfig)) {
        change(&mut self.config);
        self.restart().await;
    }

    /// The result of the broker's check of its only server.
    pub async fn checked(&self) -> Result<String, String> {
        self.broker.check_servers().await.remove(0).result.map_err(|error| error.to_string())
    }

    /// Reopens the broker with a fixed installation id, which survives the loss of the store.
    pub async fn keep_installation(&mut self) {
        self.broker.drain().await;
        std::fs::remove_file(self.folder.path().join("broker.db")).unwrap();
        self.config.settings.installation = Some(self.folder.path().display().to_string());
        self.broker = Broker::open(self.config.clone(), Arc::new(Metrics::new())).await.unwrap();
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Sends a request of the Open Service Broker API.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        send(self.broker.router(), method, path, body).await
    }

    /// The service of the catalog.
    pub async fn service(&self) -> Value {
        let (status, mut body) = send(self.broker.router(), "GET", "/v2/catalog", None).await;
        assert_eq!(status, 200, "{body}");
        body["services"][0].take()
    }

    pub async fn provision(&self, instance: &str) -> Answer {
        self.provision_with(instance, json!({})).await
    }

    pub async fn provision_with(&self, instance: &str, parameters: Value) -> Answer {
        let body = json!({"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s",
            "parameters": parameters});
        send(self.broker.router(), "PUT", &path(instance, None), Some(body)).await
    }

    /// Provisions and asserts success.
    pub async fn provisioned(&self, instance: &str) {
        let answer = self.provision(instance).await;
        assert_eq!(answer.0, 201, "{answer:?}");
    }

    pub async fn update(&self, instance: &str, parameters: Value) -> Answer {
        let body = json!({"service_id": SERVICE, "plan_id": PLAN, "parameters": parameters});
        send(self.broker.router(), "PATCH", &path(instance, None), Some(body)).await
    }

    pub async fn deprovision(&self, instance: &str) -> Answer {
        send(self.broker.router(), "DELETE", &(path(instance, None) + &plan()), None).await
    }

    /// Deprovisions and asserts success.
    pub async fn deprovisioned(&self, instance: &str) {
        let answer = self.deprovision(instance).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    pub async fn bind(&self, instance: &str, binding: &str) -> Answer {
        self.bind_with(instance, binding, json!({})).await
    }

    pub async fn bind_with(&self, instance: &str, binding: &str, parameters: Value) -> Answer {
        let body = json!({"service_id": SERVICE, "plan_id": PLAN, "parameters": parameters});
        send(self.broker.router(), "PUT", &path(instance, Some(binding)), Some(body)).await
    }

    /// Creates a binding that replaces another one.
    pub async fn rotate(&self, instance: &str, binding: &str, predecessor: &str) -> Answer {
        let body = json!({"predecessor_binding_id": predecessor});
        send(self.broker.router(), "PUT", &path(instance, Some(binding)), Some(body)).await
    }

    /// Binds, asserts success and returns the credentials.
    pub async fn credentials(&self, instance: &str, binding: &str) -> Value {
        self.credentials_with(instance, binding, json!({})).await
    }

    pub async fn credentials_with(&self, instance: &str, binding: &str, parameters: Value) -> Value {
        let (status, mut body) = self.bind_with(instance, binding, parameters).await;
        assert_eq!(status, 201, "{body}");
        body["credentials"].take()
    }

    /// Binds a login with read access only.
    pub async fn reader(&self, instance: &str, binding: &str) -> Value {
        self.credentials_with(instance, binding, json!({"access": "readonly"})).await
    }

    /// Binds for an hour on a server whose clock is two hours ahead. The expiry must follow the server's clock, or the
    /// binding would have expired already. Returns the credentials and their expiry.
    pub async fn credentials_by_a_clock_ahead(&self, instance: &str) -> (Value, Timestamp) {
        let (status, mut body) = self.bind_with(instance, "b", json!({"validFor": "1h"})).await;
        assert_eq!(status, 201, "{body}");
        let ends_at: Timestamp = text(&body["metadata"], "expires_at").parse().unwrap();
        let minutes = ends_at.duration_since(Timestamp::now()).as_mins();
        assert!((178..=181).contains(&minutes), "{minutes}");
        (body["credentials"].take(), ends_at)
    }

    /// Binds with this name in the Kubernetes context, asserts success and returns the credentials.
    pub async fn credentials_named(&self, instance: &str, name: &str) -> Value {
        let body = json!({"service_id": SERVICE, "plan_id": PLAN, "context": {"binding_name": name}});
        let (status, mut body) =
            send(self.broker.router(), "PUT", &path(instance, Some(name)), Some(body)).await;
        assert_eq!(status, 201, "{body}");
        body["credentials"].take()
    }

    pub async fn unbind(&self, instance: &str, binding: &str) -> Answer {
        send(self.broker.router(), "DELETE", &(path(instance, Some(binding)) + &plan()), None).await
    }

    /// The name of the installation's mark on servers, once its id is fixed.
    pub fn mark(&self) -> String {
        let installation = self.config.settings.installation.as_deref().unwrap();
        let hex: String = Sha256::digest(installation).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("bindery_{}", &hex[..16])
    }

    /// Deletes an instance from the store directly.
    pub fn forget(&self, instance: &str) {
        self.forget_where("instance", instance);
    }

    /// Deletes a binding from the store directly.
    pub fn forget_binding(&self, binding: &str) {
        self.forget_where("binding", binding);
    }

    fn forget_where(&self, column: &str, id: &str) {
        let store = rusqlite::Connection::open(self.store().join("broker.db")).unwrap();
        let sql = format!("DELETE FROM records WHERE {column} = ?1");
        assert!(store.execute(&sql, [id]).unwrap() > 0);
    }
}

/// The text of a credential.
pub fn text<'a>(credentials: &'a Value, key: &str) -> &'a str {
    credentials[key].as_str().unwrap()
}

/// The content of a cluster's ExternalResources for an instance.
pub fn held(instance: &str, bindings: &[&str]) -> Held {
    Held {
        instance: InstanceSpec {
            id: instance.into(),
            service_id: SERVICE.into(),
            plan_id: PLAN.into(),
            organization_guid: "o".to_owned(),
            space_guid: "s".to_owned(),
            parameters: serde_json::Map::new(),
            context: serde_json::Map::new(),
            maintenance_version: None,
            settled: serde_json::Map::new(),
        },
        are_parameters_known: true,
        bindings: bindings.iter().map(|&id| held_binding(id)).collect(),
    }
}

fn held_binding(id: &str) -> HeldBinding {
    HeldBinding { id: id.into(), parameters: Some(serde_json::Map::new()), predecessor: None }
}

fn path(instance: &str, binding: Option<&str>) -> String {
    let encoded = |id| utf8_percent_encode(id, NON_ALPHANUMERIC);
    let binding = binding.map(|id| format!("/service_bindings/{}", encoded(id))).unwrap_or_default();
    format!("/v2/service_instances/{}{binding}", encoded(instance))
}

fn plan() -> String {
    format!("?service_id={SERVICE}&plan_id={PLAN}")
}

async fn send(router: Router, method: &str, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", AUTHORIZATION)
        .header("x-broker-api-version", "2.17")
        .header("content-type", "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer = strict::Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap() };
    answer.must_be_strict(method, path.split('?').next().unwrap_or(path), Some("2.17"));
    (answer.status, answer.body)
}
