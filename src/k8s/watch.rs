//! Watches each kind once and keeps a cache that all reconcilers share. kube's `Controller` would watch a kind again
//! for each reconciler that depends on it, and could report a deletion to a reconciler before the cache knows; here
//! the cache is always updated before a change is reported.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt, pin_mut};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::{explain_watch, guarded::Guarded, unreadable::Unreadable};

/// `kubectl apply` stores a copy of the whole object in this annotation.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How many objects the API server sends at once when a kind is listed: the answer is in memory as a whole, first as
/// text and then as objects.
const PAGE: u32 = 100;

/// A watch of all objects of a kind.
#[must_use]
pub fn of_all() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// A change of an object.
pub enum Change<K> {
    /// The object is new or changed.
    Applied {
        /// The present object.
        object: Arc<K>,
        /// Whether more than the status changed.
        beyond_status: bool,
    },
    /// The object is gone, or is no longer selected.
    Deleted(Arc<K>),
}

/// The reading end of a cache.
pub trait CacheReader<K: Resource<DynamicType = ()>>: Clone + Send + 'static {
    /// The object of this name.
    fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>>;
    /// All objects that are in the cache now.
    fn all(&self) -> impl Iterator<Item = Arc<K>> + Send + use<Self, K>;
}

/// The writing end of a cache.
pub trait CacheWriter<K: Resource<DynamicType = ()>>: Send {
    /// The reading end.
    type Reader: CacheReader<K>;
    /// Returns the reading end.
    fn reader(&self) -> Self::Reader;
    /// Applies an event of a watch. A new list replaces the cache when it is complete.
    fn apply(&mut self, event: &watcher::Event<K>);
}

impl<K> CacheReader<K> for Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        Self::get(self, reference)
    }

    fn all(&self) -> impl Iterator<Item = Arc<K>> + Send + use<K> {
        self.state().into_iter()
    }
}

impl<K> CacheWriter<K> for Writer<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    type Reader = Store<K>;

    fn reader(&self) -> Store<K> {
        self.as_reader()
    }

    fn apply(&mut self, event: &watcher::Event<K>) {
        self.apply_watcher_event(event);
    }
}

/// Watches a kind, or the part that `config` selects, forever. Updates the cache and then reports each change.
/// Unreadable objects are reported and keep their last readable version; they do not stop the others.
pub async fn watch<K>(
    api: Api<Guarded<K>>,
    config: watcher::Config,
    unreadable: Unreadable,
    mut writer: impl CacheWriter<K>,
    mut tell: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let store = writer.reader();
    let events = event_stream(api, config, store.clone(), unreadable);
    pin_mut!(events);
    let mut before = None;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                // The watch restarts by itself.
                debug!(kind = %K::kind(&()), error = explain_watch(&error), "watch interrupted");
                continue;
            }
        };
        if matches!(event, watcher::Event::Init) {
            before = Some(store.all());
        }
        let known = match &event {
            watcher::Event::Apply(object) => store.get(&ObjectRef::from_obj(object)),
            _ => None,
        };
        writer.apply(&event);
        match event {
            watcher::Event::Apply(object) => {
                let beyond_status =
                    known.is_none_or(|known| !same_beyond_status(known.meta(), object.meta()));
                tell(Change::Applied { object: Arc::new(object), beyond_status });
            }
            watcher::Event::Delete(object) => tell(Change::Deleted(Arc::new(object))),
            watcher::Event::InitDone => {
                tell_of_all(&store, before.take().into_iter().flatten(), &mut tell);
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

/// After a new list: reports missing objects as deleted, and all others as changed.
fn tell_of_all<K>(
    store: &impl CacheReader<K>,
    before: impl Iterator<Item = Arc<K>>,
    tell: &mut impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()>,
{
    for object in before {
        if store
            .get(&ObjectRef::from_obj(object.as_ref()))
            .is_none_or(|now| now.meta().uid != object.meta().uid)
        {
            tell(Change::Deleted(object));
        }
    }
    for object in store.all() {
        tell(Change::Applied { object, beyond_status: true });
    }
}

/// The events of a kind's objects, without fields that bindery never reads. An unreadable object is reported, and
/// keeps the version in `known`.
pub fn event_stream<K>(
    api: Api<Guarded<K>>,
    config: watcher::Config,
    known: impl CacheReader<K>,
    unreadable: Unreadable,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, config).default_backoff().filter_map(move |event| {
        std::future::ready(match event {
            Ok(event) => readable(event, &known, &unreadable).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

fn readable<K>(
    event: watcher::Event<Guarded<K>>,
    known: &impl CacheReader<K>,
    unreadable: &Unreadable,
) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let read = |guard: Guarded<K>| match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            object.annotations_mut().remove(LAST_APPLIED);
            Ok(object)
        }
        Err(invalid) => {
            let mut reference = ObjectRef::<K>::new(invalid.metadata.name.as_deref().unwrap_or_default());
            reference.namespace.clone_from(&invalid.metadata.namespace);
            unreadable.tell::<K>(&(), &invalid);
            // A replaced object of this name is not the known one.
            Err(known.get(&reference).filter(|known| known.meta().uid == invalid.metadata.uid))
        }
    };
    let kept = |object: Arc<K>| K::clone(&object);
    Some(match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(read(object).ok()?),
        watcher::Event::InitApply(object) => {
            watcher::Event::InitApply(read(object).or_else(|known| known.map(kept).ok_or(())).ok()?)
        }
        watcher::Event::Delete(object) => {
            watcher::Event::Delete(read(object).or_else(|known| known.map(kept).ok_or(())).ok()?)
        }
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether only the status of an object changed. The generation counts changes of the spec.
fn same_beyond_status(old: &Meta, new: &Meta) -> bool {
    let strip = |meta: &Meta| Meta { resource_version: None, ..meta.clone() };
    strip(old) == strip(new)
}

#[cfg(test)]
mod tests {
    use kube::{core::error_boundary::InvalidObject, runtime::reflector};
    use serde_json::json;
    use watcher::Event;

    use super::*;
    use crate::{apis::servicecatalog::ServiceBinding, telemetry::Metrics};

    fn binding(uid: &str, instance: &serde_json::Value) -> Guarded<ServiceBinding> {
        let metadata = json!({"namespace": "shop", "name": "b", "uid": uid});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"instanceRef": {"name": instance}}}))
            .unwrap()
    }

    #[test]
    fn an_object_that_becomes_unreadable_keeps_its_last_readable_version() {
        let metrics = Arc::new(Metrics::new());
        let unreadable = Unreadable::without_events(metrics.clone());
        let (store, mut writer) = reflector::store::<ServiceBinding>();
        let mut see = |event| {
            if let Some(event) = readable(event, &store, &unreadable) {
                writer.apply_watcher_event(&event);
            }
            store.state().len()
        };
        let (good, bad) = (binding("u", &json!("db")), binding("u", &json!(["canary"])));
        assert_eq!(see(Event::Apply(good.clone())), 1);
        assert_eq!(see(Event::Apply(bad.clone())), 1);
        see(Event::Init);
        see(Event::InitApply(bad.clone()));
        assert_eq!(see(Event::InitDone), 1, "a new list does not delete it");
        assert_eq!(see(Event::Delete(bad.clone())), 0);
        assert_eq!(see(Event::Apply(good)), 1);
        see(Event::Init);
        see(Event::InitApply(binding("another", &json!(["canary"]))));
        assert_eq!(see(Event::InitDone), 0, "a replaced object of the same name is not the known one");
        let counted = metrics.encode().unwrap();
        assert!(
            counted.contains(r#"bindery_unreadable_objects_total{kind="ServiceBinding"} 4"#),
            "{counted}"
        );
        let Err(InvalidObject { error, .. }) = bad.0 else { panic!("it can be read") };
        assert!(!super::super::error::without_values(&error).contains("canary"), "{error}");
    }
}
