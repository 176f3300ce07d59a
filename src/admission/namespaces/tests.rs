//! The cached Namespaces against a stand-in for the API server that records its requests.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header::ACCEPT},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{SinkExt, channel::mpsc};
use serde_json::{Value, json};

use super::*;
use crate::contract::pod;

/// An API server with the labelled Namespace `known` in its list, and the Namespace `new`, which the watch has not
/// delivered yet.
#[derive(Clone)]
struct ApiServer {
    forbids: Arc<AtomicBool>,
    /// The path, the accepted media type and the label selector of each request.
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
    /// The sender of watch events, and its receiver until a watch connects.
    events: mpsc::Sender<Value>,
    watched: Arc<Mutex<Option<mpsc::Receiver<Value>>>>,
}

fn namespace(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "labels": {"kubernetes.io/metadata.name": name, "bindery.dev/inject": "enabled"},
            "annotations": annotations,
            "managedFields": [{"manager": "kubectl"}]
        }
    })
}

impl ApiServer {
    fn new() -> Self {
        let (events, watched) = mpsc::channel(10);
        let watched = Arc::new(Mutex::new(Some(watched)));
        Self { forbids: Arc::default(), asked: Arc::default(), events, watched }
    }

    fn client(&self) -> Client {
        let router = Router::new()
            .route("/api/v1/namespaces", get(list_or_watch))
            .route("/api/v1/namespaces/{name}", get(get_one))
            .with_state(self.clone());
        Client::new(router, "default")
    }

    fn note(&self, path: &str, headers: &HeaderMap, query: Option<&str>) {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let selector = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, _)| name == "labelSelector")
            .map(|(_, value)| value.into_owned());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((path.to_owned(), accept.to_owned(), selector.unwrap_or_default()));
    }

    /// The paths of single Namespaces that were requested.
    fn looked_up(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, ..)| path).filter(|path| !path.is_empty()).cloned().collect()
    }
}

fn failure(status: StatusCode, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "status": "Failure", "reason": status.canonical_reason().map(|text| text.replace(' ', "")),
        "code": status.as_u16(), "message": message
    });
    (status, Json(body)).into_response()
}

async fn list_or_watch(
    State(server): State<ApiServer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    server.note("", &headers, query.as_deref());
    if server.forbids.load(Ordering::Relaxed) {
        return failure(StatusCode::FORBIDDEN, "namespaces is forbidden");
    }
    if query.is_some_and(|query| query.contains("watch=true")) {
        let events = server.watched.lock().unwrap().take().expect("one watch");
        let lines = events.map(|event| Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n"))));
        return Body::from_stream(lines).into_response();
    }
    let known = namespace("known", &json!({"bindery.dev/bind": "b", "example.com/large": "x"}));
    Json(json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
        "metadata": {"resourceVersion": "1"}, "items": [known]
    }))
    .into_response()
}

async fn get_one(State(server): State<ApiServer>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    server.note(&name, &headers, None);
    match name.as_str() {
        _ if server.forbids.load(Ordering::Relaxed) => failure(StatusCode::FORBIDDEN, "it is forbidden"),
        "new" => Json(namespace("new", &json!({"bindery.dev/bind": "n"}))).into_response(),
        "silent" => std::future::pending().await,
        _ => failure(StatusCode::NOT_FOUND, "there is none"),
    }
}

/// The defaults of a Namespace that binds this binding.
fn binds(name: &str, binding: &str) -> Option<NamespaceDefaults> {
    let (label, enabled) = namespace::INJECT;
    let entry = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    NamespaceDefaults::read(name, &entry(label, enabled), &entry(pod::BIND, binding))
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// The cached Namespaces after the first list.
async fn ready(server: &ApiServer) -> WatchedNamespaces {
    let readiness = Readiness::default();
    let (namespaces, watch) = WatchedNamespaces::new(server.client(), readiness.clone());
    tokio::spawn(watch);
    until("ready", || readiness.report().is_empty()).await;
    namespaces
}

#[tokio::test]
async fn a_namespace_that_is_watched_is_not_looked_up() {
    let server = ApiServer::new();
    let namespaces = ready(&server).await;
    assert_eq!(namespaces.defaults("known").await.unwrap(), binds("known", "b"));
    assert_eq!(server.looked_up(), Vec::<String>::new());
    let asked = server.asked.lock().unwrap();
    let (_, accept, selector) = &asked[0];
    assert!(accept.contains("as=PartialObjectMetadataList"), "{accept}");
    assert_eq!(selector, "bindery.dev/inject=enabled");
    let kept = &namespaces.labelled.state()[0].metadata;
    assert_eq!(kept.annotations, Some(BTreeMap::from([(pod::BIND.to_owned(), "b".to_owned())])));
    assert_eq!(kept.managed_fields, None);
}

#[tokio::test]
async fn one_that_is_not_known_yet_is_looked_up() {
    let server = ApiServer::new();
    let namespaces = ready(&server).await;
    assert_eq!(namespaces.defaults("new").await.unwrap(), binds("new", "n"));
    assert_eq!(namespaces.defaults("gone").await.unwrap(), None);
    assert_eq!(server.looked_up(), ["new", "gone"]);
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|(_, accept, _)| accept.contains("PartialObjectMetadata")), "{asked:?}");
}

#[tokio::test]
async fn what_the_watch_shows_is_known_afterwards() {
    let mut server = ApiServer::new();
    let namespaces = ready(&server).await;
    let changed = namespace("known", &json!({"bindery.dev/bind": "changed"}));
    server.events.send(json!({"type": "MODIFIED", "object": changed})).await.unwrap();
    let known = |namespaces: &WatchedNamespaces| namespaces.labelled.get(&ObjectRef::new("known"));
    until("changed", || {
        known(&namespaces).is_some_and(|known| read("known", &known.metadata) == binds("known", "changed"))
    })
    .await;
    // The Namespace lost its label.
    server.events.send(json!({"type": "DELETED", "object": changed})).await.unwrap();
    until("unknown", || known(&namespaces).is_none()).await;
}

#[tokio::test]
async fn nothing_is_ready_while_namespaces_cannot_be_read() {
    let server = ApiServer::new();
    server.forbids.store(true, Ordering::Relaxed);
    let readiness = Readiness::default();
    let (namespaces, watch) = WatchedNamespaces::new(server.client(), readiness.clone());
    assert_eq!(readiness.report(), "namespaces: the labelled Namespaces have not been read yet\n");
    tokio::spawn(watch);
    until("told", || readiness.report().contains("is forbidden")).await;
    let report = readiness.report();
    assert!(report.contains("let bindery get, list and watch namespaces"), "{report}");
    let error = namespaces.defaults("new").await.unwrap_err().to_string();
    assert_eq!(error, format!("Namespace new cannot be read: it is forbidden; {GRANT}"));
    server.forbids.store(false, Ordering::Relaxed);
    until("ready", || readiness.report().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_up_does_not_take_for_ever() {
    let (namespaces, _) = WatchedNamespaces::new(ApiServer::new().client(), Readiness::default());
    let error = namespaces.defaults("silent").await.unwrap_err().to_string();
    assert_eq!(error, format!("Namespace silent cannot be read: no answer within 2 s; {RETRY}"));
}
