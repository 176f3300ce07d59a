//! Maps paths to handlers and applies the same limits to all paths: a path without limits could block the others.
//! `cli::serve::roles` adds the paths of `service_brokers` and `namespace_bindings::webhook`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, MatchedPath, State, rejection::BytesRejection},
    http::StatusCode,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutLayer;
use tracing::{Instrument as _, Span, debug, field, info_span};

use super::{
    codec::{Answer, MalformedReview, Reading, Request, read},
    handler::Handler,
    namespace_defaults::{self, NamespaceDefaultsHandler},
    namespaces::Namespaces,
    pods::{self, Binder, PodHandler},
    workloads::{self, WorkloadHandler},
};
use crate::{
    bindings::awaited::Awaited,
    injection::InjectSettings,
    k8s::without_values,
    server::load_shed::{LARGEST_BODY, Load, shed},
    telemetry::{Metrics, traces},
};

/// Only a slowly sent body takes this long. The API server waits for at most 10 s by default (P12).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Handlers and their paths.
pub struct Routes {
    router: Router,
    metrics: Arc<Metrics>,
}

impl Routes {
    /// Creates a router without paths.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { router: Router::new(), metrics }
    }

    /// Adds the webhooks that bind pods. Without `awaited` no pod gets a scheduling gate.
    #[must_use]
    pub fn of_pods(
        settings: Arc<InjectSettings>,
        namespaces: Arc<dyn Namespaces>,
        awaited: Option<Arc<dyn Awaited>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let binder = Binder::new(settings, awaited, metrics.clone());
        Self::new(metrics)
            .handle(pods::PATH, PodHandler::new(binder.clone()))
            .handle(namespace_defaults::PATH, NamespaceDefaultsHandler::new(binder.clone(), namespaces))
            .handle(workloads::PATH, WorkloadHandler::new(binder))
    }

    /// Adds a handler for `POST` requests to this path.
    #[must_use]
    pub fn handle<T, Before, Author, H>(self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Before, Author>,
        T: Send + Sync + 'static,
        Before: Send + Sync + 'static,
        Author: Send + Sync + 'static,
        Request<T, Before, Author>: DeserializeOwned + Send + Sync,
    {
        let state = Arc::new((handler, self.metrics.clone()));
        let route = post(answer::<T, Before, Author, H>).with_state(state);
        Self { router: self.router.route(path, route), ..self }
    }

    /// Builds the router, with the limits around all paths.
    pub fn into_router(self) -> Router {
        let router = self
            .router
            .layer(from_fn_with_state(Load::new(self.metrics), shed))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT));
        // Each layer costs about a microsecond, even if it does nothing.
        if traces::are_made() { router.layer(from_fn(traced)) } else { router }
    }
}

/// Records the span of an admission, as a part of the API server's trace if there is one.
async fn traced(request: axum::extract::Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (kind, empty) = ("server", field::Empty);
    let span = info_span!(target: traces::TARGET, "admission", otel.kind = kind, path, namespace = empty, outcome = empty);
    let span = traces::of_request(span, request.headers());
    next.run(request).instrument(span).await
}

/// A handler and the metrics that count its outcomes.
type Entry<H> = Arc<(H, Arc<Metrics>)>;

async fn answer<T, Before, Author, H>(
    State(entry): State<Entry<H>>,
    body: Result<Bytes, BytesRejection>,
) -> Response
where
    H: Handler<T, Before, Author>,
    T: Send + Sync,
    Before: Send + Sync,
    Author: Send + Sync,
    Request<T, Before, Author>: DeserializeOwned + Send + Sync,
{
    let (handler, metrics) = &*entry;
    let began = Instant::now();
    let (outcome, response) = match body {
        Ok(body) => review(handler, &body).await.unwrap_or_else(|error| malformed(&error)),
        Err(rejection) => ("malformed", rejection.into_response()),
    };
    metrics.admission(H::NAME, outcome, began.elapsed());
    Span::current().record("outcome", outcome);
    response
}

/// Reviews a body. Returns the outcome to count and the response.
async fn review<T, Before, Author, H>(
    handler: &H,
    body: &[u8],
) -> Result<(&'static str, Response), MalformedReview>
where
    H: Handler<T, Before, Author>,
    T: Send + Sync,
    Before: Send + Sync,
    Author: Send + Sync,
    Request<T, Before, Author>: DeserializeOwned + Send + Sync,
{
    let (uid, decision) = match read::<T, Before, Author>(body)? {
        Reading::Request(request) => {
            let decision = handler.review(&request).await?;
            (request.uid().to_owned(), decision)
        }
        Reading::Unreadable { uid, why } => match handler.unreadable(&without_values(&why.to_string())) {
            Some(decision) => (uid, decision),
            None => return Err(why.into()),
        },
    };
    Ok((decision.outcome, Json(Answer::new(&uid, &decision)).into_response()))
}

fn malformed(error: &MalformedReview) -> (&'static str, Response) {
    debug!(%error, "refused a malformed review");
    ("malformed", (StatusCode::BAD_REQUEST, error.to_string()).into_response())
}
