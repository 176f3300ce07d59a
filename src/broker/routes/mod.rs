//! The Open Service Broker API over HTTP (spec.md v2.17): converts requests to calls of the engine, and its results to
//! a status and a body. `gatekeeper` has the checks on every route; `compat` decides which fields an older platform
//! gets.

mod answer;
mod auth;
mod catalog;
mod compat;
mod gatekeeper;
mod identity;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::auth::Logins;
use self::{
    answer::Answer,
    gatekeeper::Admitted,
    request::{BindBody, Body, OfBinding, OfInstance, ParsedQuery},
};
use super::engine::{BindResult, Engine, FetchedBinding, Provisioned, Status};
use crate::{
    osb::{AsyncResponse, BindResponse, Operation, ProvisionRequest, ProvisionResponse, UpdateRequest},
    telemetry::Metrics,
};
use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, put},
};

/// Parameters and context are small; a larger body is an error.
const BODY_LIMIT: usize = 1 << 20;

pub(crate) const CATALOG: &str = "/v2/catalog";
pub(crate) const INSTANCE: &str = "/v2/service_instances/{instance}";
pub(crate) const INSTANCE_OPERATION: &str = "/v2/service_instances/{instance}/last_operation";
pub(crate) const BINDING: &str = "/v2/service_instances/{instance}/service_bindings/{binding}";
pub(crate) const BINDING_OPERATION: &str =
    "/v2/service_instances/{instance}/service_bindings/{binding}/last_operation";

/// The state of the checks on every route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) logins: Arc<Logins>,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) fn router(engine: Engine, gate: Gate) -> Router {
    Router::new()
        .route(CATALOG, get(catalog::fetch))
        .route(INSTANCE, put(provision).get(fetch_instance).patch(update).delete(deprovision))
        .route(INSTANCE_OPERATION, get(instance_operation))
        .route(BINDING, put(bind).get(fetch_binding).delete(unbind))
        .route(BINDING_OPERATION, get(binding_operation))
        .fallback(async || Answer::described(StatusCode::NOT_FOUND, "there is no such route"))
        .method_not_allowed_fallback(async || {
            Answer::described(StatusCode::METHOD_NOT_ALLOWED, "this route does not have this method")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(gate, gatekeeper::admit))
        .with_state(engine)
}

type Admission = Extension<Admitted>;

async fn provision(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    ParsedQuery(query): ParsedQuery,
    Body(mut request): Body<ProvisionRequest>,
) -> Result<Answer, Answer> {
    let version = admitted.version;
    request.maintenance_info = compat::maintenance_info(request.maintenance_info, version);
    let Provisioned { status, described } = engine.provision(query.context(admitted), id, request).await?;
    let (status, operation) = created(status);
    let body = ProvisionResponse {
        dashboard_url: described.dashboard_url,
        operation,
        metadata: compat::instance_metadata(described.metadata, version),
    };
    Ok(Answer::new(status, &body))
}

async fn fetch_instance(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
) -> Result<Answer, Answer> {
    let found = engine.instance(&id).await?;
    Ok(Answer::new(StatusCode::OK, &compat::fetched_instance(found, admitted.version)))
}

async fn update(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    ParsedQuery(query): ParsedQuery,
    Body(mut request): Body<UpdateRequest>,
) -> Result<Answer, Answer> {
    let version = admitted.version;
    request.maintenance_info = compat::maintenance_info(request.maintenance_info, version);
    let updated = engine.update(query.context(admitted), id, request).await;
    Ok(changed(updated.map_err(|refusal| Answer::of(refusal, version))?))
}

async fn deprovision(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    ParsedQuery(query): ParsedQuery,
) -> Result<Answer, Answer> {
    let version = admitted.version;
    let (service_id, plan_id) = query.owner();
    let deleted = engine.deprovision(query.context(admitted), id, service_id, plan_id).await;
    Ok(changed(deleted.map_err(|refusal| Answer::of(refusal, version))?))
}

async fn instance_operation(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    ParsedQuery(query): ParsedQuery,
) -> Result<Answer, Answer> {
    let found = engine.last_operation(&id, query.operation()).await?;
    Ok(Answer::polled(&compat::last_operation(found, admitted.version), admitted.version))
}

async fn bind(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
    ParsedQuery(query): ParsedQuery,
    Body(wanted): Body<BindBody>,
) -> Result<Answer, Answer> {
    let version = admitted.version;
    let BindResult { status, bound } =
        engine.bind(query.context(admitted), instance, id, wanted.wanted(version)?).await?;
    let (status, operation) = created(status);
    let body = bound.map_or_else(BindResponse::default, |bound| compat::bound(bound, version));
    Ok(Answer::new(status, &BindResponse { operation, ..body }))
}

async fn fetch_binding(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
) -> Result<Answer, Answer> {
    let FetchedBinding { bound, parameters } = engine.binding(admitted.caller, instance, id).await?;
    let parameters = Some(parameters).filter(|parameters| !parameters.is_empty());
    let body = BindResponse { parameters, ..compat::bound(bound, admitted.version) };
    Ok(Answer::new(StatusCode::OK, &body))
}

async fn unbind(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
    ParsedQuery(query): ParsedQuery,
) -> Result<Answer, Answer> {
    let (service_id, plan_id) = query.owner();
    Ok(changed(engine.unbind(query.context(admitted), instance, id, service_id, plan_id).await?))
}

async fn binding_operation(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
    ParsedQuery(query): ParsedQuery,
) -> Result<Answer, Answer> {
    let found = engine.last_binding_operation(&instance, &id, query.operation()).await?;
    Ok(Answer::polled(&compat::last_operation(found, admitted.version), admitted.version))
}

/// The status for a creation, and the operation if it is still in progress.
fn created(status: Status) -> (StatusCode, Option<Operation>) {
    match status {
        Status::Done => (StatusCode::CREATED, None),
        Status::Already => (StatusCode::OK, None),
        Status::Accepted(operation) => (StatusCode::ACCEPTED, Some(operation.into())),
    }
}

/// The answer to an update or a delete.
fn changed(status: Status) -> Answer {
    match status {
        Status::Done | Status::Already => Answer::empty(),
        Status::Accepted(operation) => {
            Answer::new(StatusCode::ACCEPTED, &AsyncResponse { operation: Some(operation.into()) })
        }
    }
}
