//! What Namespaces say for their pods, as they are watched here: all of them, for which are being deleted matters too.
//! Of each the metadata that is bindery's, no more. The webhook has a watch of its own, of the labelled ones only.

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
    },
};

/// The Namespaces as they were a moment ago.
#[derive(Clone)]
pub(super) struct Namespaces(pub(super) Store<NamespaceMeta>);

impl Namespaces {
    fn get(&self, name: &str) -> Option<std::sync::Arc<NamespaceMeta>> {
        self.0.get(&ObjectRef::new(name))
    }

    /// What the Namespace says for its pods.
    pub(super) fn defaults(&self, name: &str) -> Option<NamespaceDefaults> {
        self.get(name).and_then(|namespace| defaults(&namespace))
    }

    /// Whether nothing may be created in it, because it is being deleted.
    pub(super) fn is_ending(&self, name: &str) -> bool {
        self.get(name).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Whether it wants missed pods to be evicted.
    pub(super) fn evicts(&self, name: &str) -> bool {
        let (annotation, evict) = contract::namespace::MISSED;
        self.get(name).is_some_and(|namespace| {
            namespace.annotations().get(annotation).is_some_and(|value| value == evict)
        })
    }
}

/// Watches for ever. Tells the name of a Namespace that has begun to say something else for its pods.
pub(super) async fn watch(
    client: Client,
    mut writer: Writer<NamespaceMeta>,
    changed: UnboundedSender<String>,
) {
    let api: Api<NamespaceMeta> = Api::all(client);
    let events = watcher(api, watcher::Config::default()).modify(keep_ours).default_backoff();
    let mut events = pin!(events);
    let mut said: HashMap<String, NamespaceDefaults> = HashMap::new();
    // The pods of the first ones have not been read yet.
    let mut is_first = true;
    let mut listed = Vec::new();
    // A closed queue means that everything ends.
    let tell = |name| drop(changed.unbounded_send(name));
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // The watch goes on by itself.
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
            watcher::Event::Apply(namespace) if says_something_else(&mut said, &namespace) => {
                tell(namespace.name_any());
            }
            // The store shows them once all are there.
            watcher::Event::InitApply(namespace) if says_something_else(&mut said, &namespace) => {
                listed.push(namespace.name_any());
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut listed);
                listed.into_iter().filter(|_| !is_first).for_each(tell);
                is_first = false;
            }
            watcher::Event::Delete(namespace) => {
                said.remove(&namespace.name_any());
            }
            watcher::Event::Apply(_) | watcher::Event::InitApply(_) | watcher::Event::Init => {}
        }
    }
}

fn says_something_else(said: &mut HashMap<String, NamespaceDefaults>, namespace: &NamespaceMeta) -> bool {
    let (name, now) = (namespace.name_any(), defaults(namespace));
    let before = match now.clone() {
        Some(now) => said.insert(name, now),
        None => said.remove(&name),
    };
    before != now
}

fn defaults(namespace: &NamespaceMeta) -> Option<NamespaceDefaults> {
    NamespaceDefaults::read(&namespace.name_any(), namespace.labels(), namespace.annotations())
}
