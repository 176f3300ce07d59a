//! The Namespaces whose annotations bind their pods. A watch caches the metadata of labelled Namespaces; a Namespace
//! that the watch has not delivered yet is read from the API server (P16).

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, pin_mut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use thiserror::Error;
use tracing::{debug, info, warn};

use crate::injection::NamespaceDefaults;
use crate::{
    contract::namespace,
    k8s::{
        explain, explain_watch,
        namespaces::{NamespaceMeta, keep_ours},
    },
    telemetry::ops::Readiness,
};

/// The name of this component in the readiness report.
const COMPONENT: &str = "namespaces";

/// The time limit of a read. The API server waits for the webhook's answer meanwhile.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The remedy if the API server forbids bindery to read Namespaces.
const GRANT: &str = "let bindery get, list and watch namespaces";
/// The remedy for other failures of the watch, which tries again by itself.
const CHECK: &str = "check the API server and the network between it and bindery";
/// The remedy for other failures of a read.
const RETRY: &str =
    "try again; if it keeps failing, check the API server and the network between it and bindery";

/// Provides the webhook with the defaults of Namespaces.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// The defaults for pods of the Namespace with this name, if it has any.
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError>;
}

/// The annotations of a Namespace cannot be read.
#[derive(Debug, Error)]
#[error("Namespace {namespace} cannot be read: {reason}; {remedy}")]
pub struct NamespaceReadError {
    /// The Namespace's name.
    pub namespace: String,
    /// The cause.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

/// The cached Namespaces that have bindery's label.
pub struct WatchedNamespaces {
    api: Api<NamespaceMeta>,
    labelled: Store<NamespaceMeta>,
}

impl WatchedNamespaces {
    /// Returns the cache and the future of its watch, which the caller must run. The process is not ready before the
    /// first list.
    pub fn new(client: Client, readiness: Readiness) -> (Self, impl Future<Output = ()> + Send + use<>) {
        readiness.wait_for(COMPONENT, "the labelled Namespaces have not been read yet");
        let api = Api::all(client);
        let (labelled, writer) = reflector::store();
        let watch = watch(api.clone(), writer, readiness);
        (Self { api, labelled }, watch)
    }
}

#[async_trait]
impl Namespaces for WatchedNamespaces {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        if let Some(known) = self.labelled.get(&ObjectRef::new(namespace)) {
            return Ok(read(namespace, &known.metadata));
        }
        debug!(namespace, "looked up");
        let failed = |reason, remedy| NamespaceReadError { namespace: namespace.to_owned(), reason, remedy };
        match tokio::time::timeout(READ_TIMEOUT, self.api.get_opt(namespace)).await {
            Ok(Ok(found)) => Ok(found.and_then(|found| read(namespace, &found.metadata))),
            Ok(Err(error)) => Err(failed(explain(&error), if is_forbidden(&error) { GRANT } else { RETRY })),
            Err(_) => Err(failed(format!("no answer within {} s", READ_TIMEOUT.as_secs()), RETRY)),
        }
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

fn is_watch_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => is_forbidden(error),
        watcher::Error::WatchError(status) => status.is_forbidden(),
        watcher::Error::NoResourceVersion => false,
    }
}

fn read(namespace: &str, metadata: &ObjectMeta) -> Option<NamespaceDefaults> {
    let none = BTreeMap::new();
    NamespaceDefaults::read(
        namespace,
        metadata.labels.as_ref().unwrap_or(&none),
        metadata.annotations.as_ref().unwrap_or(&none),
    )
}

/// Keeps the cache up to date. Never ends. The cache survives an outage of the API server.
async fn watch(api: Api<NamespaceMeta>, writer: Writer<NamespaceMeta>, readiness: Readiness) {
    let (label, enabled) = namespace::INJECT;
    let labelled = watcher::Config::default().labels(&format!("{label}={enabled}"));
    let events = watcher(api, labelled).modify(keep_ours).default_backoff().reflect(writer);
    pin_mut!(events);
    let mut is_ready = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::InitDone) if !is_ready => {
                is_ready = true;
                readiness.ready(COMPONENT);
                info!("the labelled Namespaces are known");
            }
            Ok(_) => {}
            // The watch reconnects by itself.
            Err(error) if is_ready => {
                debug!(error = explain_watch(&error), "the watch of Namespaces was interrupted");
            }
            Err(error) => {
                let remedy = if is_watch_forbidden(&error) { GRANT } else { CHECK };
                let error = explain_watch(&error);
                warn!(error, "Namespaces cannot be read");
                readiness.wait_for(COMPONENT, format!("Namespaces cannot be read: {error}; {remedy}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
