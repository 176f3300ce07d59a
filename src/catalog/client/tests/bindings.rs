//! Requests about bindings.

use axum::{extract::Path, routing::put};

use super::*;
use crate::osb::{OperationState, RotateRequest};

type Ids = Path<(String, String)>;

async fn bind(Path((_, id)): Ids, request: HttpRequest) -> (StatusCode, String) {
    assert_eq!(request.uri().query(), Some("accepts_incomplete=true"));
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    match id.as_str() {
        "later" => (StatusCode::ACCEPTED, r#"{"operation": "bind-1"}"#.to_owned()),
        "nameless" => (StatusCode::ACCEPTED, String::new()),
        _ => (StatusCode::CREATED, json!({"credentials": body}).to_string()),
    }
}

async fn unbind(Path((_, id)): Ids, request: HttpRequest) -> (StatusCode, &'static str) {
    assert_eq!(request.uri().query(), Some("service_id=s%261&plan_id=p+1&accepts_incomplete=true"));
    match id.as_str() {
        "later" => (StatusCode::ACCEPTED, r#"{"operation": "unbind-1"}"#),
        _ => (StatusCode::OK, "{}"),
    }
}

async fn poll(request: HttpRequest) -> impl IntoResponse {
    assert_eq!(request.uri().query(), Some("service_id=s%261&plan_id=p+1&operation=bind-1"));
    ([("retry-after", "3")], Json(json!({"state": "failed", "description": "no room"})))
}

fn broker() -> BrokerClient {
    let of_binding = "/v2/service_instances/{instance}/service_bindings/{binding}";
    let fetched = async || Json(json!({"credentials": {"a": 1}, "parameters": {"role": "reader"}}));
    let router = Router::new()
        .route(of_binding, put(bind).delete(unbind).get(fetched))
        .route(&format!("{of_binding}/last_operation"), get(poll));
    client(&serve(router))
}

#[tokio::test]
async fn a_bind_is_done_or_in_progress() {
    let client = broker();
    let bound = async |id: &str| client.bind(&"i".into(), &id.into(), &bind_request(), None).await.unwrap();
    let Bound::Done(response) = bound("now").await else { panic!() };
    assert!(response.gives_something());
    assert_eq!(bound("later").await, Bound::InProgress(Some("bind-1".into())));
    assert_eq!(bound("nameless").await, Bound::InProgress(None));
    let polled = client
        .binding_last_operation(&key("i"), &"later".into(), Some(&"bind-1".into()), None)
        .await
        .unwrap();
    let last = polled.operation.unwrap();
    assert_eq!((last.state, last.description.as_deref()), (OperationState::Failed, Some("no room")));
    assert_eq!(polled.retry_after, Some(Duration::from_secs(3)));
    assert!(client.binding(&key("i"), &"later".into(), None).await.unwrap().gives_something());
}

#[tokio::test]
async fn a_bind_names_the_binding_that_it_replaces() {
    let client = broker();
    let request = RotateRequest { predecessor_binding_id: "old".into() };
    let Bound::Done(response) = client.bind(&"i".into(), &"b".into(), &request, None).await.unwrap() else {
        panic!()
    };
    let sent = response.credentials.unwrap().expose().clone();
    assert_eq!(json!(sent), json!({"predecessor_binding_id": "old"}));
}

#[tokio::test]
async fn an_unbind_is_done_or_in_progress() {
    let client = broker();
    let unbound = async |id: &str| client.unbind(&key("i"), &id.into(), None).await.unwrap();
    assert_eq!(unbound("now").await, Progress::Done);
    assert_eq!(unbound("later").await, Progress::InProgress(Some("unbind-1".into())));
}
