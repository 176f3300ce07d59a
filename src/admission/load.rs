//! How much the webhook takes on at a time. More is shed at once: a queue would only let answers come too late.
//!
//! What the API server makes of a 429 (client-go's `rest/with_retry.go`, which its webhook client is): with `Retry-After` it
//! waits that long and asks again, on the same replica or another, up to ten times and within the webhook's
//! `timeoutSeconds`. Only then the call has failed, and `failurePolicy` decides: `Fail` refuses the pod with "failed calling
//! webhook", and a controller tries again with back-off; `Ignore` lets it pass. Without `Retry-After` it would fail at once.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use super::webhook::LARGEST_BODY;
use crate::telemetry::Metrics;

/// What the bodies of all reviews at a time may weigh: some hundreds of typical ones.
const MOST: usize = 32 << 20;

/// What a review weighs at least, for what it costs beside its body. So there are at most 512 at a time.
const LEAST: usize = 64 << 10;

/// Seconds after which to ask again. A review takes well under a millisecond, so the load is another by then.
const RETRY_AFTER: &str = "1";

/// What is taken on now. Cloning shares it.
#[derive(Clone)]
pub(super) struct Load {
    free: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Load {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { free: Arc::new(Semaphore::new(MOST)), metrics }
    }
}

/// Answers 429 to what is too much now.
pub(super) async fn shed(State(load): State<Load>, request: Request, next: Next) -> Response {
    let Ok(_held) = load.free.try_acquire_many(weight(request.headers())) else {
        load.metrics.shed();
        let again = [(header::RETRY_AFTER, RETRY_AFTER)];
        return (StatusCode::TOO_MANY_REQUESTS, again, "too many reviews at a time; try again")
            .into_response();
    };
    next.run(request).await
}

/// What a body of unknown length can be is what it weighs.
fn weight(headers: &HeaderMap) -> u32 {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let weight = stated.unwrap_or(LARGEST_BODY).clamp(LEAST, LARGEST_BODY);
    // LARGEST_BODY is far below.
    u32::try_from(weight).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn_with_state, routing::post};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    fn stated(length: Option<&str>) -> u32 {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.parse().unwrap());
        }
        weight(&headers)
    }

    #[test]
    fn a_review_weighs_its_body_and_at_least_something() {
        assert_eq!(stated(Some("0")), 64 << 10);
        assert_eq!(stated(Some("1048576")), 1 << 20);
        for unknown in [None, Some("-1"), Some("many"), Some("99999999999999999999"), Some("99999999999")] {
            assert_eq!(stated(unknown), 8 << 20, "{unknown:?}");
        }
    }

    /// As many as fit are held at once; the next is shed, and when one has ended another is taken.
    #[tokio::test]
    async fn what_is_too_much_is_shed_at_once_and_nothing_afterwards() {
        let metrics = Arc::new(Metrics::new());
        let load = Load::new(metrics.clone());
        let (arrived, go) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let handler = {
            let (arrived, go) = (arrived.clone(), go.clone());
            move || {
                let (arrived, go) = (arrived.clone(), go.clone());
                async move {
                    let went = go.notified();
                    arrived.add_permits(1);
                    went.await;
                }
            }
        };
        let router = Router::new().route("/", post(handler)).layer(from_fn_with_state(load, shed));
        let ask = || {
            let request = Request::post("/").header(header::CONTENT_LENGTH, 4 << 20).body(Body::empty());
            router.clone().oneshot(request.unwrap())
        };
        let held: Vec<_> = (0..8).map(|_| tokio::spawn(ask())).collect();
        let _ = arrived.acquire_many(8).await.unwrap();
        for _ in 0..3 {
            let refused = ask().await.unwrap();
            assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        }
        assert!(metrics.encode().unwrap().contains("bindery_admissions_shed_total 3\n"));
        go.notify_waiters();
        for answer in held {
            assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        let again = tokio::spawn(ask());
        let _ = arrived.acquire_many(9).await.unwrap();
        go.notify_waiters();
        assert_eq!(again.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}
