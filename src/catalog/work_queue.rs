//! The objects of a kind that are to be reconciled, each with the time. An object is reconciled by one task at a time, and
//! is in the queue once. Ten thousand ready bindings wait here for the next check of their Secrets, so an entry is small.

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, runtime::reflector::ObjectRef};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// An object of a kind: its namespace and name, joined by a slash.
type Key = Arc<str>;
/// When an object is due, and a number that keeps objects of the same time in order.
type Due = (Instant, u64);

/// The queue of a kind. Clones share the queue.
pub(super) struct WorkQueue<K> {
    shared: Arc<Shared>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Notified when another object is the first to be due.
    is_earlier: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_time: BTreeMap<Due, Key>,
    by_key: HashMap<Key, Due>,
    /// The objects that are being reconciled, with the time of the next reconcile that was asked for meanwhile.
    running: HashMap<Key, Option<Instant>>,
    count: u64,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        Self { shared: Arc::default(), kind: PhantomData }
    }
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), kind: PhantomData }
    }
}

impl<K: Resource<DynamicType = ()>> WorkQueue<K> {
    /// Enqueues an object: it is reconciled as soon as possible.
    pub(super) fn add(&self, object: &ObjectRef<K>) {
        self.schedule(key(object), Instant::now());
    }

    /// Waits for an object that is due and takes it. The caller must report its end with [`Self::done`].
    pub(super) async fn next(&self) -> ObjectRef<K> {
        loop {
            // Registered first, so that no notice is lost between the look and the wait.
            let is_earlier = self.shared.is_earlier.notified();
            let due = match self.lock().take(Instant::now()) {
                Taken::Object(key) => return reference(&key),
                Taken::Wait(due) => due,
            };
            match due {
                None => is_earlier.await,
                Some(due) => tokio::select! {
                    () = is_earlier => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// The reconcile of an object has ended. `next` is when to reconcile it again if nothing changes before.
    pub(super) fn done(&self, object: &ObjectRef<K>, next: Option<Instant>) {
        let key = key(object);
        let asked = self.lock().running.remove(&key).flatten();
        if let Some(at) = asked.into_iter().chain(next).min() {
            self.schedule(key, at);
        }
    }

    fn schedule(&self, key: Key, at: Instant) {
        if self.lock().schedule(key, at) {
            self.shared.is_earlier.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of taking an object.
enum Taken {
    Object(Key),
    /// None is due before this time.
    Wait(Option<Instant>),
}

impl Entries {
    /// Schedules an object, unless an earlier time is set. Returns whether the object is the first to be due now.
    fn schedule(&mut self, key: Key, at: Instant) -> bool {
        if let Some(asked) = self.running.get_mut(&key) {
            *asked = Some(asked.map_or(at, |asked| asked.min(at)));
            return false;
        }
        let key = match self.by_key.get(&key) {
            Some((before, _)) if *before <= at => return false,
            Some(due) => self.by_time.remove(due).unwrap_or(key),
            None => key,
        };
        self.count += 1;
        let due = (at, self.count);
        self.by_key.insert(key.clone(), due);
        self.by_time.insert(due, key);
        self.by_time.first_key_value().is_some_and(|(first, _)| *first == due)
    }

    fn take(&mut self, now: Instant) -> Taken {
        let Some(first) = self.by_time.first_entry() else {
            if self.by_key.capacity() > 0 {
                self.by_key = HashMap::new();
            }
            return Taken::Wait(None);
        };
        if first.key().0 > now {
            return Taken::Wait(Some(first.key().0));
        }
        let key = first.remove();
        self.by_key.remove(&key);
        self.running.insert(key.clone(), None);
        Taken::Object(key)
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &ObjectRef<K>) -> Key {
    format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name).into()
}

fn reference<K: Resource<DynamicType = ()>>(key: &str) -> ObjectRef<K> {
    match key.split_once('/') {
        Some(("", name)) => ObjectRef::new(name),
        Some((namespace, name)) => ObjectRef::new(name).within(namespace),
        None => ObjectRef::new(key),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::apis::servicecatalog::{ExternalResource, ServiceBinding};

    fn binding(name: &str) -> ObjectRef<ServiceBinding> {
        ObjectRef::new(name).within("shop")
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_in_the_queue_once_and_in_the_order_of_its_coming() {
        let queue = WorkQueue::<ServiceBinding>::default();
        for name in ["a", "b", "a", "c"] {
            queue.add(&binding(name));
        }
        for name in ["a", "b", "c"] {
            assert_eq!(queue.next().await, binding(name));
        }
        assert!(queue.next().now_or_never().is_none());
        let queue = WorkQueue::<ExternalResource>::default();
        queue.add(&ObjectRef::new("instance-1"));
        assert_eq!(queue.next().await, ObjectRef::new("instance-1"), "of the cluster");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_changes_while_it_is_reconciled_comes_again_afterwards() {
        let queue = WorkQueue::default();
        queue.add(&binding("a"));
        let a = queue.next().await;
        queue.add(&a);
        assert!(queue.next().now_or_never().is_none(), "one task at a time");
        queue.done(&a, Some(Instant::now() + Duration::from_mins(10)));
        assert_eq!(queue.next().now_or_never(), Some(a.clone()), "the earlier time counts");
        queue.done(&a, None);
        assert!(queue.next().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_comes_before_the_time_that_was_set() {
        let queue = WorkQueue::default();
        let (start, a, b) = (Instant::now(), binding("a"), binding("b"));
        queue.done(&a, Some(start + Duration::from_secs(20)));
        queue.done(&b, Some(start + Duration::from_secs(10)));
        assert_eq!(queue.next().await, b);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        let changes = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add(&a);
        };
        let (next, ()) = tokio::join!(queue.next(), changes);
        assert_eq!((next, start.elapsed()), (a, Duration::from_secs(11)));
        assert!(
            tokio::time::timeout(Duration::from_mins(1), queue.next()).await.is_err(),
            "the later time is gone"
        );
    }
}
