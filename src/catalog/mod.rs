//! The platform side of the Open Service Broker API: the servicecatalog.k8s.io API, its reconcilers, a broker client
//! and the ledger of ExternalResources. This file starts them. `reconcile` handles each kind of object, and `enqueue`
//! decides which objects a change affects.

mod approved_secrets;
pub mod client;
mod connections;
mod context;
mod enqueue;
mod facts;
mod keyed_lock;
mod labels;
mod ledger;
pub mod migration;
pub mod names;
mod own_writes;
mod parameters;
mod reconcile;
mod restrictions;
mod scopes;
mod secret_checks;
mod wiring;
mod work_queue;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
    ServiceBroker, ServiceClass, ServiceInstance, ServicePlan,
};
pub(crate) use crate::bindings::variables::check_variables;
pub use crate::{
    apis::servicecatalog::crds,
    bindings::variables::{VariablesError, variables},
};
use crate::{
    bindings::LostSecrets,
    install::secret_approvals::Approvals,
    k8s::{explain, guarded::Guarded},
    telemetry::{Metrics, ops::Readiness},
};

/// The name of the catalog in readiness reports.
const COMPONENT: &str = "catalog";
/// The interval between checks for the CRDs and permissions that the catalog needs.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a failing operation at a broker is retried unless a setting says otherwise (service-catalog
/// `--reconciliation-retry-duration`).
pub const RETRY_DURATION: Duration = Duration::from_hours(7 * 24);
/// How long running reconciles may take after a stop.
const GRACE: Duration = Duration::from_secs(10);
/// The namespace whose uid serves as the cluster's id.
const CLUSTER_ID_NAMESPACE: &str = "kube-system";

/// The settings of the catalog. Every installation covers the whole cluster.
#[derive(Clone, Debug)]
pub struct CatalogSettings {
    /// Verifies approvals of the installation's webhook.
    pub approvals: Approvals,
    /// Receives reports of missing Secrets.
    pub lost_secrets: LostSecrets,
    /// How long a failing operation at a broker is retried before the object is `Failed`.
    pub retry_duration: Duration,
}

/// The catalog ended without a stop.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A watch or a reconciler ended, which is a defect.
    #[error(
        "a watch or reconciler of the catalog ended unexpectedly ({0}); this is a defect, report it with the log"
    )]
    Ended(String),
}

/// Runs the catalog until `stop` is cancelled. The caller ensures that only one process of an installation runs it.
pub async fn run(
    client: Client,
    settings: CatalogSettings,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), CatalogError> {
    readiness.wait_for(COMPONENT, "is starting");
    let prepared = stop.run_until_cancelled(async {
        await_definitions(&client, &readiness).await;
        cluster_id(&client, &readiness).await
    });
    let Some(cluster_id) = prepared.await else { return Ok(()) };
    readiness.wait_for(COMPONENT, "reads existing objects");
    let mut tasks = wiring::start(client, metrics, cluster_id, settings, &stop);
    let served = async {
        tasks.synced().await;
        readiness.ready(COMPONENT);
        info!("the catalog is active");
        tasks.ended().await
    };
    if let Some(why) = stop.run_until_cancelled(served).await {
        return Err(CatalogError::Ended(why));
    }
    if tokio::time::timeout(GRACE, tasks.finished()).await.is_err() {
        info!("stopped while requests to brokers were in progress; they are repeated at the next start");
    }
    Ok(())
}

/// Waits until the API server serves all kinds.
async fn await_definitions(client: &Client, readiness: &Readiness) {
    loop {
        let served = [
            served::<ClusterServiceBroker>(client).await,
            served::<ClusterServiceClass>(client).await,
            served::<ClusterServicePlan>(client).await,
            served::<ServiceBroker>(client).await,
            served::<ServiceClass>(client).await,
            served::<ServicePlan>(client).await,
            served::<ServiceInstance>(client).await,
            served::<ServiceBinding>(client).await,
            served::<ExternalResource>(client).await,
        ];
        let missing: Vec<String> = served.into_iter().filter_map(Result::err).collect();
        if missing.is_empty() {
            return;
        }
        readiness.wait_for(COMPONENT, missing.join("; "));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Checks that a kind can be listed; the error says why not.
async fn served<K>(client: &Client) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<Guarded<K>> = Api::all(client.clone());
    match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(format!(
            "the custom resource definition {}.{} is missing; create it: bindery crds | kubectl apply -f -",
            K::plural(&()),
            K::group(&())
        )),
        Err(error) => {
            Err(format!("{}.{} cannot be listed: {}", K::plural(&()), K::group(&()), explain(&error)))
        }
    }
}

async fn cluster_id(client: &Client, readiness: &Readiness) -> String {
    let api: Api<Namespace> = Api::all(client.clone());
    loop {
        match api.get_metadata(CLUSTER_ID_NAMESPACE).await {
            Ok(namespace) => return namespace.uid().unwrap_or_default(),
            Err(error) => {
                let why = explain(&error);
                readiness.wait_for(
                    COMPONENT,
                    format!("the namespace {CLUSTER_ID_NAMESPACE} cannot be read: {why}"),
                );
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, http::StatusCode, routing::any};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn missing_definitions_are_named_with_the_remedy_and_waited_for() {
        let missing = async || {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
            (StatusCode::NOT_FOUND, Json(status))
        };
        let client = Client::new(Router::new().fallback(any(missing)), "default");
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let settings = CatalogSettings {
            approvals: Approvals::new(client.clone(), "bindery", "approvals"),
            lost_secrets: LostSecrets::default(),
            retry_duration: RETRY_DURATION,
        };
        let catalog = run(client, settings, Arc::default(), readiness.clone(), stop.clone());
        let look = async {
            while !readiness.report().contains("missing") {
                tokio::task::yield_now().await;
            }
            stop.cancel();
            readiness.report()
        };
        let (ended, report) = tokio::join!(catalog, look);
        ended.unwrap();
        assert!(report.contains("externalresources.bindery.dev is missing"), "{report}");
        assert!(report.contains("bindery crds | kubectl apply -f -"), "{report}");
    }
}
