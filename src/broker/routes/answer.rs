//! Answers: a status and a JSON body, and the status that each refusal of the engine has.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::engine::Refusal;
use crate::osb::{ErrorBody, ErrorCode};

/// See the module.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    #[expect(clippy::expect_used, reason = "bodies are structs with string keys, which are always JSON")]
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, body: serde_json::to_value(body).expect("a body of the API") }
    }

    /// 200 with `{}`.
    pub(super) fn empty() -> Self {
        Self { status: StatusCode::OK, body: json!({}) }
    }

    /// An error with text for the user.
    pub(super) fn described(status: StatusCode, description: impl Into<String>) -> Self {
        Self::new(status, &ErrorBody::described(description))
    }

    /// An error to which the specification gives a meaning.
    fn coded(code: ErrorCode, description: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, &ErrorBody::coded(code, description))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let description = refusal.to_string();
        let status = match refusal {
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::Gone(_) => StatusCode::GONE,
            Refusal::NotReady(_) | Refusal::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Concurrency(_) => return Self::coded(ErrorCode::ConcurrencyError, description),
            Refusal::MaintenanceInfo { .. } => {
                return Self::coded(ErrorCode::MaintenanceInfoConflict, description);
            }
            Refusal::Service(_)
            | Refusal::Store(_)
            | Refusal::Cipher(_)
            | Refusal::UnknownServer(_)
            | Refusal::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::described(status, description)
    }
}
