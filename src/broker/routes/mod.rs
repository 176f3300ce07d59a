//! The Open Service Broker API over HTTP (spec.md v2.17): what a request says becomes a call to the engine, and what the
//! engine answers becomes a status and a body. The checks that come first on every route are in `gatekeeper`; which
//! fields an older platform gets is in `compat`.

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

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, put},
};
use serde_json::json;

pub(crate) use self::auth::Logins;
use self::{
    answer::Answer,
    gatekeeper::Admitted,
    request::{Body, OfBinding, OfInstance, Owner, UpdateRequest},
};
use super::engine::{Engine, Update};
use crate::{
    osb::{BindRequest, BindResponse, ProvisionRequest, ProvisionResponse},
    telemetry::Metrics,
};

/// Parameters and context are small; nobody needs more.
const BODY_LIMIT: usize = 1 << 20;

pub(crate) const CATALOG: &str = "/v2/catalog";
pub(crate) const INSTANCE: &str = "/v2/service_instances/{instance}";
pub(crate) const INSTANCE_OPERATION: &str = "/v2/service_instances/{instance}/last_operation";
pub(crate) const BINDING: &str = "/v2/service_instances/{instance}/service_bindings/{binding}";
pub(crate) const BINDING_OPERATION: &str =
    "/v2/service_instances/{instance}/service_bindings/{binding}/last_operation";

/// What the checks on every route need.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) logins: Arc<Logins>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The routes of the broker.
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
    Body(request): Body<ProvisionRequest>,
) -> Result<Answer, Answer> {
    let created = engine.provision(admitted.caller, id, request).await?;
    Ok(Answer::new(created_or_ok(created), &ProvisionResponse::default()))
}

async fn fetch_instance(State(engine): State<Engine>, OfInstance(id): OfInstance) -> Result<Answer, Answer> {
    let found = engine.instance(&id).await?;
    let mut body = json!({"service_id": found.service_id, "plan_id": found.plan_id});
    if !found.parameters.is_empty() {
        body["parameters"] = found.parameters.into();
    }
    Ok(Answer::new(StatusCode::OK, &body))
}

async fn update(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    Body(request): Body<UpdateRequest>,
) -> Result<Answer, Answer> {
    let UpdateRequest { service_id, plan_id, parameters, maintenance_info } = request;
    let update = Update { service_id, plan_id, parameters, maintenance_info };
    engine.update(admitted.caller, id, update).await?;
    Ok(Answer::empty())
}

async fn deprovision(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfInstance(id): OfInstance,
    owner: Owner,
) -> Result<Answer, Answer> {
    engine.deprovision(admitted.caller, id, owner.service_id, owner.plan_id).await?;
    Ok(Answer::empty())
}

async fn instance_operation(
    State(engine): State<Engine>,
    OfInstance(id): OfInstance,
) -> Result<Answer, Answer> {
    Ok(Answer::new(StatusCode::OK, &engine.last_operation(&id).await?))
}

async fn bind(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
    Body(request): Body<BindRequest>,
) -> Result<Answer, Answer> {
    let bound = engine.bind(admitted.caller, instance, id, request).await?;
    let body = BindResponse { credentials: Some(bound.credentials), ..BindResponse::default() };
    Ok(Answer::new(created_or_ok(bound.created), &body))
}

async fn fetch_binding(
    State(engine): State<Engine>,
    OfBinding(instance, id): OfBinding,
) -> Result<Answer, Answer> {
    let found = engine.binding(&instance, &id).await?;
    let mut body = json!({"credentials": found.credentials});
    if !found.parameters.is_empty() {
        body["parameters"] = found.parameters.into();
    }
    Ok(Answer::new(StatusCode::OK, &body))
}

async fn unbind(
    State(engine): State<Engine>,
    Extension(admitted): Admission,
    OfBinding(instance, id): OfBinding,
    owner: Owner,
) -> Result<Answer, Answer> {
    engine.unbind(admitted.caller, instance, id, owner.service_id, owner.plan_id).await?;
    Ok(Answer::empty())
}

async fn binding_operation(
    State(engine): State<Engine>,
    OfBinding(instance, id): OfBinding,
) -> Result<Answer, Answer> {
    Ok(Answer::new(StatusCode::OK, &engine.last_binding_operation(&instance, &id).await?))
}

fn created_or_ok(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}
