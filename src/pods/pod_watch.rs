//! The watch of pods that all controllers share. Each received pod is reduced to an `AskingPod`; pods without bindings
//! are dropped.

use std::{collections::HashSet, pin::pin};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use tracing::{debug, warn};

use super::{PodsSettings, Shared, listeners::Listeners, namespaces::Namespaces, pod::AskingPod};
use crate::k8s::{explain, explain_watch, list::turn};

/// The page size of lists, which bounds the number of whole pods in memory.
const PAGE: u32 = 100;

/// A pod that changed. The queue carries only the reference: the state is in the store, or the pod is gone.
pub(super) type PodRef = ObjectRef<AskingPod>;

/// The pods that changed, for one controller.
pub(super) type PodQueue = UnboundedReceiver<PodRef>;

/// Reads pods into a store and notifies the controllers.
pub(super) struct PodWatch {
    client: Client,
    namespaces: Namespaces,
    settings: PodsSettings,
    writer: Writer<AskingPod>,
    pub(super) listeners: Listeners<AskingPod>,
}

impl PodWatch {
    pub(super) fn new(shared: &Shared, settings: PodsSettings, writer: Writer<AskingPod>) -> Self {
        let (client, namespaces) = (shared.client.clone(), shared.namespaces.clone());
        Self { client, namespaces, settings, writer, listeners: Listeners::default() }
    }

    /// Watches pods once the Namespaces are known. Never ends. `changed` yields Namespaces whose defaults changed.
    pub(super) async fn run(mut self, mut changed: UnboundedReceiver<String>) {
        if self.namespaces.0.wait_until_ready().await.is_err() {
            return; // The watch of Namespaces has ended, which ends the role.
        }
        let resource = ApiResource::erase::<Pod>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        let mut events = pin!(events);
        let mut former = Vec::new();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.handle(event, &mut former),
                    // The watch reconnects by itself.
                    Some(Err(error @ watcher::Error::InitialListFailed(_))) => {
                        warn!(error = explain_watch(&error), "pods cannot be listed, so waiting and missed pods are not handled");
                    }
                    Some(Err(error)) => debug!(error = explain_watch(&error), "the watch of pods was interrupted"),
                    None => return,
                },
                Some(namespace) = changed.next() => self.reread_namespace(&namespace, &resource).await,
            }
        }
    }

    fn handle(&mut self, event: watcher::Event<DynamicObject>, former: &mut Vec<PodRef>) {
        let store = self.writer.as_reader();
        match event {
            watcher::Event::Apply(object) => self.apply(&object),
            watcher::Event::Delete(object) => self.remove(&object),
            watcher::Event::Init => {
                *former = references(&store);
                self.writer.apply_watcher_event(&watcher::Event::Init);
            }
            watcher::Event::InitApply(object) => {
                if let Some(pod) = self.read(&object) {
                    self.writer.apply_watcher_event(&watcher::Event::InitApply(pod));
                }
            }
            watcher::Event::InitDone => {
                self.writer.apply_watcher_event(&watcher::Event::InitDone);
                let all: HashSet<PodRef> =
                    std::mem::take(former).into_iter().chain(references(&store)).collect();
                for pod in all {
                    self.listeners.notify(&pod);
                }
            }
        }
    }

    fn apply(&mut self, object: &DynamicObject) {
        match self.read(object) {
            Some(pod) => {
                let reference = ObjectRef::from_obj(&pod);
                self.writer.apply_watcher_event(&watcher::Event::Apply(pod));
                self.listeners.notify(&reference);
            }
            None => self.remove(object),
        }
    }

    /// Removes a pod that is gone or has no bindings any more.
    fn remove(&mut self, object: &DynamicObject) {
        let reference = PodRef::new(&object.name_any()).within(&object.namespace().unwrap_or_default());
        if let Some(known) = self.writer.as_reader().get(&reference) {
            self.writer.apply_watcher_event(&watcher::Event::Delete(known.as_ref().clone()));
            self.listeners.notify(&reference);
        }
    }

    fn read(&self, object: &DynamicObject) -> Option<AskingPod> {
        let namespace = object.namespace().unwrap_or_default();
        if self.settings.excludes(&namespace) {
            return AskingPod::read_left_alone(object);
        }
        AskingPod::read(object, self.namespaces.defaults(&namespace).as_ref(), &self.settings.inject)
    }

    /// Reads the pods of a Namespace whose defaults changed. The list may overtake the watch, which delivers newer
    /// versions later.
    async fn reread_namespace(&mut self, namespace: &str, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let pods = match api.list(&page).await {
                Ok(pods) => pods,
                Err(error) => {
                    let error = explain(&error);
                    warn!(
                        namespace,
                        error,
                        "the pods of a changed Namespace cannot be listed; they are read again when they change"
                    );
                    return;
                }
            };
            pods.items.iter().for_each(|object| self.apply(object));
            if !turn(&mut page, pods.metadata) {
                return;
            }
        }
    }
}

fn references<K: Resource<DynamicType = ()> + Clone + 'static>(store: &Store<K>) -> Vec<ObjectRef<K>> {
    store.state().iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect()
}
