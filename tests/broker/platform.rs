//! What the tests do as a platform (requests to the broker's router) and as an application (sessions with the
//! credentials it was given).

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body, http::Request};
use bindery::{
    broker::Broker,
    config::{BrokerConfig, LoadedConfig, PartialSettings},
    telemetry::Metrics,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};
use tower::ServiceExt;

use crate::postgres::{ADMIN, Postgres};

pub(crate) const SERVICE: &str = "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00";
pub(crate) const PLAN: &str = "d9a19cc6-fbae-597e-af9d-2c3fc640e42c";
/// `catalog:secret`
const AUTHORIZATION: &str = "Basic Y2F0YWxvZzpzZWNyZXQ=";

/// A broker with a store of its own.
pub(crate) struct Platform {
    folder: TempDir,
    config: BrokerConfig,
    pub(crate) broker: Broker,
}

/// A status and a body.
pub(crate) type Answer = (u16, Value);

impl Platform {
    pub(crate) async fn on(server: &Postgres) -> Self {
        let tls = format!("caFile: {}", server.ca_file().display());
        Self::with(server, "127.0.0.1", &tls).await
    }

    /// With the server's host and TLS settings as given.
    pub(crate) async fn with(server: &Postgres, host: &str, tls: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("password"), "secret\n").unwrap();
        std::fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let store = format!("sqlite:{}", at("broker.db").display());
        let text = format!(
            "servers: {{main: {{host: {host}, port: {}, user: {ADMIN}, passwordFile: {}, {tls}}}}}\n\
             services: [{{id: {SERVICE}, name: cockroachdb, type: cockroachdb, description: d,\n\
                plans: [{{name: default, description: d, server: main}}]}}]\n\
             auth: {{username: catalog, passwordFile: {}}}\n\
             store: {store}\nstoreKeyFile: {}\n",
            server.port(),
            server.password_file().display(),
            at("password").display(),
            at("key").display(),
        );
        let config = LoadedConfig::from_yaml(&text).unwrap().complete(PartialSettings::default()).unwrap();
        let broker = Broker::open(config.clone(), Arc::new(Metrics::new())).await.unwrap();
        Self { folder, config, broker }
    }

    /// Opens the broker anew on the same store, as after a restart.
    pub(crate) async fn restart(&mut self) {
        self.broker.drain().await;
        self.broker = Broker::open(self.config.clone(), Arc::new(Metrics::new())).await.unwrap();
    }

    /// Opens the broker anew with an installation of a known name, which a lost store does not take along.
    pub(crate) async fn keep_installation(&mut self) {
        self.broker.drain().await;
        std::fs::remove_file(self.folder.path().join("broker.db")).unwrap();
        self.config.settings.installation = Some(self.folder.path().display().to_string());
        self.broker = Broker::open(self.config.clone(), Arc::new(Metrics::new())).await.unwrap();
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.config
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) async fn provision(&self, instance: &str) -> Answer {
        let body =
            json!({"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s"});
        send(self.broker.router(), "PUT", &format!("/v2/service_instances/{instance}"), Some(body)).await
    }

    pub(crate) async fn deprovision(&self, instance: &str) -> Answer {
        let path = format!("/v2/service_instances/{instance}?service_id={SERVICE}&plan_id={PLAN}");
        send(self.broker.router(), "DELETE", &path, None).await
    }

    pub(crate) async fn bind(&self, instance: &str, binding: &str) -> Answer {
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        send(self.broker.router(), "PUT", &path, Some(json!({"service_id": SERVICE, "plan_id": PLAN}))).await
    }

    /// Binds, which must succeed, and answers the credentials.
    pub(crate) async fn credentials(&self, instance: &str, binding: &str) -> Value {
        let (status, mut body) = self.bind(instance, binding).await;
        assert_eq!(status, 201, "{body}");
        body["credentials"].take()
    }

    pub(crate) async fn unbind(&self, instance: &str, binding: &str) -> Answer {
        let path = format!(
            "/v2/service_instances/{instance}/service_bindings/{binding}?service_id={SERVICE}&plan_id={PLAN}"
        );
        send(self.broker.router(), "DELETE", &path, None).await
    }
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
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// A session with a binding's `uri`, the server's certificate verified.
pub(crate) async fn connect(server: &Postgres, credentials: &Value) -> Result<Client, tokio_postgres::Error> {
    server.connect(credentials["uri"].as_str().unwrap()).await
}

/// Whether credentials are refused, and not for want of a server.
pub(crate) async fn is_refused(server: &Postgres, credentials: &Value) -> bool {
    match connect(server, credentials).await {
        Ok(_) => false,
        Err(error) => [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(error.code().unwrap_or_else(|| panic!("{error:?}"))),
    }
}
