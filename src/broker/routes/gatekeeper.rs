//! The checks on every route, known or not, in this order: authentication (401), API version (412, before the body is
//! read), originating identity (400). Every answer echoes the request's identity and is counted.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header::WWW_AUTHENTICATE},
    middleware::Next,
    response::{IntoResponse, Response},
};

use tracing::{Instrument as _, field, info_span};

use super::{Gate, answer::Answer, identity};
use crate::{
    broker::engine::Caller,
    osb::{ApiVersion, UnsupportedVersion, header},
    telemetry::traces,
};

/// The headers of a request that passed the checks.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) version: ApiVersion,
    pub(super) caller: Caller,
}

pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let verb = verb(request.method(), path);
    let span =
        info_span!(target: traces::TARGET, "broker", otel.kind = "server", verb, result = field::Empty);
    let span = traces::of_request(span, request.headers());
    let response = answer(&gate, request, next).instrument(span.clone()).await;
    let result = result(response.status());
    span.record("result", result);
    gate.metrics.osb_request(verb, result);
    response
}

async fn answer(gate: &Gate, mut request: Request, next: Next) -> Response {
    let echo = request.headers().get(header::REQUEST_IDENTITY).cloned();
    let mut response = match check(gate, request.headers()) {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        for challenge in gate.logins.challenges() {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge);
        }
    }
    if let Some(identity) = echo {
        response.headers_mut().insert(header::REQUEST_IDENTITY, identity);
    }
    response
}

fn check(gate: &Gate, headers: &HeaderMap) -> Result<Admitted, Answer> {
    if !gate.logins.admit(headers) {
        return Err(Answer::described(
            StatusCode::UNAUTHORIZED,
            "user and password, or token, are missing or wrong; send those configured for this broker",
        ));
    }
    let version = version(headers)
        .map_err(|error| Answer::described(StatusCode::PRECONDITION_FAILED, error.to_string()))?;
    Ok(Admitted { version, caller: identity::caller(headers)? })
}

fn version(headers: &HeaderMap) -> Result<ApiVersion, UnsupportedVersion> {
    let header = headers.get(header::API_VERSION).ok_or_else(UnsupportedVersion::missing)?;
    String::from_utf8_lossy(header.as_bytes()).parse()
}

/// The verb of a request in the metrics.
fn verb(method: &Method, path: Option<&str>) -> &'static str {
    match (method, path) {
        (&Method::GET, Some(super::CATALOG)) => "catalog",
        (&Method::PUT, Some(super::INSTANCE)) => "provision",
        (&Method::GET, Some(super::INSTANCE)) => "fetch_instance",
        (&Method::PATCH, Some(super::INSTANCE)) => "update",
        (&Method::DELETE, Some(super::INSTANCE)) => "deprovision",
        (&Method::PUT, Some(super::BINDING)) => "bind",
        (&Method::GET, Some(super::BINDING)) => "fetch_binding",
        (&Method::DELETE, Some(super::BINDING)) => "unbind",
        (&Method::GET, Some(super::INSTANCE_OPERATION | super::BINDING_OPERATION)) => "last_operation",
        _ => "other",
    }
}

/// The result of a request in the metrics.
fn result(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "ok",
        201 => "created",
        202 => "accepted",
        304 => "not_modified",
        400 | 413 => "invalid",
        401 => "unauthorized",
        404 | 405 => "not_found",
        409 => "conflict",
        410 => "gone",
        412 => "unsupported_version",
        422 => "unprocessable",
        _ => "failed",
    }
}
