//! The mutating webhook: a review in, a review out. It decides from the request alone or, for a pod that does not say
//! what it is bound to, from its Namespace as well. It has no side effects, so a dry run gets the same answer (P4).

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
use serde_json::Value;
use thiserror::Error;
use tower_http::timeout::TimeoutLayer;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use super::{
    gates::{Awaited, gate},
    namespaces::{NamespaceUnread, Namespaces},
    review::{Answer, MalformedReview, Request},
};
use crate::telemetry::{Metrics, traces};
use crate::{
    injection::{
        InjectError, InjectSettings, Injection, NamespaceDefaults, Warning, inject, inject_defaults,
        takes_defaults,
        workload::{Workload, workloads},
    },
    server::load_shed::{LARGEST_BODY, Load, shed},
};

/// Where the webhook configuration points to for pods that say what they are bound to.
pub const PATH: &str = "/mutate";

/// Where it points to for pods that do not say it, in Namespaces that do.
pub const DEFAULTS_PATH: &str = "/mutate-namespace-defaults";

/// Where it points to for workloads, which are only looked at.
pub const WORKLOADS_PATH: &str = "/warn-of-workloads";

/// Only a slow body can take so long. The API server waits for at most 10 s unless told otherwise (P12).
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Webhook {
    settings: Arc<InjectSettings>,
    namespaces: Arc<dyn Namespaces>,
    awaited: Option<Arc<dyn Awaited>>,
    metrics: Arc<Metrics>,
}

/// Who says what a pod is bound to; of workloads nobody does.
#[derive(Clone, Copy)]
enum Entry {
    Pod,
    Namespace,
    Workload,
}

impl Entry {
    /// As metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
        }
    }
}

/// Answers `POST` to [`PATH`], [`DEFAULTS_PATH`] and [`WORKLOADS_PATH`]. Without `awaited` no pod gets a gate. What other
/// parts answer on the same port, `others`, is under the same limits: one path without them would hold up all.
pub fn router(
    settings: Arc<InjectSettings>,
    namespaces: Arc<dyn Namespaces>,
    awaited: Option<Arc<dyn Awaited>>,
    metrics: Arc<Metrics>,
    others: Router,
) -> Router {
    let router = Router::new()
        .route(PATH, post(mutate))
        .route(DEFAULTS_PATH, post(mutate_by_namespace))
        .route(WORKLOADS_PATH, post(warn_of_workload))
        .with_state(Webhook { settings, namespaces, awaited, metrics: metrics.clone() })
        .merge(others)
        .layer(from_fn_with_state(Load::new(metrics), shed))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT));
    // Each layer costs about a microsecond, also when it does nothing.
    if traces::are_made() { router.layer(from_fn(traced)) } else { router }
}

/// The span of an admission, which is part of the API server's trace if that makes one.
async fn traced(request: axum::extract::Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (kind, empty) = ("server", field::Empty);
    let span = info_span!(target: traces::TARGET, "admission", otel.kind = kind, path, namespace = empty, outcome = empty);
    let span = traces::of_request(span, request.headers());
    next.run(request).instrument(span).await
}

type Body = Result<Bytes, BytesRejection>;

async fn mutate(State(webhook): State<Webhook>, body: Body) -> Response {
    webhook.answer(Entry::Pod, body).await
}

async fn mutate_by_namespace(State(webhook): State<Webhook>, body: Body) -> Response {
    webhook.answer(Entry::Namespace, body).await
}

async fn warn_of_workload(State(webhook): State<Webhook>, body: Body) -> Response {
    webhook.answer(Entry::Workload, body).await
}

impl Webhook {
    async fn answer(&self, entry: Entry, body: Body) -> Response {
        let began = Instant::now();
        let (outcome, response) = match body {
            Ok(body) => self.review(entry, &body).await,
            Err(rejection) => ("malformed", rejection.into_response()),
        };
        self.metrics.admission(entry.name(), outcome, began.elapsed());
        Span::current().record("outcome", outcome);
        response
    }

    /// The outcome to count, and the answer.
    async fn review(&self, entry: Entry, body: &[u8]) -> (&'static str, Response) {
        let request = match Request::read(body) {
            Ok(request) => request,
            Err(error) => return malformed(&error),
        };
        let pod = match request.created_pod() {
            Ok(Some(pod)) => pod,
            Ok(None) => {
                let warnings = misplaced_annotations(&request);
                return ("unchanged", Json(Answer::warn(&request, &warnings)).into_response());
            }
            // Well-formed, and its user is told as of any other mistake in a pod.
            Err(MalformedReview::TooMuch) => {
                let (outcome, answer) =
                    self.decided(&request, &Value::Null, Err(InjectError::too_many_values()));
                return (outcome, Json(answer).into_response());
            }
            Err(error) => return malformed(&error),
        };
        let mut injected = match entry {
            Entry::Pod => inject(pod, &self.settings),
            Entry::Workload => Ok(Injection::default()),
            Entry::Namespace => match self.defaults(&request, pod).await {
                Ok(Some(defaults)) => inject_defaults(pod, &defaults, &self.settings),
                Ok(None) => Ok(Injection::default()),
                Err(Undecided::Malformed(error)) => return malformed(&error),
                Err(Undecided::Unread(error)) => {
                    warn!(%error, pod = name(pod), owner = owner(pod), "postponed a pod");
                    return ("postponed", Json(Answer::postpone(&request, &error)).into_response());
                }
            },
        };
        if let Ok(injection) = &mut injected {
            self.hold_back(&request, pod, injection);
        }
        let (outcome, answer) = self.decided(&request, pod, injected);
        (outcome, Json(answer).into_response())
    }

    /// What the pod's Namespace says for it. None is looked up for a pod that it has no say in.
    async fn defaults(&self, request: &Request, pod: &Value) -> Result<Option<NamespaceDefaults>, Undecided> {
        if !takes_defaults(pod) {
            return Ok(None);
        }
        Ok(self.namespaces.defaults(request.pod_namespace()?).await?)
    }

    fn decided<'a>(
        &self,
        request: &'a Request,
        pod: &Value,
        injected: Result<Injection, InjectError>,
    ) -> (&'static str, Answer<'a>) {
        let namespace = request.pod_namespace().unwrap_or_default();
        Span::current().record("namespace", namespace);
        match injected {
            Ok(injection) if injection.is_empty() => {
                debug!(namespace, pod = name(pod), owner = owner(pod), "left a pod as it is");
                ("unchanged", Answer::inject(request, &injection))
            }
            Ok(injection) => {
                self.metrics.injection(namespace);
                debug!(namespace, pod = name(pod), owner = owner(pod), "injected a pod");
                ("injected", Answer::inject(request, &injection))
            }
            Err(error) => {
                self.metrics.refusal(namespace, error.problem().reason());
                // Not the whole error: it repeats what the user wrote, which may be a credential in the wrong place.
                info!(namespace, pod = name(pod), owner = owner(pod), field = error.field(), "refused a pod");
                ("refused", Answer::refuse(request, &error))
            }
        }
    }

    /// Puts a gate on a pod that would only wait on its node.
    fn hold_back(&self, request: &Request, pod: &Value, injection: &mut Injection) {
        let (Some(awaited), Ok(namespace)) = (&self.awaited, request.pod_namespace()) else { return };
        if awaited.is_any(namespace, &injection.bindings) {
            injection.patch.0.extend(gate(pod));
        }
    }
}

/// Why it is not known what a pod is to get.
#[derive(Debug, Error)]
enum Undecided {
    #[error(transparent)]
    Malformed(#[from] MalformedReview),
    #[error(transparent)]
    Unread(#[from] NamespaceUnread),
}

/// What is wrong with workloads, if the webhook is registered for them.
fn misplaced_annotations(request: &Request) -> Vec<Warning> {
    let workloads = request.written_object().map(workloads).unwrap_or_default();
    workloads.iter().filter_map(Workload::misplaced_annotation).collect()
}

fn malformed(error: &MalformedReview) -> (&'static str, Response) {
    debug!(%error, "refused a malformed review");
    ("malformed", (StatusCode::BAD_REQUEST, error.to_string()).into_response())
}

/// A pod made by a controller has no name yet, only the beginning of one (P3).
fn name(pod: &Value) -> &str {
    let field = |name| pod.get("metadata")?.get(name)?.as_str();
    field("name").or_else(|| field("generateName")).unwrap_or_default()
}

fn owner(pod: &Value) -> &str {
    pod.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str).unwrap_or_default()
}
