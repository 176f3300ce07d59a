//! A simulated Open Service Broker in this process, with one service with its own ids, and with configurable faults.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, put},
};
use axum_server::Handle;
use serde_json::{Value, json};

/// The faults of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Answers every request with a web page.
    Html,
    /// Answers every request except the catalog's with 500.
    Broken,
    /// Delays every answer except the catalog's until this is cancelled.
    Hangs,
    /// Carries out creations and answers 500.
    LosesAnswers,
    /// Answers creations with 400.
    Refuses,
    /// Makes creations asynchronous and never finishes them.
    Slow,
    /// Makes creations asynchronous and lets them fail.
    FailsLater,
    /// Answers a repeated bind without credentials.
    TellsOnce,
}

/// The state of the broker and the requests that it received.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) fault: Fault,
    /// The required password of the user `user`; without one, no authentication.
    pub(crate) password: Option<String>,
    /// The bodies of the provision requests, by instance.
    pub(crate) instances: BTreeMap<String, Value>,
    /// The instance of each binding, by binding.
    pub(crate) bindings: BTreeMap<String, String>,
    /// Every request except the catalog's, as `METHOD path`.
    pub(crate) requests: Vec<String>,
    /// The credentials of new bindings.
    pub(crate) credentials: Value,
    /// The expiry of new bindings.
    pub(crate) expires_at: Option<String>,
    /// Whether bindings can be fetched.
    pub(crate) is_retrievable: bool,
    /// Additional services of the catalog.
    pub(crate) services: Vec<Value>,
}

/// A broker, running or stopped. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// A suffix that makes the broker's ids and names unique.
    pub(crate) suffix: String,
    held: Arc<Mutex<Held>>,
    server: Handle<SocketAddr>,
}

impl Broker {
    /// Starts a broker on a free port.
    pub(crate) fn start() -> Self {
        let mut broker = Self::unstarted();
        broker.serve();
        broker
    }

    /// A broker with a port that does not serve yet.
    pub(crate) fn unstarted() -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let suffix = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let credentials = json!({"host": "db", "port": 26257, "database": "cf_x", "username": "u1", "password": "p/1",
            "uri": "postgres://u1:p%2F1@db:26257/cf_x", "jdbcURL": "jdbc:x"});
        let held = Arc::new(Mutex::new(Held { credentials, ..Held::default() }));
        Self { address, suffix, held, server: Handle::new() }
    }

    /// Starts to serve at its address.
    pub(crate) fn serve(&mut self) {
        self.server = Handle::new();
        let server = axum_server::bind(self.address).handle(self.server.clone());
        tokio::spawn(server.serve(self.router().into_make_service()));
    }

    /// Stops serving, as if its pod were deleted.
    pub(crate) async fn stop(&self) {
        self.server.shutdown();
        while std::net::TcpStream::connect(self.address).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The name of the service and of the ClusterServiceBroker.
    pub(crate) fn name(&self) -> String {
        format!("cockroachdb-{}", self.suffix)
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.held().fault = fault;
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        let held = self.held();
        held.instances.is_empty() && held.bindings.is_empty()
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/v2/catalog", get(catalog))
            .route("/v2/service_instances/{instance}", put(provision).delete(deprovision))
            .route("/v2/service_instances/{instance}/last_operation", get(last_operation))
            .route(
                "/v2/service_instances/{instance}/service_bindings/{binding}",
                put(bind).get(fetch).delete(unbind),
            )
            .layer(middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self.clone())
    }
}

async fn guard(State(broker): State<Broker>, headers: HeaderMap, request: Request, next: Next) -> Response {
    while broker.held().fault == Fault::Hangs && request.uri().path() != "/v2/catalog" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let early = {
        let mut held = broker.held();
        let path = request.uri().path().to_owned();
        if path != "/v2/catalog" {
            held.requests.push(format!("{} {path}", request.method()));
        }
        let given = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let expected = held.password.as_ref().map(|password| {
            use base64::Engine;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("user:{password}")))
        });
        if expected.is_some() && given != expected {
            Some(StatusCode::UNAUTHORIZED.into_response())
        } else if held.fault == Fault::Html {
            Some(Html("<html>It works!</html>").into_response())
        } else if held.fault == Fault::Broken && path != "/v2/catalog" {
            Some(error(StatusCode::INTERNAL_SERVER_ERROR, "the disk is full"))
        } else {
            None
        }
    };
    match early {
        Some(response) => response,
        None => next.run(request).await,
    }
}

fn error(status: StatusCode, description: &str) -> Response {
    (status, Json(json!({"description": description}))).into_response()
}

async fn catalog(State(broker): State<Broker>) -> Json<Value> {
    let suffix = &broker.suffix;
    let held = broker.held();
    let mut catalog = json!({"services": [{
        "id": format!("service-{suffix}"), "name": broker.name(), "description": "SQL", "bindable": true,
        "metadata": {"bindery": {"env": {"COCKROACH_URL": "uri"}}},
        "plans": [{"id": format!("plan-{suffix}"), "name": "default", "description": "Default"},
            {"id": format!("unbindable-{suffix}"), "name": "unbindable", "description": "", "bindable": false}],
        "bindings_retrievable": held.is_retrievable,
    }]});
    catalog["services"].as_array_mut().unwrap().extend(held.services.iter().cloned());
    Json(catalog)
}

async fn provision(
    State(broker): State<Broker>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let mut held = broker.held();
    let differs = |known: &Value| ["space_guid", "plan_id"].iter().any(|key| known[key] != body[key]);
    if held.instances.get(&id).is_some_and(differs) {
        return error(StatusCode::CONFLICT, "the id is taken");
    }
    match held.fault {
        Fault::LosesAnswers => {
            held.instances.insert(id, body);
            return error(StatusCode::INTERNAL_SERVER_ERROR, "it is done, or not");
        }
        Fault::Refuses => return error(StatusCode::BAD_REQUEST, "no such size"),
        Fault::Slow | Fault::FailsLater => {
            held.instances.insert(id, body);
            return (StatusCode::ACCEPTED, Json(json!({"operation": "op-1"}))).into_response();
        }
        Fault::None | Fault::Html | Fault::Broken | Fault::Hangs | Fault::TellsOnce => {}
    }
    let status = if held.instances.insert(id, body).is_some() { StatusCode::OK } else { StatusCode::CREATED };
    (status, Json(json!({"dashboard_url": "https://dashboard"}))).into_response()
}

async fn last_operation(
    State(broker): State<Broker>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(query["operation"], "op-1");
    let held = broker.held();
    if !held.instances.contains_key(&id) {
        return StatusCode::GONE.into_response();
    }
    let state = match held.fault {
        Fault::Slow => "in progress",
        Fault::FailsLater => "failed",
        _ => "succeeded",
    };
    Json(json!({"state": state, "description": "creating (10%)"})).into_response()
}

async fn deprovision(
    State(broker): State<Broker>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut held = broker.held();
    if held.instances.get(&id).is_some_and(|known| known["plan_id"] != *query["plan_id"]) {
        return error(StatusCode::BAD_REQUEST, "it has another plan");
    }
    if held.bindings.values().any(|instance| *instance == id) {
        return error(StatusCode::BAD_REQUEST, "it has bindings");
    }
    let status = if held.instances.remove(&id).is_some() { StatusCode::OK } else { StatusCode::GONE };
    (status, Json(json!({}))).into_response()
}

async fn bind(State(broker): State<Broker>, Path((instance, binding)): Path<(String, String)>) -> Response {
    let mut held = broker.held();
    if !held.instances.contains_key(&instance) {
        return error(StatusCode::NOT_FOUND, "no such instance");
    }
    let is_known = held.bindings.insert(binding, instance).is_some();
    let status = if is_known { StatusCode::OK } else { StatusCode::CREATED };
    let body = if is_known && held.fault == Fault::TellsOnce { json!({}) } else { answer(&held) };
    (status, Json(body)).into_response()
}

fn answer(held: &Held) -> Value {
    let mut body = json!({"credentials": held.credentials});
    if let Some(end) = &held.expires_at {
        body["metadata"] = json!({"expires_at": end});
    }
    body
}

async fn fetch(State(broker): State<Broker>, Path((_, binding)): Path<(String, String)>) -> Response {
    let held = broker.held();
    if !held.is_retrievable || !held.bindings.contains_key(&binding) {
        return error(StatusCode::NOT_FOUND, "no such binding");
    }
    Json(answer(&held)).into_response()
}

async fn unbind(State(broker): State<Broker>, Path((_, binding)): Path<(String, String)>) -> Response {
    let gone = broker.held().bindings.remove(&binding).is_none();
    (if gone { StatusCode::GONE } else { StatusCode::OK }, Json(json!({}))).into_response()
}
