//! The `NamespaceBinding` controller: an instance and a binding for every selected namespace, such as those of feature
//! branches. It creates ordinary ServiceInstances and ServiceBindings. The catalog reconciles those, and deletes them with
//! their namespace.

mod apply;
mod controller;
mod diff;
mod last_pod;
mod namespace_defaults;
pub mod overview;
mod plan;
mod planner;
mod report;
mod rule;
mod status;
mod template;
mod ttl;
pub mod webhook;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt, api::ListParams};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::{
    k8s::{explain, guarded::Guarded},
    telemetry::Metrics,
};

/// How often to check whether the custom resource definition exists.
const CRD_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The custom resource definition of NamespaceBindings.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![NamespaceBinding::crd()]
}

/// The controller ended without having been stopped.
#[derive(Debug, thiserror::Error)]
#[error(
    "a task of the NamespaceBinding controller ended unexpectedly ({0}), which is a defect; report it with the log"
)]
pub struct NamespacesError(String);

/// Runs the controller until `stop`. Only one process of an installation may run it at a time, which the caller ensures.
/// `own` is bindery's namespace, which never gets an instance. Without the custom resource definition the controller waits;
/// the other roles do not wait for it.
///
/// # Errors
/// When a task ends unexpectedly.
pub async fn run(
    client: Client,
    own: String,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), NamespacesError> {
    if stop.run_until_cancelled(await_definition(&client)).await.is_none() {
        return Ok(());
    }
    controller::run(client, own, metrics, stop).await.map_or(Ok(()), |why| Err(NamespacesError(why)))
}

async fn await_definition(client: &Client) {
    let api: Api<Guarded<NamespaceBinding>> = Api::all(client.clone());
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        let error = explain(&error);
        warn!(
            error,
            "NamespaceBindings cannot be listed; create their custom resource definition: bindery crds | kubectl apply -f -"
        );
        tokio::time::sleep(CRD_CHECK_INTERVAL).await;
    }
}
