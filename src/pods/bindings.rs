//! The watch of the ServiceBindings that pods wait for. Without the custom resource definition there are none.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use kube::{
    Api, Client, Resource as _, ResourceExt,
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};
use tracing::debug;

use super::{Shared, listeners::Listeners};
use crate::{
    bindings::state::{BindingState, SeenBinding},
    k8s::{
        cache::{Cache, Cached, Texts, Writer},
        explain_watch,
        unreadable::Unreadable,
        watch::{CacheWriter as _, event_stream, of_all},
    },
};

/// The ServiceBindings of a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct BindingsOf {
    /// The bindings that were looked for; `None` when bindings cannot be read.
    found: Option<Vec<Arc<SeenBinding>>>,
    /// The names of the others, for guesses.
    others: Vec<String>,
}

impl BindingsOf {
    /// All bindings of a namespace; `None` when they cannot be read.
    pub(crate) fn all(found: Option<Vec<Arc<SeenBinding>>>) -> Self {
        Self { found, others: Vec::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SeenBinding> {
        self.found().find(|binding| binding.name_any() == name)
    }

    /// The bindings that were looked for.
    pub(crate) fn found(&self) -> impl Iterator<Item = &SeenBinding> {
        self.found.iter().flatten().map(Arc::as_ref)
    }

    /// Whether bindings can be read.
    pub(crate) fn are_known(&self) -> bool {
        self.found.is_some()
    }

    /// The state of the binding with this name; `None` when bindings cannot be read.
    pub(crate) fn state(&self, name: &str) -> Option<BindingState> {
        self.found.as_ref().map(|_| BindingState::of(self.get(name)))
    }

    /// The names of all bindings.
    pub(crate) fn names(&self) -> Vec<&str> {
        let found = self.found().filter_map(|binding| binding.meta().name.as_deref());
        found.chain(self.others.iter().map(String::as_str)).collect()
    }
}

/// Nothing but names is looked up.
impl Cached for SeenBinding {
    type Facts = ();

    fn facts(&self, _: &mut Texts) {}
}

/// The cached bindings.
#[derive(Clone)]
pub(super) struct Bindings {
    pub(super) store: Cache<SeenBinding>,
    /// Whether the first list has arrived.
    is_known: Arc<AtomicBool>,
}

impl Bindings {
    pub(super) fn new(store: Cache<SeenBinding>) -> Self {
        Self { store, is_known: Arc::default() }
    }

    /// The bindings of these names in a namespace, and the names of the others if one is missing.
    pub(super) fn of<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a str>) -> BindingsOf {
        if !self.is_known.load(Ordering::Relaxed) {
            return BindingsOf::default();
        }
        let names: BTreeSet<&str> = names.collect();
        let get = |name: &&str| self.store.get(&ObjectRef::new(name).within(namespace));
        let found: Vec<_> = names.iter().filter_map(get).collect();
        let others = if found.len() < names.len() {
            let there = self.store.find_in(namespace, |()| true).into_iter();
            there.map(|binding| binding.name).filter(|name| !names.contains(name.as_str())).collect()
        } else {
            Vec::new()
        };
        BindingsOf { found: Some(found), others }
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
        let (known, unreadable) = (self.writer.reader(), self.unreadable.clone());
        let events = event_stream(api, of_all(), known, unreadable).modify(SeenBinding::shrink);
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.writer.apply(&event);
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
                self.bindings.store.find(|()| true).iter().for_each(|binding| self.listeners.notify(binding));
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }

    fn tell(&self, binding: &SeenBinding) {
        self.listeners.notify(&ObjectRef::from_obj(binding));
    }
}
