//! The recorder against a stand-in for the API server that keeps events by name.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{patch, post},
};
use kube::runtime::{reflector, watcher};
use serde_json::Value;

use super::*;

/// The events that were written, by namespace and name.
type Written = Arc<Mutex<HashMap<(String, String), Value>>>;

async fn create(
    State(written): State<Written>,
    Path(namespace): Path<String>,
    Json(event): Json<Value>,
) -> Response {
    let key = (namespace, event["metadata"]["name"].as_str().unwrap().to_owned());
    let mut written = written.lock().unwrap();
    if written.contains_key(&key) {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": ""});
        return (StatusCode::CONFLICT, Json(status)).into_response();
    }
    written.insert(key, event.clone());
    Json(event).into_response()
}

async fn add_series(
    State(written): State<Written>,
    Path(key): Path<(String, String)>,
    body: String,
) -> Response {
    let changes: Value = serde_json::from_str(&body).unwrap();
    let mut written = written.lock().unwrap();
    let event = written.get_mut(&key).unwrap();
    event["series"] = changes["series"].clone();
    Json(event.clone()).into_response()
}

/// A recorder, the Namespace `leaving` being deleted.
fn recorder(written: &Written) -> Recorder {
    let router = Router::new()
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", post(create))
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}", patch(add_series))
        .with_state(written.clone());
    let (namespaces, mut writer) = reflector::store();
    let leaving = json!({"metadata": {"name": "leaving", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(leaving).unwrap()));
    Recorder::new(Client::new(router, "default"), namespaces)
}

fn about(namespace: Option<&str>, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

fn missing(note: &str) -> Event {
    Event::warning("Bind", "BindingMissing", note.to_owned())
}

fn all(written: &Written) -> Vec<Value> {
    written.lock().unwrap().values().cloned().collect()
}

#[tokio::test]
async fn an_event_has_the_type_the_reason_the_note_and_the_object() {
    let written = Written::default();
    let web = about(Some("shop"), "web", "1");
    recorder(&written).record(&web, &missing("no such binding")).await;
    let [event] = &all(&written)[..] else { panic!("one event") };
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "BindingMissing");
    assert_eq!(event["action"], "Bind");
    assert_eq!(event["note"], "no such binding");
    assert_eq!(event["regarding"], json!({"name": "web", "namespace": "shop", "uid": "1"}));
    assert_eq!(event["reportingController"], "bindery");
    assert_eq!(event["metadata"]["namespace"], "shop");
    assert!(event.get("series").is_none(), "{event}");
}

#[tokio::test]
async fn a_repeat_is_counted_also_by_another_replica() {
    let written = Written::default();
    let (web, first, second) = (about(Some("shop"), "web", "1"), recorder(&written), recorder(&written));
    for expected in [Value::Null, json!(2), json!(3)] {
        first.record(&web, &missing("a")).await;
        assert_eq!(all(&written)[0]["series"]["count"], expected);
    }
    second.record(&web, &missing("a")).await;
    assert_eq!(all(&written).len(), 1);
    second.record(&web, &missing("b")).await;
    assert_eq!(all(&written).len(), 2, "another note is another event");
}

#[tokio::test]
async fn an_occurrence_is_told_once_also_by_another_replica() {
    let written = Written::default();
    let (web, first, second) = (about(Some("shop"), "web", "1"), recorder(&written), recorder(&written));
    for recorder in [&first, &first, &second] {
        recorder.record_once(&web, &missing("a"), "event-1").await;
    }
    let [event] = &all(&written)[..] else { panic!("one event") };
    assert!(event.get("series").is_none(), "{event}");
    first.record_once(&web, &missing("a"), "event-2").await;
    assert_eq!(all(&written).len(), 2, "another occurrence is another event");
}

#[tokio::test]
async fn nothing_is_written_in_a_terminating_namespace() {
    let written = Written::default();
    recorder(&written).record(&about(Some("leaving"), "web", "1"), &missing("a")).await;
    assert!(all(&written).is_empty());
}

#[tokio::test]
async fn events_about_cluster_scoped_objects_are_in_the_namespace_default() {
    let written = Written::default();
    let event = Event::normal("Reconcile", "FetchedCatalog", "done".to_owned());
    recorder(&written).record(&about(None, "broker", "1"), &event).await;
    let [event] = &all(&written)[..] else { panic!("one event") };
    assert_eq!((&event["metadata"]["namespace"], &event["type"]), (&json!("default"), &json!("Normal")));
}

#[tokio::test]
async fn an_event_that_could_not_be_written_is_tried_again_within_its_quiet_period() {
    let unavailable = async || StatusCode::SERVICE_UNAVAILABLE;
    let client = Client::new(Router::new().fallback(unavailable), "default");
    let recorder = Recorder::new(client, reflector::store().0).with_quiet_period(CLEANUP_INTERVAL);
    recorder.record(&about(Some("shop"), "web", "1"), &missing("a")).await;
    assert!(recorder.lock().entries.is_empty());
}

#[test]
fn the_same_event_about_the_same_object_has_one_name_and_any_other_another() {
    let named = |name: &str, uid: &str, note: &str| {
        let about = about(Some("shop"), name, uid);
        super::name(digest(&about, &missing(note), None), &about)
    };
    let name = named("web", "1", "a");
    assert!(name.starts_with("web.") && name.len() == "web.".len() + 16, "{name}");
    assert_eq!(name, named("web", "1", "a"));
    assert_ne!(name, named("web", "1", "b"));
    assert_ne!(name, named("web", "2", "a"));
    let long = named(&"a".repeat(253), "1", "a");
    assert!(long.starts_with("bindery."), "{long}");
}

#[test]
fn a_note_is_cut_where_a_character_ends() {
    let short = "é".repeat(511);
    assert_eq!(truncated(&short), short);
    let long = format!("a{}", "é".repeat(600));
    assert_eq!(truncated(&long).len(), 1023);
}

#[test]
fn an_event_is_not_repeated_within_its_quiet_period() {
    let (mut counts, quiet, start) = (Counts::default(), Duration::from_mins(5), Instant::now());
    assert_eq!(counts.next(1, quiet, start), Some(1));
    assert_eq!(counts.next(1, quiet, start + quiet / 2), None);
    assert_eq!(counts.next(2, quiet, start + quiet / 2), Some(1));
    assert_eq!(counts.next(1, quiet, start + REPEAT_INTERVAL), Some(2));
    assert_eq!(
        counts.next(1, quiet, start + REPEAT_INTERVAL * 4),
        Some(1),
        "forgotten as the API server forgets"
    );
}
