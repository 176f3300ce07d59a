//! The mutating webhook: a review in, a review out. It decides from the request alone, has no side
//! effects and waits for nothing, so a dry run gets the same answer (P4).

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use tower_http::timeout::TimeoutLayer;
use tracing::{debug, info};

use super::{
    inject::{
        InjectSettings, Warning, inject,
        workload::{Workload, workloads},
    },
    review::{Answer, MalformedReview, Request},
};
use crate::telemetry::Metrics;

/// Where the webhook configuration points to.
pub const PATH: &str = "/mutate";

/// The API server takes objects of up to 3 MiB; a review adds the request, and may repeat the object (P25).
const LARGEST_BODY: usize = 8 << 20;

/// Only a slow body can take so long. The API server waits for at most 10 s unless told otherwise (P12).
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Webhook {
    settings: Arc<InjectSettings>,
    metrics: Arc<Metrics>,
}

/// Answers `POST /mutate`.
pub fn router(settings: Arc<InjectSettings>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route(PATH, post(mutate))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT))
        .with_state(Webhook { settings, metrics })
}

async fn mutate(State(webhook): State<Webhook>, body: Result<Bytes, BytesRejection>) -> Response {
    let (outcome, response) = match body {
        Ok(body) => webhook.review(&body),
        Err(rejection) => ("malformed", rejection.into_response()),
    };
    webhook.metrics.admission(outcome);
    response
}

impl Webhook {
    /// The outcome to count, and the answer.
    fn review(&self, body: &[u8]) -> (&'static str, Response) {
        let request = match Request::read(body) {
            Ok(request) => request,
            Err(error) => return malformed(&error),
        };
        match request.created_pod() {
            Ok(Some(pod)) => {
                let (outcome, answer) = self.inject(&request, pod);
                (outcome, Json(answer).into_response())
            }
            Ok(None) => {
                let warnings = misplaced_annotations(&request);
                ("unchanged", Json(Answer::warn(&request, &warnings)).into_response())
            }
            Err(error) => malformed(&error),
        }
    }

    fn inject<'a>(&self, request: &'a Request, pod: &Value) -> (&'static str, Answer<'a>) {
        let namespace = request.namespace.as_deref().unwrap_or_default();
        match inject(pod, &self.settings) {
            Ok(injection) => {
                let outcome = if injection.is_empty() { "unchanged" } else { "injected" };
                debug!(namespace, pod = name(pod), owner = owner(pod), outcome, "answered");
                (outcome, Answer::inject(request, &injection))
            }
            Err(error) => {
                // Not the whole error: it repeats what the user wrote, which may be a credential in the wrong place.
                info!(namespace, pod = name(pod), owner = owner(pod), field = error.field(), "refused a pod");
                ("refused", Answer::refuse(request, &error))
            }
        }
    }
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
