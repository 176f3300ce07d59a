//! How much the webhook takes on at a time. More is shed at once: a queue would only let answers come too late.
//!
//! What the API server makes of a 429 (client-go's `rest/with_retry.go`, which its webhook client is): with `Retry-After` it
//! waits that long and asks again, on the same replica or another, up to ten times and within the webhook's
//! `timeoutSeconds`. Only then the call has failed, and `failurePolicy` decides: `Fail` refuses the pod with "failed calling
//! webhook", and a controller tries again with back-off; `Ignore` lets it pass. Without `Retry-After` it would fail at once.
//!
//! What counts is what has come, not what a request says of itself: a client that announces much and sends nothing takes
//! nobody's room.

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

/// The API server takes objects of up to 3 MiB; a review adds the request, and may repeat the object (P25).
pub(crate) const LARGEST_BODY: usize = 8 << 20;

/// What the bodies of all reviews at a time may weigh: some hundreds of typical ones.
const MOST: usize = 32 << 20;

/// What a review weighs at least, for what it costs beside its body. So there are at most 512 at a time.
const LEAST: usize = 64 << 10;

/// From which size on a body is answered after the other large ones: what is made of it takes many times its memory.
const LARGE: usize = 1 << 20;

/// How long a body may take to come. The API server has it when it asks.
const ARRIVAL: Duration = Duration::from_secs(2);

/// Seconds after which to ask again. A review takes well under a millisecond, so the load is another by then.
const RETRY_AFTER: &str = "1";

/// What is taken on now. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Load {
    free: Arc<Semaphore>,
    large: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why a review is not taken on.
enum Refused {
    /// There is too much now.
    Shed,
    /// Its body did not come in time.
    Late,
    /// Its body broke off.
    Broken,
}

/// Counts a review that gets no answer, whoever gives it up: this middleware, the time limit around it, or who asked and
/// went. To the API server each is a failed call.
struct Unanswered<'m> {
    metrics: &'m Metrics,
    /// What to count; nothing once there is an answer.
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
        Self { free: Arc::new(Semaphore::new(MOST)), large: Arc::new(Semaphore::new(1)), metrics }
    }

    fn take(&self, weight: usize) -> Result<OwnedSemaphorePermit, Refused> {
        // A weight that is no u32 is more than there is.
        let weight = u32::try_from(weight).map_err(|_| Refused::Shed)?;
        self.free.clone().try_acquire_many_owned(weight).map_err(|_| Refused::Shed)
    }

    /// Reads a body, and holds what it weighs. Of one that is larger than any may be comes enough for the handler to see it.
    async fn read(&self, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refused> {
        let mut held = self.take(LEAST)?;
        // What is announced counts for nothing but the first allocation.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(LEAST);
        let (mut read, mut stream) = (Vec::with_capacity(announced.min(LEAST)), body.into_data_stream());
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

/// Answers 429 to what is too much now, and counts what gets no answer at all.
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
            return (StatusCode::TOO_MANY_REQUESTS, again, "too many reviews at a time; try again")
                .into_response();
        }
        Err(Refused::Late) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(Refused::Broken) => {
            unanswered.outcome = Some("broken");
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    // It is never closed.
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

    /// Whoever only says that he brings much is in nobody's way.
    #[tokio::test(start_paused = true)]
    async fn bodies_that_never_come_take_no_room() {
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

    /// The API server calls them all failed, and nobody else would count them.
    #[tokio::test(start_paused = true)]
    async fn a_review_that_gets_no_answer_is_counted_whoever_gives_it_up() {
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

    /// Also what comes in pieces is shed once there is no room for it, and gives back what it held.
    #[tokio::test]
    async fn a_body_weighs_what_has_come_of_it() {
        let load = Load::new(Arc::new(Metrics::new()));
        let body = |size: usize| {
            let pieces = vec![Bytes::from(vec![b' '; 64 << 10]); size / (64 << 10)];
            Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
        };
        let mut held = Vec::new();
        for size in [0, 1 << 20, 8 << 20, 16 << 20] {
            let (read, permit) = load.read(body(size)).await.ok().unwrap();
            // A piece more than is allowed shows that it is too large.
            assert_eq!(read.len(), size.min((8 << 20) + (64 << 10)));
            assert_eq!(permit.num_permits(), read.len().max(LEAST));
            held.push(permit);
        }
        held.push(load.read(body(8 << 20)).await.ok().unwrap().1);
        let free = load.free.available_permits();
        assert!(load.read(body(8 << 20)).await.is_err());
        assert_eq!(load.free.available_permits(), free);
        drop(held);
        assert_eq!(load.free.available_permits(), MOST);
    }

    /// What is made of a large body takes many times its memory.
    #[tokio::test]
    async fn large_bodies_are_answered_one_after_the_other() {
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
            let request = Request::post("/").body(Body::from(vec![b' '; LEAST]));
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
