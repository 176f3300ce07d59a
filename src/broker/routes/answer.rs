//! Answers: a status and a JSON body, and the status of each [`Refusal`].

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::engine::Refusal;
use crate::osb::{ApiVersion, ErrorBody, ErrorCode, LastOperation, OperationState};

/// When a platform that polls should ask again, in seconds.
const RETRY_AFTER: u64 = 2;

/// A status and a JSON body.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Value,
    retry_after: Option<u64>,
}

impl Answer {
    #[expect(clippy::expect_used, reason = "bodies are structs with string keys, which are always JSON")]
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, body: serde_json::to_value(body).expect("a body of the API"), retry_after: None }
    }

    /// 200 with `{}`.
    pub(super) fn empty() -> Self {
        Self { status: StatusCode::OK, body: json!({}), retry_after: None }
    }

    /// The state of an operation, and when to ask again (since 2.15).
    pub(super) fn polled(operation: &LastOperation, version: ApiVersion) -> Self {
        let is_going_on = operation.state == OperationState::InProgress && version.has_minor(15);
        Self { retry_after: is_going_on.then_some(RETRY_AFTER), ..Self::new(StatusCode::OK, operation) }
    }

    /// The answer to a failed change or delete of an instance, with whether the instance is usable (since 2.16).
    pub(super) fn of(refusal: Refusal, version: ApiVersion) -> Self {
        let (usable, repeatable) = match &refusal {
            Refusal::Update { is_taken_back, .. } => (Some(*is_taken_back), Some(*is_taken_back)),
            Refusal::Delete(_) => (Some(false), None),
            _ => (None, None),
        };
        let mut answer = Self::from(refusal);
        if version.has_minor(16)
            && let Value::Object(body) = &mut answer.body
        {
            let fields = [("instance_usable", usable), ("update_repeatable", repeatable)];
            let said = fields.into_iter().filter_map(|(field, said)| Some((field.to_owned(), said?.into())));
            body.extend(said);
        }
        answer
    }

    /// An error with text for the user.
    pub(super) fn described(status: StatusCode, description: impl Into<String>) -> Self {
        Self::new(status, &ErrorBody::described(description))
    }

    /// An error with a code of the specification.
    fn coded(code: ErrorCode, description: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, &ErrorBody::coded(code, description))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let description = refusal.user_message();
        let status = match refusal {
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::Gone(_) => StatusCode::GONE,
            Refusal::NotReady(_) | Refusal::Unsupported(_) | Refusal::Update { is_of_state: true, .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Refusal::AsyncRequired => return Self::coded(ErrorCode::AsyncRequired, description),
            Refusal::RequiresApp(_) => return Self::coded(ErrorCode::RequiresApp, description),
            Refusal::Concurrency(_) | Refusal::Busy => {
                return Self::coded(ErrorCode::ConcurrencyError, description);
            }
            Refusal::MaintenanceInfo { .. } => {
                return Self::coded(ErrorCode::MaintenanceInfoConflict, description);
            }
            Refusal::Service(_)
            | Refusal::Update { .. }
            | Refusal::Delete(_)
            | Refusal::Halted
            | Refusal::Store(_)
            | Refusal::Cipher(_)
            | Refusal::UnknownBackend(_)
            | Refusal::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::described(status, description)
    }
}
