//! Leases: only one operation at a time works on an instance and its bindings. Requests to this broker wait in order
//! of arrival; the store arbitrates between brokers.

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

use super::super::store::{Change, Key, Lease, Renewal, Store, StoreError, Then};
use crate::osb::InstanceId;

/// The first interval for checking whether another broker has released a lease.
const FIRST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// The longest interval of renewals; a waiting delete of another broker is noticed within this time.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(2);

/// Grants leases. Clones share all state.
#[derive(Clone)]
pub(super) struct Leases {
    store: Arc<dyn Store>,
    slots: Slots,
    tasks: TaskTracker,
}

type Slots = Arc<Mutex<HashMap<InstanceId, Arc<Slot>>>>;

/// This broker's operations on one instance: the one that has the lease, and those that wait.
#[derive(Default)]
struct Slot {
    queue: Arc<Queue<()>>,
    traffic: Mutex<Traffic>,
}

#[derive(Default)]
struct Traffic {
    /// Interrupts the operation that has the lease.
    current: Option<CancellationToken>,
    /// The key that the operation with the lease creates.
    created: Option<Key>,
    /// The keys that waiting operations are going to delete.
    wanted: Vec<Key>,
}

/// A reference to a slot. The last one removes the slot from the table.
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

/// A delete that waits for the lease.
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

/// The lease on an instance, renewed until released or dropped.
pub(super) struct LeaseGuard {
    lease: Option<Lease>,
    store: Arc<dyn Store>,
    tasks: TaskTracker,
    /// Cancelled when a delete waits for the lease, so that a creation ends early.
    pub(super) interrupted: CancellationToken,
    /// Cancelled when another broker may have the lease.
    pub(super) lost: CancellationToken,
    _heartbeat: Option<DropGuard>,
    place: SlotGuard,
}

/// The first place in the slot's queue.
struct SlotGuard {
    slot: InUse,
    _head: OwnedMutexGuard<()>,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(mut traffic) = self.slot.traffic() {
            (traffic.current, traffic.created) = (None, None);
        }
    }
}

impl Leases {
    pub(super) fn new(store: Arc<dyn Store>, tasks: TaskTracker) -> Self {
        Self { store, slots: Slots::default(), tasks }
    }

    /// Acquires the lease; waits up to `patience`.
    pub(super) async fn acquire(
        &self,
        instance: &InstanceId,
        patience: Duration,
    ) -> Result<Option<LeaseGuard>, StoreError> {
        let deadline = Instant::now() + patience;
        let (slot, queue) = self.slot(instance);
        let head = match queue.clone().try_lock_owned() {
            Ok(head) => Some(head),
            Err(_) if patience.is_zero() => None,
            Err(_) => timeout_at(deadline, queue.lock_owned()).await.ok(),
        };
        let Some(head) = head else { return Ok(None) };
        let mut poll = FIRST_POLL;
        let (lease, since) = loop {
            let asked = Instant::now();
            if let Some(lease) = self.store.acquire(instance).await? {
                break (lease, asked);
            }
            if Instant::now() + poll > deadline {
                return Ok(None);
            }
            sleep(poll).await;
            poll = (2 * poll).min(LONGEST_POLL);
        };
        Ok(Some(self.lease(lease, since, SlotGuard { slot, _head: head })))
    }

    fn slot(&self, instance: &InstanceId) -> (InUse, Arc<Queue<()>>) {
        let slot = lock(&self.slots).entry(instance.clone()).or_default().clone();
        let queue = slot.queue.clone();
        (InUse { slots: self.slots.clone(), instance: instance.clone(), slot: Some(slot) }, queue)
    }

    /// `since` must not be later than the time when the store granted the lease.
    fn lease(&self, lease: Lease, since: Instant, place: SlotGuard) -> LeaseGuard {
        let (interrupted, lost) = (CancellationToken::new(), CancellationToken::new());
        if let Some(mut traffic) = place.slot.traffic() {
            traffic.current = Some(interrupted.clone());
        }
        let heartbeat = self.store.lease_duration().map(|duration| {
            let ended = CancellationToken::new();
            let tokens = (interrupted.clone(), lost.clone());
            let heartbeat = heartbeat(self.store.clone(), lease.clone(), duration, since, tokens);
            tokio::spawn(ended.clone().run_until_cancelled_owned(heartbeat));
            ended.drop_guard()
        });
        LeaseGuard {
            lease: Some(lease),
            store: self.store.clone(),
            tasks: self.tasks.clone(),
            interrupted,
            lost,
            _heartbeat: heartbeat,
            place,
        }
    }

    /// Acquires the lease for a delete of `key`, which may be under creation: interrupts creations of `key`, including
    /// those ahead of the delete in the queue. Interrupts any operation of another broker on the instance.
    pub(super) async fn halt(&self, key: &Key, patience: Duration) -> Result<Option<LeaseGuard>, StoreError> {
        let wanted = Wanted { slot: self.slot(&key.instance).0, key: key.clone() };
        let is_here = wanted.slot.traffic().is_some_and(|mut traffic| {
            traffic.wanted.push(key.clone());
            if traffic.created.as_ref() == Some(key)
                && let Some(interrupted) = &traffic.current
            {
                interrupted.cancel();
            }
            traffic.current.is_some()
        });
        if !is_here {
            self.store.interrupt(&key.instance).await?;
        }
        self.acquire(&key.instance, patience).await
    }

    /// The number of instances with an active or awaited lease.
    #[cfg(test)]
    pub(super) fn queues(&self) -> usize {
        lock(&self.slots).len()
    }
}

impl LeaseGuard {
    /// Allows a delete of `key` to interrupt this operation, which creates `key`.
    pub(super) fn create(&self, key: &Key) {
        if let Some(mut traffic) = self.place.slot.traffic() {
            traffic.created = Some(key.clone());
            if traffic.wanted.contains(key) {
                self.interrupted.cancel();
            }
        }
    }

    /// Commits changes to the instance's records, and keeps the lease.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        match &self.lease {
            Some(lease) => self.store.commit(lease, changes, Then::Keep).await,
            None => Ok(()),
        }
    }

    /// Commits changes to the instance's records, if any, and releases the lease.
    pub(super) async fn finish(mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return self.release().await;
        }
        let Some(lease) = self.lease.take() else { return Ok(()) };
        let concluded = self.store.commit(&lease, changes, Then::Release).await;
        if concluded.is_err() {
            self.lease = Some(lease);
        }
        concluded
    }

    pub(super) async fn release(mut self) -> Result<(), StoreError> {
        match self.lease.take() {
            Some(lease) => self.store.release(&lease).await,
            None => Ok(()),
        }
    }

    /// The lease in the store.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let store = self.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.release(&lease).await {
                tracing::warn!(instance = %lease.instance, %error, "cannot release a lease; it expires by itself");
            }
        });
    }
}

/// Renews a lease until it is lost.
async fn heartbeat(
    store: Arc<dyn Store>,
    lease: Lease,
    duration: Duration,
    since: Instant,
    (interrupted, lost): (CancellationToken, CancellationToken),
) {
    let pause = (duration / 5).min(LONGEST_HEARTBEAT);
    let mut renewed = since;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        // Treat the lease as lost one pause before it expires, so that no other broker can have it yet.
        match timeout_at(renewed + duration.saturating_sub(pause), store.renew(&lease)).await {
            Ok(Ok(Renewal::Renewed { interrupted: wanted })) => {
                renewed = asked;
                if wanted {
                    interrupted.cancel();
                }
            }
            Ok(Err(error)) if renewed.elapsed() + 2 * pause < duration => {
                tracing::warn!(instance = %lease.instance, %error, "cannot renew a lease; trying again");
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
