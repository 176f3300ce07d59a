//! `NamespaceBinding`: creates services for every selected namespace, such as those of feature branches. It creates
//! ordinary ServiceInstances and ServiceBindings; the catalog reconciles those, and deletes them with their
//! namespace.

mod apply;
mod controller;
mod diff;
mod namespace_defaults;
pub mod overview;
mod plan;
mod planner;
mod pods;
mod report;
mod rule;
mod status;
mod template;
mod ttl;
pub mod webhook;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt, api::ListParams, core::DeserializeGuard};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::{k8s::explain, telemetry::Metrics};

/// The interval between checks for the custom resource definition.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The custom resource definitions of this module.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![NamespaceBinding::crd()]
}

/// The reconciliation of NamespaceBindings ended without a stop.
#[derive(Debug, thiserror::Error)]
#[error(
    "a watch or the reconciliation of NamespaceBindings ended unexpectedly ({0}); this is a defect, report it \
    with the log"
)]
pub struct NamespacesError(String);

/// Reconciles NamespaceBindings until `stop` is cancelled. The caller ensures that only one process of an
/// installation does so. `own` is bindery's namespace, which gets no new services. Without the custom resource
/// definition nothing happens; the rest of bindery does not wait for it.
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
    let api: Api<DeserializeGuard<NamespaceBinding>> = Api::all(client.clone());
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        let error = explain(&error);
        warn!(
            error,
            "NamespaceBindings cannot be read; create their definition: bindery crds | kubectl apply -f -"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
