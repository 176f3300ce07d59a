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

use super::super::store::{Change, Hold, Renewal, Store, StoreError, Then};
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
    /// Of the operation that has it.
    interrupted: Mutex<CancellationToken>,
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
    _place: Place,
}

/// A place at the head of the queue. Leaves no empty queue behind.
struct Place {
    slots: Slots,
    instance: InstanceId,
    head: Option<OwnedMutexGuard<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.head = None;
        let mut slots = lock(&self.slots);
        // Whoever waits has a reference of its own, beside the map's.
        if slots.get(&self.instance).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.instance);
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
        let slot = lock(&self.slots).entry(instance.clone()).or_default().clone();
        let mut place = Place { slots: self.slots.clone(), instance: instance.clone(), head: None };
        let queue = slot.queue.clone();
        place.head = match queue.clone().try_lock_owned() {
            Ok(head) => Some(head),
            Err(_) if patience.is_zero() => None,
            Err(_) => timeout_at(deadline, queue.lock_owned()).await.ok(),
        };
        if place.head.is_none() {
            drop(slot);
            return Ok(None);
        }
        let mut poll = FIRST_POLL;
        let hold = loop {
            if let Some(hold) = self.store.hold(instance).await? {
                break hold;
            }
            if Instant::now() + poll > deadline {
                return Ok(None);
            }
            sleep(poll).await;
            poll = (2 * poll).min(LONGEST_POLL);
        };
        let interrupted = CancellationToken::new();
        lock(&slot.interrupted).clone_from(&interrupted);
        drop(slot);
        Ok(Some(self.held(hold, interrupted, place)))
    }

    fn held(&self, hold: Hold, interrupted: CancellationToken, place: Place) -> Held {
        let lost = CancellationToken::new();
        let beat = self.store.lease().map(|lease| {
            let ended = CancellationToken::new();
            let beat = beat(self.store.clone(), hold.clone(), lease, interrupted.clone(), lost.clone());
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
            _place: place,
        }
    }

    /// Asks whoever creates something on the instance to make room for a delete.
    pub(super) async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let slot = lock(&self.slots).get(instance).cloned();
        if let Some(slot) = slot {
            lock(&slot.interrupted).cancel();
        }
        self.store.interrupt(instance).await
    }
}

impl Held {
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
    interrupted: CancellationToken,
    lost: CancellationToken,
) {
    let pause = (lease / 5).min(LONGEST_BEAT);
    let mut renewed = Instant::now();
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
