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
const PART: &str = "namespaces";

/// The time limit of a read. The API server waits for the webhook's answer meanwhile.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Provides the webhook with the defaults of Namespaces.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// The defaults for pods of the Namespace with this name, if it has any.
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceUnread>;
}

/// The annotations of a Namespace cannot be read.
#[derive(Debug, Error)]
#[error(
    "Namespace {namespace} cannot be read: {reason}; try again, and if this goes on, let bindery get, list and watch \
     namespaces"
)]
pub struct NamespaceUnread {
    /// The Namespace's name.
    pub namespace: String,
    /// The cause.
    pub reason: String,
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
        readiness.wait_for(PART, "the labelled Namespaces have not been read yet");
        let api = Api::all(client);
        let (labelled, writer) = reflector::store();
        let watch = watch(api.clone(), writer, readiness);
        (Self { api, labelled }, watch)
    }
}

#[async_trait]
impl Namespaces for WatchedNamespaces {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceUnread> {
        if let Some(known) = self.labelled.get(&ObjectRef::new(namespace)) {
            return Ok(read(namespace, &known.metadata));
        }
        debug!(namespace, "looked up");
        let unread = |reason| NamespaceUnread { namespace: namespace.to_owned(), reason };
        match tokio::time::timeout(LOOK_UP, self.api.get_opt(namespace)).await {
            Ok(Ok(found)) => Ok(found.and_then(|found| read(namespace, &found.metadata))),
            Ok(Err(error)) => Err(unread(explain(&error))),
            Err(_) => Err(unread(format!("no answer within {} s", LOOK_UP.as_secs()))),
        }
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
                readiness.ready(PART);
                info!("the labelled Namespaces are known");
            }
            Ok(_) => {}
            // The watch reconnects by itself.
            Err(error) if is_ready => {
                debug!(error = explain_watch(&error), "the watch of Namespaces was interrupted");
            }
            Err(error) => {
                let error = explain_watch(&error);
                warn!(error, "Namespaces cannot be read");
                let remedy = "let bindery get, list and watch namespaces";
                readiness.wait_for(PART, format!("Namespaces cannot be read: {error}; {remedy}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
