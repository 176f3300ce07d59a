//! A watch cache for kinds of which there are many thousand objects. Lookups read small facts; the whole object is kept
//! packed, and is unpacked at the version that the watch delivered when somebody needs it. An object takes a tenth of
//! the memory that it takes in kube's reflector.

mod packed;
mod texts;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::packed::{Packed, Packer};
pub(crate) use self::texts::Texts;
use super::watch::{CacheReader, CacheWriter};

/// A kind that is kept packed.
pub(crate) trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What lookups read of an object.
    type Facts: Send + Sync;

    /// The facts of this object. Texts that many objects have in common are shared.
    fn facts(&self, texts: &mut Texts) -> Self::Facts;
}

/// An object in the cache.
struct Kept<K: Cached> {
    facts: K::Facts,
    object: Packed,
}

impl<K: Cached> Kept<K> {
    fn unpack(&self) -> Option<Arc<K>> {
        match self.object.unpack() {
            Ok(object) => Some(Arc::new(object)),
            Err(error) => {
                error!(kind = %K::kind(&()), error, "a cached object cannot be unpacked; this is a defect, report it");
                None
            }
        }
    }
}

/// The objects by namespace and name. Objects of the cluster are in the namespace "".
type Objects<K> = BTreeMap<Arc<str>, BTreeMap<Box<str>, Arc<Kept<K>>>>;

/// The reading end of a cache. Clones read the same cache.
pub(crate) struct Cache<K: Cached> {
    objects: Arc<RwLock<Objects<K>>>,
    /// Cancelled once the kind has been listed.
    listed: CancellationToken,
}

impl<K: Cached> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone(), listed: self.listed.clone() }
    }
}

/// The writing end of a cache.
pub(crate) struct Writer<K: Cached> {
    cache: Cache<K>,
    packer: Packer,
    texts: Texts,
    /// The objects of a list that is not complete yet.
    listing: Objects<K>,
}

/// Makes an empty cache.
pub(crate) fn cache<K: Cached>() -> (Cache<K>, Writer<K>) {
    let cache = Cache { objects: Arc::default(), listed: CancellationToken::new() };
    let writer = Writer {
        cache: cache.clone(),
        packer: Packer::default(),
        texts: Texts::default(),
        listing: Objects::new(),
    };
    (cache, writer)
}

impl<K: Cached> Cache<K> {
    /// Waits until the kind has been listed once.
    pub(crate) async fn wait_until_ready(&self) {
        self.listed.cancelled().await;
    }

    /// The object of this name.
    pub(crate) fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        self.kept(reference)?.unpack()
    }

    /// Whether there is an object of this name.
    pub(crate) fn has(&self, reference: &ObjectRef<K>) -> bool {
        self.kept(reference).is_some()
    }

    /// The objects with such facts.
    pub(crate) fn find(&self, is_one: impl Fn(&K::Facts) -> bool) -> Vec<ObjectRef<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let found = |(namespace, names): (&Arc<str>, &Names<K>)| found(namespace, names, &is_one);
        objects.iter().flat_map(found).collect()
    }

    /// What `map` makes of the objects.
    pub(crate) fn map<T>(&self, map: impl Fn(&K::Facts) -> Option<T>) -> Vec<T> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.values().flat_map(BTreeMap::values).filter_map(|kept| map(&kept.facts)).collect()
    }

    /// The objects of a namespace with such facts.
    pub(crate) fn find_in(&self, namespace: &str, is_one: impl Fn(&K::Facts) -> bool) -> Vec<ObjectRef<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(namespace).map(|names| found(namespace, names, &is_one)).unwrap_or_default()
    }

    /// Whether there is an object with such facts.
    pub(crate) fn any(&self, is_one: impl Fn(&K::Facts) -> bool) -> bool {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.values().flat_map(BTreeMap::values).any(|kept| is_one(&kept.facts))
    }

    /// Whether there is an object with such facts in a namespace.
    pub(crate) fn any_in(&self, namespace: &str, is_one: impl Fn(&K::Facts) -> bool) -> bool {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(namespace).is_some_and(|names| names.values().any(|kept| is_one(&kept.facts)))
    }

    fn kept(&self, reference: &ObjectRef<K>) -> Option<Arc<Kept<K>>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(reference.namespace.as_deref().unwrap_or_default())?.get(&*reference.name).cloned()
    }
}

type Names<K> = BTreeMap<Box<str>, Arc<Kept<K>>>;

fn found<K: Cached>(
    namespace: &str,
    names: &Names<K>,
    is_one: &impl Fn(&K::Facts) -> bool,
) -> Vec<ObjectRef<K>> {
    let of_these = names.iter().filter(|(_, kept)| is_one(&kept.facts));
    let references = of_these.map(|(name, _)| ObjectRef::new(name));
    if namespace.is_empty() {
        return references.collect();
    }
    references.map(|reference| reference.within(namespace)).collect()
}

impl<K: Cached> CacheReader<K> for Cache<K> {
    fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        Self::get(self, reference)
    }

    fn all(&self) -> impl Iterator<Item = Arc<K>> + Send + use<K> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = objects.values().flat_map(BTreeMap::values).cloned().collect();
        all.into_iter().filter_map(|kept| kept.unpack())
    }
}

impl<K: Cached> Writer<K> {
    fn insert(&mut self, object: &K, into_list: bool) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let namespace = self.texts.share(&namespace);
        let facts = object.facts(&mut self.texts);
        let object = match self.packer.pack(object) {
            Ok(object) => object,
            Err(error) => {
                error!(kind = %K::kind(&()), %error, "an object cannot be packed; this is a defect, report it");
                return;
            }
        };
        let kept = Arc::new(Kept { facts, object });
        if into_list {
            self.listing.entry(namespace).or_default().insert(name.into(), kept);
        } else {
            let mut objects = self.cache.objects.write().unwrap_or_else(PoisonError::into_inner);
            objects.entry(namespace).or_default().insert(name.into(), kept);
        }
    }

    fn remove(&self, object: &K) {
        let namespace = object.namespace().unwrap_or_default();
        let mut objects = self.cache.objects.write().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = objects.get_mut(&*namespace) else { return };
        names.remove(&*object.name_any());
        if names.is_empty() {
            objects.remove(&*namespace);
        }
    }
}

impl<K: Cached> CacheWriter<K> for Writer<K> {
    type Reader = Cache<K>;

    fn reader(&self) -> Cache<K> {
        self.cache.clone()
    }

    fn apply(&mut self, event: &Event<K>) {
        match event {
            Event::Apply(object) => self.insert(object, false),
            Event::Delete(object) => self.remove(object),
            Event::Init => self.listing = Objects::new(),
            Event::InitApply(object) => self.insert(object, true),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                *self.cache.objects.write().unwrap_or_else(PoisonError::into_inner) = listed;
                self.cache.listed.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests;
