//! The broker as an HTTP server, and a client with persistent connections.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use bindery::{
    broker::{
        Broker, Provider, Registry, Timing,
        config::{BrokerConfig, LoadedConfig, PartialSettings},
    },
    telemetry::Metrics,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    Bindings, INSTANCES,
    mariadb::{self, MariaDb},
    postgres::{self, Postgres},
};

const PASSWORD: &str = "secret";

/// A service, and the server in its plan.
pub(crate) struct Service {
    kind: &'static str,
    server: String,
}

impl From<&Postgres> for Service {
    fn from(server: &Postgres) -> Self {
        let at = at(server.port(), &server.password_file(), &server.ca_file());
        Self { kind: "cockroachdb", server: format!("type: postgresql, user: {}, {at}", postgres::ADMIN) }
    }
}

impl From<&MariaDb> for Service {
    fn from(server: &MariaDb) -> Self {
        let at = at(server.port(), &server.password_file(), &server.ca_file());
        Self { kind: "mysql", server: format!("type: mysql, user: {}, {at}", mariadb::ADMIN) }
    }
}

fn at(port: u16, password: &Path, ca: &Path) -> String {
    format!("host: 127.0.0.1, port: {port}, passwordFile: {}, caFile: {}", password.display(), ca.display())
}

/// A broker that serves HTTP, and its client.
pub(crate) struct Served {
    http: Client,
    address: SocketAddr,
    instances: Vec<(String, String)>,
    _broker: Broker,
    _folder: TempDir,
}

impl Served {
    /// Starts a broker with its own store and some instances on a server.
    pub(crate) async fn start(service: impl Into<Service>, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, &service.into(), store);
        let broker = Broker::open(config, Arc::new(Metrics::new())).await.unwrap();
        let mut served = Self::of(broker, folder);
        for _ in 0..INSTANCES {
            let instance = Uuid::new_v4().to_string();
            served.provision(&instance).await;
            let path = format!("{instance}/service_bindings/first");
            let bound = served.ask(Method::PUT, &path, 201).await;
            served.ask(Method::DELETE, &format!("{path}?service_id=s&plan_id=p"), 200).await;
            let database = bound["credentials"]["database"].as_str().unwrap_or_default().to_owned();
            served.instances.push((instance, database));
        }
        served
    }

    /// Starts a broker with a provider of another kind, and a store in this file.
    pub(crate) async fn with(store: &str, provider: Arc<dyn Provider>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = "type: given".to_owned();
        let config = config(&folder, &Service { kind: "cockroachdb", server }, store);
        let metrics = Arc::new(Metrics::new());
        let registry = Registry::default().with_provider("given", provider);
        let broker = Broker::open_with(config, metrics, Timing::default(), &registry).await.unwrap();
        Self::of(broker, folder)
    }

    fn of(broker: Broker, folder: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let router = broker.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = Client::builder().tcp_nodelay(true).build().unwrap();
        Self { http, address, instances: Vec::new(), _broker: broker, _folder: folder }
    }

    /// The databases of the instances.
    pub(crate) fn databases(&self) -> Vec<String> {
        self.instances.iter().map(|(_, database)| database.clone()).collect()
    }

    pub(crate) async fn provision(&self, instance: &str) {
        self.ask(Method::PUT, instance, 201).await;
    }

    /// Sends a request, and asserts the status of the answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, expected: u16) -> Value {
        let request = self
            .http
            .request(method.clone(), format!("http://{}/v2/service_instances/{path}", self.address))
            .basic_auth("platform", Some(PASSWORD))
            .header("x-broker-api-version", "2.17");
        let body = json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n"});
        let request = if method == Method::PUT { request.json(&body) } else { request };
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.json().await.unwrap();
        assert_eq!(status, expected, "{path}: {body}");
        body
    }

    pub(crate) async fn bind_and_unbind(&self, instance: &str) {
        let path = format!("{instance}/service_bindings/{}", Uuid::new_v4());
        self.ask(Method::PUT, &path, 201).await;
        self.ask(Method::DELETE, &format!("{path}?service_id=s&plan_id=p"), 200).await;
    }
}

impl Bindings for Served {
    async fn pair(&self, _worker: usize, instance: usize) {
        self.bind_and_unbind(&self.instances[instance].0).await;
    }
}

fn config(folder: &TempDir, Service { kind, server }: &Service, store: &str) -> BrokerConfig {
    let at = |name: &str| folder.path().join(name);
    fs::write(at("password"), PASSWORD).unwrap();
    fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    let config = format!(
        "backends: {{main: {{{server}}}}}\n\
         services: [{{id: s, name: {kind}, type: {kind}, description: d,\n\
            plans: [{{id: p, name: default, description: d, backend: main}}]}}]\n\
         auth: {{username: platform, passwordFile: {}}}\n\
         store: \"{store}\"\nstoreKeyFile: {}\n",
        at("password").display(),
        at("key").display(),
    );
    LoadedConfig::from_yaml(&config).unwrap().complete(PartialSettings::default()).unwrap()
}
