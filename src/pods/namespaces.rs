//! The watch of Namespaces: their defaults for pods, whether missed pods are evicted, and whether they are terminating.
//! Only bindery's own labels and annotations are cached. The webhook has its own watch of labelled Namespaces.

use std::{collections::HashMap, pin::pin};

use futures::{StreamExt, channel::mpsc::UnboundedSender};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use tracing::{debug, warn};

use crate::{
    contract,
    injection::NamespaceDefaults,
    k8s::{
        explain_watch,
        namespaces::{NamespaceMeta, keep_ours},
        watch::of_all,
    },
};

/// The cached Namespaces.
#[derive(Clone)]
pub(super) struct Namespaces(pub(super) Store<NamespaceMeta>);

impl Namespaces {
    fn get(&self, name: &str) -> Option<std::sync::Arc<NamespaceMeta>> {
        self.0.get(&ObjectRef::new(name))
    }

    /// The defaults of the Namespace for its pods.
    pub(super) fn defaults(&self, name: &str) -> Option<NamespaceDefaults> {
        self.get(name).and_then(|namespace| defaults(&namespace))
    }

    /// Whether the Namespace is terminating, so that nothing can be created in it.
    pub(super) fn is_terminating(&self, name: &str) -> bool {
        self.get(name).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Whether the Namespace enables the eviction of missed pods.
    pub(super) fn evicts_missed_pods(&self, name: &str) -> bool {
        let (annotation, evict) = contract::namespace::MISSED;
        self.get(name).is_some_and(|namespace| {
            namespace.annotations().get(annotation).is_some_and(|value| value == evict)
        })
    }
}

/// Watches Namespaces, and sends the name of each whose defaults changed. Never ends.
pub(super) async fn watch(
    client: Client,
    mut writer: Writer<NamespaceMeta>,
    changed: UnboundedSender<String>,
) {
    let api: Api<NamespaceMeta> = Api::all(client);
    let events = watcher(api, of_all()).modify(keep_ours).default_backoff();
    let mut events = pin!(events);
    let mut known: HashMap<String, NamespaceDefaults> = HashMap::new();
    // The pods of the first Namespaces have not been read yet.
    let mut is_first = true;
    let mut listed = Vec::new();
    // The queue is closed only during shutdown.
    let notify = |name| drop(changed.unbounded_send(name));
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // The watch reconnects by itself.
            Err(error @ watcher::Error::InitialListFailed(_)) => {
                warn!(error = explain_watch(&error), "Namespaces cannot be listed");
                continue;
            }
            Err(error) => {
                debug!(error = explain_watch(&error), "the watch of Namespaces was interrupted");
                continue;
            }
        };
        writer.apply_watcher_event(&event);
        match event {
            watcher::Event::Apply(namespace) if defaults_changed(&mut known, &namespace) => {
                notify(namespace.name_any());
            }
            // The store shows these Namespaces only after the whole list.
            watcher::Event::InitApply(namespace) if defaults_changed(&mut known, &namespace) => {
                listed.push(namespace.name_any());
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut listed);
                listed.into_iter().filter(|_| !is_first).for_each(notify);
                is_first = false;
            }
            watcher::Event::Delete(namespace) => {
                known.remove(&namespace.name_any());
            }
            watcher::Event::Apply(_) | watcher::Event::InitApply(_) | watcher::Event::Init => {}
        }
    }
}

fn defaults_changed(known: &mut HashMap<String, NamespaceDefaults>, namespace: &NamespaceMeta) -> bool {
    let (name, now) = (namespace.name_any(), defaults(namespace));
    let before = match now.clone() {
        Some(now) => known.insert(name, now),
        None => known.remove(&name),
    };
    before != now
}

fn defaults(namespace: &NamespaceMeta) -> Option<NamespaceDefaults> {
    NamespaceDefaults::read(&namespace.name_any(), namespace.labels(), namespace.annotations())
}
