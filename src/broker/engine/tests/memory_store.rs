//! An in-memory store for one broker or, with leases that expire by tokio's clock, for several.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    broker::store::{Change, Frozen, Key, Lease, Renewal, Row, Store, StoreError, Then},
    osb::InstanceId,
};

/// An in-memory store. Clones share its contents, as brokers share a database.
#[derive(Clone)]
pub(super) struct Memory {
    kept: Arc<Mutex<Kept>>,
    lease: Option<Duration>,
}

#[derive(Default)]
struct Kept {
    rows: BTreeMap<Key, Row>,
    tombstone: BTreeMap<Key, String>,
    held: HashMap<InstanceId, Given>,
}

struct Given {
    token: Uuid,
    since: Instant,
    interrupted: bool,
}

impl Memory {
    pub(super) fn new(lease: Option<Duration>) -> Self {
        Self { kept: Arc::default(), lease }
    }

    /// Drops the leases that do not expire, as the end of the only broker does.
    pub(super) fn forget_leases(&self) {
        self.lock().held.clear();
    }

    /// Makes the lease on an instance expire.
    pub(super) fn expire(&self, instance: &InstanceId) {
        self.lock().held.remove(instance);
    }

    pub(super) fn is_held(&self, instance: &InstanceId) -> bool {
        let lease = self.lease;
        self.lock().held.get(instance).is_some_and(|given| is_alive(given, lease))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    fn given<T>(&self, lease: &Lease, work: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let mut kept = self.lock();
        let given = kept.held.get(&lease.instance)?;
        (given.token == lease.token && is_alive(given, self.lease)).then(|| work(&mut kept))
    }
}

fn is_alive(given: &Given, lease: Option<Duration>) -> bool {
    lease.is_none_or(|lease| given.since.elapsed() < lease)
}

#[async_trait]
impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        Ok(proposed.to_owned())
    }

    async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        Ok(self.lock().rows.get(key).cloned())
    }

    async fn instances(&self) -> Result<Vec<Row>, StoreError> {
        Ok(self.lock().rows.values().filter(|row| row.key.binding.is_none()).cloned().collect())
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError> {
        let is_of = |row: &&Row| row.key.instance == *instance && row.key.binding.is_some();
        Ok(self.lock().rows.values().filter(is_of).cloned().collect())
    }

    async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        let kept = self.lock();
        Ok(kept.rows.values().filter(|row| row.state.is_unfinished()).map(|row| row.key.clone()).collect())
    }

    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError> {
        let kept = self.lock();
        Ok(kept.rows.values().filter(|row| row.sealed.key_id != key_id).map(|row| row.key.clone()).collect())
    }

    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError> {
        Ok(self.lock().tombstone.get(key).cloned())
    }

    async fn forget_tombstones(&self, _age: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    fn lease_duration(&self) -> Option<Duration> {
        self.lease
    }

    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let mut kept = self.lock();
        if kept.held.get(instance).is_some_and(|given| is_alive(given, self.lease)) {
            return Ok(None);
        }
        let token = Uuid::new_v4();
        kept.held.insert(instance.clone(), Given { token, since: Instant::now(), interrupted: false });
        Ok(Some(Lease { instance: instance.clone(), token }))
    }

    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let kept = self.lock();
        let given = kept.held.get(instance).filter(|given| is_alive(given, self.lease));
        Ok(given.map(|given| Lease { instance: instance.clone(), token: given.token }))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let renewed = self.given(lease, |kept| {
            let given = kept.held.get_mut(&lease.instance)?;
            given.since = Instant::now();
            Some(Renewal::Renewed { interrupted: given.interrupted })
        });
        Ok(renewed.flatten().unwrap_or(Renewal::Lost))
    }

    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        if let Some(given) = self.lock().held.get_mut(instance) {
            given.interrupted = true;
        }
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.given(lease, |kept| kept.held.remove(&lease.instance));
        Ok(())
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError> {
        let committed = self.given(lease, |kept| {
            for change in changes {
                match change {
                    Change::Put(row) => drop(kept.rows.insert(row.key.clone(), row)),
                    Change::Remove(key) => drop(kept.rows.remove(&key)),
                    Change::Tombstone(key, operation) => drop(kept.tombstone.insert(key, operation)),
                }
            }
            if then == Then::Release {
                kept.held.remove(&lease.instance);
            }
        });
        committed.ok_or_else(|| StoreError::LeaseLost {
            store: "memory".to_owned(),
            instance: lease.instance.clone(),
        })
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        Err(StoreError::Failed { store: "memory".to_owned(), problem: "cannot be frozen".to_owned() })
    }
}
