//! One operation at a time on each instance and its bindings, whichever broker of a store works on it. Requests to this
//! broker wait in the order they came; then the store decides between brokers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Queue, OwnedMutexGuard},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::super::store::{Change, Hold, Key, Renewal, Store, StoreError, Then};
use crate::osb::InstanceId;

/// How often the store is asked whether another broker is done.
const FIRST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// Another broker's delete is noticed within this.
const LONGEST_BEAT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone)]
pub(super) struct Holds {
    store: Arc<dyn Store>,
    slots: Slots,
    tasks: TaskTracker,
}

type Slots = Arc<Mutex<HashMap<InstanceId, Arc<Slot>>>>;

/// The operations of this broker on one instance: one that has it, and those that wait.
#[derive(Default)]
struct Slot {
    queue: Arc<Queue<()>>,
    traffic: Mutex<Traffic>,
}

#[derive(Default)]
struct Traffic {
    /// How to interrupt the operation that has it.
    has_it: Option<CancellationToken>,
    /// What that one creates.
    created: Option<Key>,
    /// What those want to delete that wait.
    wanted: Vec<Key>,
}

/// A slot as long as somebody needs it. Leaves no empty one behind.
struct InUse {
    slots: Slots,
    instance: InstanceId,
    slot: Option<Arc<Slot>>,
}

impl InUse {
    fn traffic(&self) -> Option<MutexGuard<'_, Traffic>> {
        self.slot.as_ref().map(|slot| lock(&slot.traffic))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut slots = lock(&self.slots);
        self.slot = None;
        if slots.get(&self.instance).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.instance);
        }
    }
}

/// Somebody waits to delete something.
struct Wanted {
    slot: InUse,
    key: Key,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(mut traffic) = self.slot.traffic()
            && let Some(at) = traffic.wanted.iter().position(|key| *key == self.key)
        {
            traffic.wanted.remove(at);
        }
    }
}

/// An instance that nobody else works on.
pub(super) struct Held {
    hold: Option<Hold>,
    store: Arc<dyn Store>,
    tasks: TaskTracker,
    /// A delete wants the instance, so that creating it may end.
    pub(super) interrupted: CancellationToken,
    /// Another broker may have the instance by now.
    pub(super) lost: CancellationToken,
    _beat: Option<DropGuard>,
    place: Place,
}

/// The place at the head of the queue, and the instance with it.
struct Place {
    slot: InUse,
    _head: OwnedMutexGuard<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut traffic) = self.slot.traffic() {
            (traffic.has_it, traffic.created) = (None, None);
        }
    }
}

impl Holds {
    pub(super) fn new(store: Arc<dyn Store>, tasks: TaskTracker) -> Self {
        Self { store, slots: Slots::default(), tasks }
    }

    /// The instance, if nobody works on it, or nobody does any more within `patience`.
    pub(super) async fn take(
        &self,
        instance: &InstanceId,
        patience: Duration,
    ) -> Result<Option<Held>, StoreError> {
        let deadline = Instant::now() + patience;
        let (slot, queue) = self.slot(instance);
        let head = match queue.clone().try_lock_owned() {
            Ok(head) => Some(head),
            Err(_) if patience.is_zero() => None,
            Err(_) => timeout_at(deadline, queue.lock_owned()).await.ok(),
        };
        let Some(head) = head else { return Ok(None) };
        let mut poll = FIRST_POLL;
        let (hold, since) = loop {
            let asked = Instant::now();
            if let Some(hold) = self.store.hold(instance).await? {
                break (hold, asked);
            }
            if Instant::now() + poll > deadline {
                return Ok(None);
            }
            sleep(poll).await;
            poll = (2 * poll).min(LONGEST_POLL);
        };
        Ok(Some(self.held(hold, since, Place { slot, _head: head })))
    }

    fn slot(&self, instance: &InstanceId) -> (InUse, Arc<Queue<()>>) {
        let slot = lock(&self.slots).entry(instance.clone()).or_default().clone();
        let queue = slot.queue.clone();
        (InUse { slots: self.slots.clone(), instance: instance.clone(), slot: Some(slot) }, queue)
    }

    /// `since` is no later than when the store began to count.
    fn held(&self, hold: Hold, since: Instant, place: Place) -> Held {
        let (interrupted, lost) = (CancellationToken::new(), CancellationToken::new());
        if let Some(mut traffic) = place.slot.traffic() {
            traffic.has_it = Some(interrupted.clone());
        }
        let beat = self.store.lease().map(|lease| {
            let ended = CancellationToken::new();
            let tokens = (interrupted.clone(), lost.clone());
            let beat = beat(self.store.clone(), hold.clone(), lease, since, tokens);
            tokio::spawn(ended.clone().run_until_cancelled_owned(beat));
            ended.drop_guard()
        });
        Held {
            hold: Some(hold),
            store: self.store.clone(),
            tasks: self.tasks.clone(),
            interrupted,
            lost,
            _beat: beat,
            place,
        }
    }

    /// The instance, for a delete of something that is being created: whoever creates it makes room, also those who
    /// come before it in the queue. What another broker does on the instance is halted whatever it is.
    pub(super) async fn halt(&self, key: &Key, patience: Duration) -> Result<Option<Held>, StoreError> {
        let wanted = Wanted { slot: self.slot(&key.instance).0, key: key.clone() };
        let is_here = wanted.slot.traffic().is_some_and(|mut traffic| {
            traffic.wanted.push(key.clone());
            if traffic.created.as_ref() == Some(key)
                && let Some(interrupted) = &traffic.has_it
            {
                interrupted.cancel();
            }
            traffic.has_it.is_some()
        });
        if !is_here {
            self.store.interrupt(&key.instance).await?;
        }
        self.take(&key.instance, patience).await
    }

    /// How many instances are worked on or waited for.
    #[cfg(test)]
    pub(super) fn queues(&self) -> usize {
        lock(&self.slots).len()
    }
}

impl Held {
    /// Tells that this is being created from now on, so that a delete of it may interrupt.
    pub(super) fn create(&self, key: &Key) {
        if let Some(mut traffic) = self.place.slot.traffic() {
            traffic.created = Some(key.clone());
            if traffic.wanted.contains(key) {
                self.interrupted.cancel();
            }
        }
    }

    /// Makes changes to the instance's records, and goes on holding it.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        match &self.hold {
            Some(hold) => self.store.commit(hold, changes, Then::Keep).await,
            None => Ok(()),
        }
    }

    /// Makes changes to the instance's records, and lets go of it.
    pub(super) async fn conclude(mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let Some(hold) = self.hold.take() else { return Ok(()) };
        let concluded = self.store.commit(&hold, changes, Then::Release).await;
        if concluded.is_err() {
            self.hold = Some(hold);
        }
        concluded
    }

    /// Lets go of the instance.
    pub(super) async fn release(mut self) -> Result<(), StoreError> {
        match self.hold.take() {
            Some(hold) => self.store.release(&hold).await,
            None => Ok(()),
        }
    }

    /// What the store calls it.
    pub(super) fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let store = self.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.release(&hold).await {
                tracing::warn!(instance = %hold.instance, %error, "cannot let go of an instance; its hold runs out by itself");
            }
        });
    }
}

/// Keeps a hold alive. Ends when it is lost.
async fn beat(
    store: Arc<dyn Store>,
    hold: Hold,
    lease: Duration,
    since: Instant,
    (interrupted, lost): (CancellationToken, CancellationToken),
) {
    let pause = (lease / 5).min(LONGEST_BEAT);
    let mut renewed = since;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        // Nobody else takes it before its end, so that this one ends in time.
        match timeout_at(renewed + lease.saturating_sub(pause), store.renew(&hold)).await {
            Ok(Ok(Renewal::Held { interrupted: wanted })) => {
                renewed = asked;
                if wanted {
                    interrupted.cancel();
                }
            }
            Ok(Err(error)) if renewed.elapsed() + 2 * pause < lease => {
                tracing::warn!(instance = %hold.instance, %error, "cannot renew a hold; trying again");
            }
            Ok(Ok(Renewal::Lost) | Err(_)) | Err(_) => {
                lost.cancel();
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
