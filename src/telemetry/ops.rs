//! The operations port: `/healthz`, `/readyz` and `/metrics`, plain HTTP without secrets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::metrics::{self, Metrics};

/// The reasons why the process is not ready, by part. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Marks `part` as not ready because of `why`.
    pub fn wait_for(&self, part: &'static str, why: impl Into<String>) {
        self.lock().insert(part, why.into());
    }

    /// Marks `part` as ready.
    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// The reasons, one line each; empty if ready.
    #[must_use]
    pub fn report(&self) -> String {
        self.lock().iter().map(|(part, why)| format!("{part}: {why}\n")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        // Nothing panics while it holds the lock, and the map stays consistent after any panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of the operations port.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async |State(readiness): State<Readiness>| readyz(&readiness)))
        .with_state(readiness)
        .route(
            "/metrics",
            get(async |State(metrics): State<Arc<Metrics>>| encode(&metrics)).with_state(metrics),
        )
}

fn readyz(readiness: &Readiness) -> Response {
    let report = readiness.report();
    if report.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, report).into_response()
    }
}

fn encode(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_no_part_waits() {
        let readiness = Readiness::default();
        assert_eq!(readyz(&readiness).status(), StatusCode::OK);
        readiness.wait_for("certificate", "not made yet");
        assert_eq!(readyz(&readiness).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(readiness.report(), "certificate: not made yet\n");
        readiness.ready("certificate");
        assert_eq!(readyz(&readiness).status(), StatusCode::OK);
    }
}
