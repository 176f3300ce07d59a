//! The bindings that pods wait for, as little of each as it takes to say whether it is ready and why not. Where
//! the kind is not installed there are none.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::Deserialize;
use tracing::debug;

use super::{Shared, diagnosis::BindingsOf, listeners::Listeners};
use crate::{
    apis::servicecatalog::{ConditionType, Conditions, LocalReference, ServiceBinding, binding::Revision},
    k8s::{explain_watch, unreadable::Unreadable, watch::events},
};

/// A ServiceBinding.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "ServiceBinding")]
pub(crate) struct SeenBinding {
    metadata: ObjectMeta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    instance_ref: LocalReference,
    /// Not kept of a binding that is watched.
    secret_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Conditions,
    /// Not kept of a binding that is watched.
    revisions: Vec<Revision>,
}

/// The bindings as they were a moment ago.
#[derive(Clone)]
pub(super) struct Bindings {
    pub(super) store: Store<SeenBinding>,
    /// Whether they have been read once.
    is_known: Arc<AtomicBool>,
}

impl Bindings {
    pub(super) fn new(store: Store<SeenBinding>) -> Self {
        Self { store, is_known: Arc::default() }
    }

    /// Those of a namespace.
    pub(super) fn of(&self, namespace: &str) -> BindingsOf {
        let is_there = |binding: &SeenBinding| binding.metadata.namespace.as_deref() == Some(namespace);
        BindingsOf(self.is_known.load(Ordering::Relaxed).then(|| self.store.state_filter(is_there)))
    }
}

/// Which binding has changed.
pub(super) type BindingRef = ObjectRef<SeenBinding>;

impl SeenBinding {
    /// Whether its Secrets have been written.
    pub(crate) fn is_ready(&self) -> bool {
        self.status.conditions.is_true(ConditionType::Ready)
    }

    /// Why it is not ready: reason and message, if anything has been said of it yet.
    pub(crate) fn why_not_ready(&self) -> Option<(&str, &str)> {
        let ready = self.status.conditions.get(ConditionType::Ready)?;
        Some((&ready.reason, &ready.message))
    }

    /// The credentials that were written, newest last.
    pub(crate) fn revisions(&self) -> &[Revision] {
        &self.status.revisions
    }

    /// The Secret that it wants beside that of its own name.
    pub(crate) fn secret_name(&self) -> Option<&str> {
        self.spec.secret_name.as_deref()
    }

    /// The instance that it is of.
    pub(crate) fn instance(&self) -> &str {
        &self.spec.instance_ref.name
    }
}

/// The bindings that changed, for one controller.
pub(super) type BindingQueue = UnboundedReceiver<BindingRef>;

/// Reads bindings into a store and tells the controllers.
pub(super) struct BindingWatch {
    client: Client,
    unreadable: Unreadable,
    bindings: Bindings,
    writer: Writer<SeenBinding>,
    pub(super) listeners: Listeners<SeenBinding>,
}

impl BindingWatch {
    pub(super) fn new(shared: &Shared, writer: Writer<SeenBinding>) -> Self {
        let (client, bindings) = (shared.client.clone(), shared.bindings.clone());
        let unreadable = shared.unreadable.clone();
        Self { client, unreadable, bindings, writer, listeners: Listeners::default() }
    }

    /// Watches for ever.
    pub(super) async fn run(mut self) {
        let api = Api::all(self.client.clone());
        let (known, unreadable) = (self.writer.as_reader(), self.unreadable.clone());
        let events = events(api, watcher::Config::default(), known, unreadable).modify(strip);
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.writer.apply_watcher_event(&event);
                    self.tell_of(&event);
                }
                // The watch goes on by itself, also when the kind appears later.
                Err(error) => {
                    debug!(error = explain_watch(&error), "the watch of ServiceBindings was interrupted");
                }
            }
        }
    }

    fn tell_of(&self, event: &watcher::Event<SeenBinding>) {
        match event {
            watcher::Event::Apply(binding) | watcher::Event::Delete(binding) => self.tell(binding),
            watcher::Event::InitDone => {
                self.bindings.is_known.store(true, Ordering::Relaxed);
                self.bindings.store.state().iter().for_each(|binding| self.tell(binding));
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }

    fn tell(&self, binding: &SeenBinding) {
        self.listeners.notify(&ObjectRef::from_obj(binding));
    }
}

fn strip(binding: &mut SeenBinding) {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = std::mem::take(&mut binding.metadata);
    binding.status.revisions = Vec::new();
    binding.spec.secret_name = None;
    binding.metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
}
