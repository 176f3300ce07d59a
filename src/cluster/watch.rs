//! Watches: each kind once for all reconcilers, into a store that they share. kube's `Controller` would watch a kind
//! again for every reconciler that depends on it, and its own order of events could tell a reconciler of a deletion
//! before the store knows; here the store is always up to date before anybody is woken.

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

/// `kubectl apply` keeps a copy of the whole object here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What happened to an object.
pub enum Change<K> {
    /// It was seen for the first time, or is as it was before as far as its user is concerned (`status` aside).
    Applied {
        /// The object as it is.
        object: Arc<K>,
        /// Whether anything but its status is new.
        beyond_status: bool,
    },
    /// It is gone, or no longer selected.
    Deleted(Arc<K>),
}

/// Watches a kind, or what `config` selects of it, for ever: keeps the store, and tells every change afterwards. Objects that cannot be read are logged
/// and left as they were last known; they do not stop the others.
pub async fn watch<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    mut writer: Writer<K>,
    mut tell: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let store = writer.as_reader();
    let events = watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut before = Vec::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                // The watch goes on by itself.
                debug!(kind = %K::kind(&()), %error, "watch interrupted");
                continue;
            }
        };
        let Some(event) = readable(event) else { continue };
        if matches!(event, watcher::Event::Init) {
            before = store.state();
        }
        let known = match &event {
            watcher::Event::Apply(object) => store.get(&ObjectRef::from_obj(object)),
            _ => None,
        };
        writer.apply_watcher_event(&event);
        match event {
            watcher::Event::Apply(object) => {
                let beyond_status =
                    known.is_none_or(|known| !same_beyond_status(known.meta(), object.meta()));
                tell(Change::Applied { object: Arc::new(object), beyond_status });
            }
            watcher::Event::Delete(object) => tell(Change::Deleted(Arc::new(object))),
            watcher::Event::InitDone => {
                tell_of_all(&store, std::mem::take(&mut before), &mut tell);
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

/// After a new list: what it no longer holds is gone, everything else is looked at.
fn tell_of_all<K>(store: &Store<K>, before: Vec<Arc<K>>, tell: &mut impl FnMut(Change<K>))
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    for object in before {
        if store
            .get(&ObjectRef::from_obj(object.as_ref()))
            .is_none_or(|now| now.meta().uid != object.meta().uid)
        {
            tell(Change::Deleted(object));
        }
    }
    for object in store.state() {
        tell(Change::Applied { object, beyond_status: true });
    }
}

/// An event without what nobody looks at; nothing if its object cannot be read, which is logged.
pub fn readable<K: Resource<DynamicType = ()>>(
    event: watcher::Event<DeserializeGuard<K>>,
) -> Option<watcher::Event<K>> {
    let read = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            object.annotations_mut().remove(LAST_APPLIED);
            Some(object)
        }
        Err(invalid) => {
            let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
            warn!(kind = %K::kind(&()), ?namespace, ?name, error = invalid.error, "object cannot be read and is left alone");
            None
        }
    };
    Some(match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(read(object)?),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(read(object)?),
        watcher::Event::Delete(object) => watcher::Event::Delete(read(object)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether an object changed in its status only. The generation counts changes of the spec.
fn same_beyond_status(old: &Meta, new: &Meta) -> bool {
    let strip = |meta: &Meta| Meta { resource_version: None, ..meta.clone() };
    strip(old) == strip(new)
}
