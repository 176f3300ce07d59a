//! A store as one broker sees it, with faults: it disappears when the broker is killed, and fails on demand.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::sleep;

use crate::{
    broker::{
        backends::fake::Fuse,
        store::{Change, Frozen, Key, Lease, Renewal, Row, Store, StoreError, Then},
    },
    osb::InstanceId,
};

/// The faults of a broker. Clones share them.
#[derive(Clone)]
pub(super) struct Fate {
    pub(super) fuse: Fuse,
    /// The steps so far, to report where the broker was killed.
    trail: Arc<Mutex<Vec<String>>>,
    /// How many of the next commits fail, as on a full disk.
    pub(super) refused: Arc<AtomicUsize>,
    /// How many commits succeed before those.
    pub(super) refused_after: Arc<AtomicUsize>,
    /// The delay of each lease request, in milliseconds.
    pub(super) slow: Arc<AtomicU64>,
    /// No lease is granted.
    pub(super) refuse_leases: Arc<AtomicBool>,
    /// Every write fails, as on a read-only disk.
    pub(super) read_only: Arc<AtomicBool>,
    /// Leases are not renewed.
    pub(super) deaf: Arc<AtomicBool>,
}

impl Fate {
    pub(super) fn new(fuse: Fuse) -> Self {
        Self {
            fuse,
            trail: Arc::default(),
            refused: Arc::default(),
            refused_after: Arc::default(),
            slow: Arc::default(),
            refuse_leases: Arc::default(),
            read_only: Arc::default(),
            deaf: Arc::default(),
        }
    }

    /// Takes a step; returns whether the broker is still alive.
    pub(super) fn step(&self, name: impl FnOnce() -> String) -> bool {
        if !self.fuse.holds() {
            return false;
        }
        self.trail.lock().unwrap().push(name());
        true
    }

    /// The steps before the kill.
    pub(super) fn trail(&self) -> String {
        self.trail.lock().unwrap().join(", ")
    }
}

/// A store with faults.
pub(super) struct Fragile {
    pub(super) store: Arc<dyn Store>,
    pub(super) fate: Fate,
}

fn failed(problem: &str) -> StoreError {
    StoreError::Failed { store: "test".to_owned(), problem: problem.to_owned() }
}

impl Fragile {
    async fn read<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.fate.fuse.is_gone() { Err(failed("killed")) } else { read.await }
    }

    async fn write<T>(
        &self,
        name: &str,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !self.fate.step(|| format!("before {name}")) {
            return Err(failed("killed"));
        }
        let written = write.await?;
        if self.fate.step(|| format!("after {name}")) { Ok(written) } else { Err(failed("killed")) }
    }

    fn refuses(&self) -> bool {
        let counts_down = |left: &AtomicUsize| {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        };
        let Fate { read_only, refused, refused_after, .. } = &self.fate;
        read_only.load(Ordering::SeqCst) || !counts_down(refused_after) && counts_down(refused)
    }
}

fn named(changes: &[Change], then: Then) -> String {
    let names = changes.iter().map(|change| match change {
        Change::Put(row) => format!("{} as {}", row.key, row.state.as_str()),
        Change::Remove(key) => format!("removing {key}"),
        Change::Tombstone(key, _) => format!("burying {key}"),
    });
    format!("writing {} ({then:?})", names.collect::<Vec<_>>().join(" and "))
}

#[async_trait]
impl Store for Fragile {
    fn name(&self) -> &str {
        self.store.name()
    }

    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        self.store.installation(proposed).await
    }

    async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        self.store.recorded_installation().await
    }

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        self.read(self.store.row(key)).await
    }

    async fn instances(&self) -> Result<Vec<Row>, StoreError> {
        self.read(self.store.instances()).await
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError> {
        self.read(self.store.bindings(instance)).await
    }

    async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        self.read(self.store.unfinished()).await
    }

    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError> {
        self.read(self.store.sealed_otherwise(key_id)).await
    }

    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError> {
        self.read(self.store.tombstone(key)).await
    }

    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError> {
        self.read(self.store.forget_tombstones(age)).await
    }

    fn lease_duration(&self) -> Option<Duration> {
        self.store.lease_duration()
    }

    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        if self.fate.refuse_leases.load(Ordering::SeqCst) {
            return Err(failed("no answer"));
        }
        let held = self.write("holding", self.store.acquire(instance)).await;
        sleep(Duration::from_millis(self.fate.slow.load(Ordering::SeqCst))).await;
        held
    }

    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        self.read(self.store.current_lease(instance)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        if self.fate.deaf.load(Ordering::SeqCst) {
            return Err(failed("no answer"));
        }
        self.read(self.store.renew(lease)).await
    }

    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.write("interrupting", self.store.interrupt(instance)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write("releasing", self.store.release(lease)).await
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError> {
        if self.refuses() {
            return Err(failed("disk is full; make space on its disk"));
        }
        let name = named(&changes, then);
        self.write(&name, self.store.commit(lease, changes, then)).await
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        self.store.freeze().await
    }
}
