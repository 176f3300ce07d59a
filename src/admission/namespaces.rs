//! The Namespaces whose annotations bind their pods. A watch keeps the metadata of labelled Namespaces; a Namespace that the watch
//! has not shown yet is looked up (P16).

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

/// How readiness calls this part.
const PART: &str = "namespaces";

/// How long a look-up may take. The API server waits for an answer about the pod meanwhile.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Tells the webhook what the annotations of a Namespace give its pods.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// The defaults for pods of the Namespace of this name, if it has any.
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
    /// Why.
    pub reason: String,
}

/// The labelled Namespaces as they were a moment ago.
pub struct WatchedNamespaces {
    api: Api<NamespaceMeta>,
    labelled: Store<NamespaceMeta>,
}

impl WatchedNamespaces {
    /// The Namespaces, and the watch that keeps them and has to be run. Nothing is ready before it has read them once.
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

/// Keeps the store up to date for ever. What was known stays known while the API server is away.
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
            // The watch goes on by itself.
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
