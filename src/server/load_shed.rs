//! Load shedding for the webhook: limits how much is processed at a time and rejects the rest at once, because a
//! queue would only make answers come too late.
//!
//! How the API server handles a 429 (client-go's `rest/with_retry.go`, its webhook client): with `Retry-After` it
//! waits that long and retries, on the same replica or another, up to ten times and within the webhook's
//! `timeoutSeconds`. Only then has the call failed, and `failurePolicy` decides: `Fail` refuses the pod with "failed
//! calling webhook", and a controller retries with backoff; `Ignore` admits the pod. Without `Retry-After` the call
//! would fail at once.
//!
//! Only received bytes count. Content-Length alone reserves no capacity, so a client that announces much and sends
//! nothing blocks no one.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::telemetry::Metrics;

/// The API server accepts objects of up to 3 MiB. A review adds the request, and may repeat the object (P25).
pub(crate) const LARGEST_BODY: usize = 8 << 20;

/// The capacity for the bodies of concurrent reviews: some hundreds of typical ones.
const CAPACITY: usize = 32 << 20;

/// What a review counts at least, because it costs more than its body. So at most 512 reviews run at a time.
const LEAST_WEIGHT: usize = 64 << 10;

/// Bodies from this size on are processed one after the other, because processing takes many times their memory.
const LARGE: usize = 1 << 20;

/// How long a body may take to arrive. The API server has the whole body when it sends the request.
const ARRIVAL: Duration = Duration::from_secs(2);

/// Seconds until the retry. A review takes well under a millisecond, so the load will have changed by then.
const RETRY_AFTER: &str = "1";

/// The capacity in use. Clones share it.
#[derive(Clone)]
pub(crate) struct Load {
    free: Arc<Semaphore>,
    large: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why a review is not processed.
enum Refused {
    /// The capacity is exhausted.
    Shed,
    /// The body did not arrive in time.
    Late,
    /// The body was cut off.
    Broken,
}

/// Counts a review without an answer, whatever ends it: this middleware, the time limit around it, or a client that
/// closes the connection. The API server treats each as a failed call.
struct Unanswered<'m> {
    metrics: &'m Metrics,
    /// The outcome to count, or `None` once there is an answer.
    outcome: Option<&'static str>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            self.metrics.unanswered(outcome);
        }
    }
}

impl Load {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { free: Arc::new(Semaphore::new(CAPACITY)), large: Arc::new(Semaphore::new(1)), metrics }
    }

    fn take(&self, weight: usize) -> Result<OwnedSemaphorePermit, Refused> {
        // A weight above `u32` exceeds the capacity.
        let weight = u32::try_from(weight).map_err(|_| Refused::Shed)?;
        self.free.clone().try_acquire_many_owned(weight).map_err(|_| Refused::Shed)
    }

    /// Reads a body and reserves capacity for it. An oversized body is read only until the handler can see that it is
    /// too large.
    async fn read(&self, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refused> {
        let mut held = self.take(LEAST_WEIGHT)?;
        // Content-Length only sets the size of the first allocation.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(LEAST_WEIGHT);
        let (mut read, mut stream) =
            (Vec::with_capacity(announced.min(LEAST_WEIGHT)), body.into_data_stream());
        while read.len() <= LARGEST_BODY {
            let Some(data) = stream.next().await else { break };
            let data = data.map_err(|_| Refused::Broken)?;
            let weight = read.len() + data.len();
            if let Some(more) = weight.checked_sub(held.num_permits()).filter(|more| *more > 0) {
                held.merge(self.take(more)?);
            }
            read.extend_from_slice(&data);
        }
        Ok((read, held))
    }
}

/// Answers 429 if the capacity is exhausted, and counts reviews without any answer.
pub(crate) async fn shed(State(load): State<Load>, request: Request, next: Next) -> Response {
    let mut unanswered = Unanswered { metrics: &load.metrics, outcome: Some("late") };
    let (parts, body) = request.into_parts();
    let arrived = timeout(ARRIVAL, load.read(body)).await.unwrap_or(Err(Refused::Late));
    let (body, _held) = match arrived {
        Ok(arrived) => arrived,
        Err(Refused::Shed) => {
            unanswered.outcome = None;
            load.metrics.shed();
            let again = [(header::RETRY_AFTER, RETRY_AFTER)];
            return (StatusCode::TOO_MANY_REQUESTS, again, "too many concurrent reviews; retry")
                .into_response();
        }
        Err(Refused::Late) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(Refused::Broken) => {
            unanswered.outcome = Some("broken");
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    // The semaphore is never closed.
    let _turn = if body.len() > LARGE { load.large.acquire().await.ok() } else { None };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    unanswered.outcome = None;
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{
        Router, body::Bytes, extract::DefaultBodyLimit, middleware::from_fn_with_state, routing::post,
    };
    use futures::{future::join_all, stream};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    /// Content-Length alone reserves no capacity.
    #[tokio::test(start_paused = true)]
    async fn a_content_length_without_a_body_reserves_no_capacity() {
        let metrics = Arc::new(Metrics::new());
        let layer = from_fn_with_state(Load::new(metrics.clone()), shed);
        let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string())).layer(layer);
        let stalled = || {
            let began = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) });
            let body = Body::from_stream(began.chain(stream::pending()));
            let request = Request::post("/").header(header::CONTENT_LENGTH, 8 << 20).body(body);
            tokio::spawn(router.clone().oneshot(request.unwrap()))
        };
        let stalled: Vec<_> = (0..500).map(|_| stalled()).collect();
        tokio::task::yield_now().await;
        let small = Request::post("/").body(Body::from("{}")).unwrap();
        assert_eq!(router.clone().oneshot(small).await.unwrap().status(), StatusCode::OK);
        for stalled in stalled {
            assert_eq!(stalled.await.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
        }
        let counted = metrics.encode().unwrap();
        assert!(counted.contains("bindery_admissions_shed_total 0\n"));
        assert!(counted.contains("bindery_admissions_total{outcome=\"late\"} 500\n"), "{counted}");
    }

    /// The API server treats all of them as failed, and nothing else counts them.
    #[tokio::test(start_paused = true)]
    async fn a_review_without_an_answer_is_counted_whatever_ends_it() {
        let metrics = Arc::new(Metrics::new());
        let router = Router::new()
            .route("/never", post(async || std::future::pending::<()>().await))
            .layer(from_fn_with_state(Load::new(metrics.clone()), shed));
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]));
        let answer = router.clone().oneshot(Request::post("/never").body(broken).unwrap()).await;
        assert_eq!(answer.unwrap().status(), StatusCode::BAD_REQUEST);
        let never = router.oneshot(Request::post("/never").body(Body::from("{}")).unwrap());
        assert!(timeout(Duration::from_secs(5), never).await.is_err());
        let counted = metrics.encode().unwrap();
        for outcome in ["broken", "late"] {
            let line = format!("bindery_admissions_total{{outcome=\"{outcome}\"}} 1\n");
            assert!(counted.contains(&line), "{line} is not in\n{counted}");
        }
    }

    /// A body in pieces is also shed once the capacity is exhausted, and releases what it reserved.
    #[tokio::test]
    async fn a_body_counts_as_much_as_was_received() {
        let load = Load::new(Arc::new(Metrics::new()));
        let body = |size: usize| {
            let pieces = vec![Bytes::from(vec![b' '; 64 << 10]); size / (64 << 10)];
            Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
        };
        let mut held = Vec::new();
        for size in [0, 1 << 20, 8 << 20, 16 << 20] {
            let (read, permit) = load.read(body(size)).await.ok().unwrap();
            // One piece more than the limit shows that the body is too large.
            assert_eq!(read.len(), size.min((8 << 20) + (64 << 10)));
            assert_eq!(permit.num_permits(), read.len().max(LEAST_WEIGHT));
            held.push(permit);
        }
        held.push(load.read(body(8 << 20)).await.ok().unwrap().1);
        let free = load.free.available_permits();
        assert!(load.read(body(8 << 20)).await.is_err());
        assert_eq!(load.free.available_permits(), free);
        drop(held);
        assert_eq!(load.free.available_permits(), CAPACITY);
    }

    /// Processing a large body takes many times its memory.
    #[tokio::test]
    async fn large_bodies_are_processed_one_after_the_other() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler = {
            let (now, most) = (now.clone(), most.clone());
            move |_: Bytes| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                }
            }
        };
        let layer = from_fn_with_state(Load::new(Arc::new(Metrics::new())), shed);
        let router =
            Router::new().route("/", post(handler)).layer(layer).layer(DefaultBodyLimit::max(LARGEST_BODY));
        for (size, expected) in [(3 << 20, 1), (1 << 20, 4)] {
            let request = || Request::post("/").body(Body::from(vec![b' '; size])).unwrap();
            let answers = join_all((0..4).map(|_| router.clone().oneshot(request()))).await;
            assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
            assert_eq!(most.swap(0, Ordering::SeqCst), expected, "{size}");
        }
    }

    /// As many reviews as fit are accepted, the next is shed, and when one has ended another is accepted.
    #[tokio::test]
    async fn excess_reviews_are_shed_at_once_and_none_afterwards() {
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
            let request = Request::post("/").body(Body::from(vec![b' '; LEAST_WEIGHT]));
            router.clone().oneshot(request.unwrap())
        };
        let held: Vec<_> = (0..512).map(|_| tokio::spawn(ask())).collect();
        let _ = arrived.acquire_many(512).await.unwrap();
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
        let _ = arrived.acquire_many(513).await.unwrap();
        go.notify_waiters();
        assert_eq!(again.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}
