//! The watch of the ServiceBindings that pods wait for. Without the custom resource definition there are none.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use kube::{
    Api, Client, Resource as _, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use tracing::debug;

use super::{Shared, listeners::Listeners};
use crate::{
    bindings::state::{BindingState, SeenBinding},
    k8s::{explain_watch, unreadable::Unreadable, watch::event_stream},
};

/// The ServiceBindings of a namespace; `None` when they cannot be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct BindingsOf(pub(crate) Option<Vec<Arc<SeenBinding>>>);

impl BindingsOf {
    pub(crate) fn get(&self, name: &str) -> Option<&SeenBinding> {
        self.0.iter().flatten().find(|binding| binding.name_any() == name).map(Arc::as_ref)
    }

    /// The state of the binding with this name; `None` when bindings cannot be read.
    pub(crate) fn state(&self, name: &str) -> Option<BindingState> {
        self.0.as_ref().map(|_| BindingState::of(self.get(name)))
    }

    /// The names of all bindings.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().flatten().filter_map(|binding| binding.meta().name.as_deref()).collect()
    }
}

/// The cached bindings.
#[derive(Clone)]
pub(super) struct Bindings {
    pub(super) store: Store<SeenBinding>,
    /// Whether the first list has arrived.
    is_known: Arc<AtomicBool>,
}

impl Bindings {
    pub(super) fn new(store: Store<SeenBinding>) -> Self {
        Self { store, is_known: Arc::default() }
    }

    /// The bindings of a namespace.
    pub(super) fn of(&self, namespace: &str) -> BindingsOf {
        let is_there = |binding: &SeenBinding| binding.meta().namespace.as_deref() == Some(namespace);
        BindingsOf(self.is_known.load(Ordering::Relaxed).then(|| self.store.state_filter(is_there)))
    }
}

/// A binding that changed.
pub(super) type BindingRef = ObjectRef<SeenBinding>;

/// The queue of changed bindings for one controller.
pub(super) type BindingQueue = UnboundedReceiver<BindingRef>;

/// Caches bindings and notifies the controllers.
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

    /// Watches bindings. Never ends.
    pub(super) async fn run(mut self) {
        let api = Api::all(self.client.clone());
        let (known, unreadable) = (self.writer.as_reader(), self.unreadable.clone());
        let events =
            event_stream(api, watcher::Config::default(), known, unreadable).modify(SeenBinding::shrink);
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.writer.apply_watcher_event(&event);
                    self.tell_of(&event);
                }
                // The watch reconnects by itself, and continues if the kind is installed later.
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
