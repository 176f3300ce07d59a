//! Requests about instances.

use axum::routing::{patch, put};

use super::*;
use crate::osb::OperationState;

#[tokio::test]
async fn an_asynchronous_provision_is_polled() {
    let router = Router::new()
        .route(
            "/v2/service_instances/i",
            put(async || {
                (StatusCode::ACCEPTED, Json(json!({"operation": "op", "dashboard_url": "http://d"})))
            }),
        )
        .route(
            "/v2/service_instances/i/last_operation",
            get(async || ([("retry-after", "7")], Json(json!({"state": "in progress"}))).into_response()),
        );
    let client = client(&serve(router));
    let answer = client.provision(&"i".into(), &provision_request(), None).await.unwrap();
    assert_eq!(answer.progress, Progress::InProgress(Some("op".into())));
    assert_eq!(answer.dashboard_url.as_deref(), Some("http://d"));
    let polled = client.last_operation(&key("i"), Some(&"op".into()), None).await.unwrap();
    assert_eq!(polled.operation.unwrap().state, OperationState::InProgress);
    assert_eq!(polled.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn deleting_a_missing_instance_or_binding_succeeds() {
    let url = serve(Router::new().fallback(any(async || (StatusCode::GONE, Json(json!({}))))));
    let (client, key, binding) = (client(&url), key("i"), "b".into());
    assert_eq!(client.deprovision(&key, None).await.unwrap(), Progress::Done);
    assert_eq!(client.unbind(&key, &binding, None).await.unwrap(), Progress::Done);
    assert_eq!(client.last_operation(&key, None, None).await.unwrap().operation, None);
    assert_eq!(client.binding_last_operation(&key, &binding, None, None).await.unwrap().operation, None);
}

#[tokio::test]
async fn a_refused_poll_says_whether_another_one_is_useless() {
    for (status, is_terminal) in [(400, true), (404, false), (500, false)] {
        let answer =
            async move || (StatusCode::from_u16(status).unwrap(), Json(json!({"description": "no"})));
        let client = client(&serve(Router::new().fallback(any(answer))));
        for error in [
            client.last_operation(&key("i"), None, None).await.unwrap_err(),
            client.binding_last_operation(&key("i"), &"b".into(), None, None).await.unwrap_err(),
        ] {
            let same = matches!(error, ClientError::Rejected { status: told, .. } if told == status);
            assert!(same && error.is_terminal() == is_terminal, "{error:?}");
        }
    }
}

/// The body of an update, and the answers that an update can have.
#[tokio::test]
async fn an_update_sends_what_changes_and_is_done_or_in_progress() {
    let check = async |request: HttpRequest| {
        assert_eq!(request.uri().query(), Some("accepts_incomplete=true"));
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let expected = json!({"service_id": "s", "plan_id": "q", "previous_values": {"plan_id": "p"}});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
    };
    let update = "/v2/service_instances/{id}";
    let router = Router::new().route(
        update,
        patch(async move |axum::extract::Path(id): axum::extract::Path<String>, request: HttpRequest| {
            check(request).await;
            match id.as_str() {
                "later" => (StatusCode::ACCEPTED, r#"{"operation": "up"}"#),
                "nameless" => (StatusCode::ACCEPTED, "{}"),
                "moved" => (StatusCode::OK, r#"{"dashboard_url": "http://new"}"#),
                "empty" => (StatusCode::OK, ""),
                "created" => (StatusCode::CREATED, "{}"),
                _ => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    r#"{"instance_usable": false, "update_repeatable": false}"#,
                ),
            }
        }),
    );
    let client = client(&serve(router));
    let updated = async |id: &str| client.update(&id.into(), &update_request(), None).await;
    assert_eq!(updated("later").await.unwrap().progress, Progress::InProgress(Some("up".into())));
    assert_eq!(updated("nameless").await.unwrap().progress, Progress::InProgress(None));
    let moved = updated("moved").await.unwrap();
    assert_eq!((moved.progress, moved.dashboard_url.as_deref()), (Progress::Done, Some("http://new")));
    assert_eq!(updated("empty").await.unwrap().progress, Progress::Done);
    assert!(matches!(updated("created").await, Err(ClientError::NotOsb(_))));
    let Err(ClientError::Rejected { status: 422, body }) = updated("refused").await else { panic!() };
    assert_eq!((body.instance_usable, body.update_repeatable), (Some(false), Some(false)));
}
