//! Parsing requests: percent-encoded ids from the path and the query, and JSON bodies. An unreadable request gets 400
//! with a body as in the API.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    super::engine::{BindWanted, RequestContext},
    answer::Answer,
    gatekeeper::Admitted,
};
use crate::osb::{ApiVersion, BindingId, InstanceId, Object, PlanId, RotateRequest, ServiceId};

/// The instance in the path.
pub(super) struct OfInstance(pub(super) InstanceId);

/// The binding in the path, with its instance.
pub(super) struct OfBinding(pub(super) InstanceId, pub(super) BindingId);

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    service_id: Option<ServiceId>,
    plan_id: Option<PlanId>,
    operation: Option<String>,
    accepts_incomplete: Option<String>,
}

/// [`Query`] as an extractor.
pub(super) struct ParsedQuery(pub(super) Query);

impl Query {
    /// The service and plan of a delete; empty if absent, which the engine then rejects.
    pub(super) fn owner(&self) -> (ServiceId, PlanId) {
        let nobody = || (ServiceId::from(""), PlanId::from(""));
        (
            self.service_id.clone().unwrap_or_else(|| nobody().0),
            self.plan_id.clone().unwrap_or_else(|| nobody().1),
        )
    }

    /// The operation in the query. Some clients send the parameter without a value.
    pub(super) fn operation(&self) -> Option<&str> {
        self.operation.as_deref().filter(|operation| !operation.is_empty())
    }

    /// The caller, and whether the platform can poll.
    pub(super) fn context(&self, admitted: Admitted) -> RequestContext {
        let accepts_incomplete = self.accepts_incomplete.as_deref() == Some("true");
        RequestContext { caller: admitted.caller, accepts_incomplete }
    }
}

/// The body of a request for a new binding or for a successor.
pub(super) struct BindBody(Object);

impl<'de> Deserialize<'de> for BindBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer).map(Self)
    }
}

impl BindBody {
    /// The requested binding. Ignores the field for rotation from platforms whose version lacks rotation.
    pub(super) fn wanted(self, version: ApiVersion) -> Result<BindWanted, Answer> {
        let predecessor = self.0.get("predecessor_binding_id").filter(|id| !id.is_null());
        let is_rotation = version.has_minor(17) && predecessor.is_some();
        let body = Value::Object(self.0);
        if is_rotation {
            members(body).map(|request: RotateRequest| BindWanted::Successor(request.predecessor_binding_id))
        } else {
            members(body).map(BindWanted::New)
        }
    }
}

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum nesting of a body. Its record adds a few levels, and parsers accept 128.
const MOST_LEVELS: usize = 100;

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(levels).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

pub(super) struct Body<T>(pub(super) T);

fn unreadable(what: &str, why: impl std::fmt::Display) -> Answer {
    Answer::described(StatusCode::BAD_REQUEST, format!("{what} cannot be read: {why}"))
}

/// Deserializes a body; the error names the field.
fn members<T: DeserializeOwned>(body: Value) -> Result<T, Answer> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner());
        unreadable("the body", if path == "." { problem.to_string() } else { format!("{path}: {problem}") })
    })
}

/// Rejects a part of the URI with a `%` that does not begin an octet, or with octets that are not UTF-8 (RFC 3986, 2.1
/// and 2.5). Decoders would keep the former and replace the latter, so that two ids could become equal.
fn check_encoding(what: &str, text: &str) -> Result<(), Answer> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        rest = match &rest[at + 1..] {
            [first, second, after @ ..] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() => after,
            _ => {
                return Err(unreadable(
                    what,
                    "a % is not followed by two hexadecimal digits; write % itself as %25",
                ));
            }
        };
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(drop).map_err(|_| unreadable(what, "its octets are no UTF-8; encode it as UTF-8"))
}

impl<S: Send + Sync> FromRequestParts<S> for OfInstance {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        check_encoding("the path", parts.uri.path())?;
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| unreadable("the path", error))?;
        Ok(Self(id.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfBinding {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        check_encoding("the path", parts.uri.path())?;
        let ids = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((instance, binding)) = ids.map_err(|error| unreadable("the path", error))?;
        Ok(Self(instance.into(), binding.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ParsedQuery {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        check_encoding("the query", parts.uri.query().unwrap_or_default())?;
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(query) = query.map_err(|error| unreadable("the query", error))?;
        Ok(Self(query))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let content_type =
            request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_owned());
        // Some clients send no content type; their bodies are JSON anyway.
        if let Some(other) = content_type.filter(|content_type| !is_json(content_type)) {
            let why = format!("Content-Type is {other:?}; send application/json");
            return Err(unreadable("the body", why));
        }
        let reading = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
        let read = reading.await.map_err(|_| {
            let why = format!("it did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Answer::described(StatusCode::REQUEST_TIMEOUT, format!("the body cannot be read: {why}"))
        })?;
        let bytes = read.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let limit = super::BODY_LIMIT;
                Answer::described(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body is larger than {limit} bytes"),
                )
            }
            _ => unreadable("the body", error),
        })?;
        // Parse an object first: serde would accept a list as the fields in order.
        let body: Object = serde_json::from_slice(&bytes).map_err(|error| unreadable("the body", error))?;
        let body = Value::Object(body);
        if levels(&body) > MOST_LEVELS {
            let why = format!("it nests deeper than {MOST_LEVELS} levels; make the parameters flatter");
            return Err(unreadable("the body", why));
        }
        members(body).map(Self)
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use axum::{body, response::IntoResponse};

    use super::*;

    async fn answered(levels: usize) -> Result<Value, String> {
        let parameters = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        let request = Request::new(body::Body::from(format!("{{\"parameters\": {parameters}}}")));
        match Body::<Value>::from_request(request, &()).await {
            Ok(Body(value)) => Ok(value),
            Err(answer) => {
                let response = answer.into_response();
                assert_eq!(response.status(), StatusCode::BAD_REQUEST);
                let said = body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                Err(String::from_utf8(said.to_vec()).unwrap())
            }
        }
    }

    /// A body that is accepted can be recorded, which adds some levels, and read again.
    #[tokio::test]
    async fn a_body_that_no_record_could_be_read_with_is_refused() {
        let accepted = answered(MOST_LEVELS).await.unwrap();
        assert_eq!(levels(&accepted), MOST_LEVELS);
        for deep in [MOST_LEVELS + 1, 126] {
            assert!(answered(deep).await.unwrap_err().contains("deeper than 100 levels"), "{deep}");
        }
        assert!(answered(1000).await.is_err());
    }
}
