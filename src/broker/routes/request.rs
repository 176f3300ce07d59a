//! What a request says: ids from the path and the query, which arrive percent-encoded, and JSON bodies. What cannot be
//! read is answered 400 with a body of the API.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::answer::Answer;
use crate::osb::{BindingId, InstanceId, Object, PlanId, ServiceId};

/// The instance that the path names.
pub(super) struct OfInstance(pub(super) InstanceId);

/// The binding that the path names, with its instance.
pub(super) struct OfBinding(pub(super) InstanceId, pub(super) BindingId);

/// The service and plan that a delete names in its query; empty when left out, for the engine to judge.
#[derive(Deserialize)]
pub(super) struct Owner {
    #[serde(default = "nobody")]
    pub(super) service_id: ServiceId,
    #[serde(default = "no_plan")]
    pub(super) plan_id: PlanId,
}

/// The body of a request to change an instance. What else it may say (context, the former values) decides nothing.
#[derive(Deserialize)]
pub(super) struct UpdateRequest {
    pub(super) service_id: ServiceId,
    pub(super) plan_id: Option<PlanId>,
    pub(super) parameters: Option<Object>,
    pub(super) maintenance_info: Option<Value>,
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

fn nobody() -> ServiceId {
    "".into()
}

fn no_plan() -> PlanId {
    "".into()
}

fn unreadable(what: &str, why: impl std::fmt::Display) -> Answer {
    Answer::described(StatusCode::BAD_REQUEST, format!("{what} cannot be read: {why}"))
}

impl<S: Send + Sync> FromRequestParts<S> for OfInstance {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| unreadable("the path", error))?;
        Ok(Self(id.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfBinding {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let ids = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((instance, binding)) = ids.map_err(|error| unreadable("the path", error))?;
        Ok(Self(instance.into(), binding.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(owner)| owner).map_err(|error| unreadable("the query", error))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let content_type =
            request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_owned());
        // Some clients send none; what they send is JSON all the same.
        if let Some(other) = content_type.filter(|content_type| !is_json(content_type)) {
            let why = format!("Content-Type is {other:?}; send application/json");
            return Err(unreadable("the body", why));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let limit = super::BODY_LIMIT;
                Answer::described(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body is larger than {limit} bytes"),
                )
            }
            _ => unreadable("the body", error),
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| unreadable("the body", error))
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
