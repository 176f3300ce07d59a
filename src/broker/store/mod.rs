//! The broker's records: instances, bindings and the state of their operations. [`Store`] is the engine's interface to
//! a store: rows with sealed content, and leases. [`sqlite`] is the embedded store; [`postgres`] and [`dynamodb`]
//! serve several brokers. [`records`] converts between rows and the engine's types, and `cipher` seals rows.

pub(crate) mod cipher;
#[cfg(test)]
mod contract_tests;
pub(crate) mod dynamodb;
pub(crate) mod lock;
pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::cipher::Sealed;
use crate::{
    broker::config::BackendName,
    osb::{BindingId, InstanceId},
};

/// The state of an instance or a binding, written before the first call to the backend and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// A creation has begun; the backend may have nothing, a part, or everything.
    Creating,
    /// The backend has everything.
    Ready,
    /// An update has begun or is being reverted; the backend may have the old state, the new one, or something
    /// between.
    Updating,
    /// A creation has failed; the backend may have nothing, a part, or everything.
    Failed,
    /// A deletion has begun; the backend may have everything, a part, or nothing.
    Deleting,
}

impl State {
    /// Every state.
    pub(crate) const ALL: [Self; 5] =
        [Self::Creating, Self::Ready, Self::Updating, Self::Failed, Self::Deleting];

    /// The state's name in stores.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Updating => "updating",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Parses the name of a state.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether recovery must resume an operation.
    pub(crate) fn is_unfinished(self) -> bool {
        matches!(self, Self::Creating | Self::Updating | Self::Deleting)
    }
}

/// The key of a row: an instance, or a binding of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) instance: InstanceId,
    pub(crate) binding: Option<BindingId>,
}

impl Key {
    pub(crate) fn instance(id: &InstanceId) -> Self {
        Self { instance: id.clone(), binding: None }
    }

    pub(crate) fn binding(instance: &InstanceId, id: &BindingId) -> Self {
        Self { instance: instance.clone(), binding: Some(id.clone()) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.binding {
            Some(binding) => write!(f, "binding {binding} of service instance {}", self.instance),
            None => write!(f, "service instance {}", self.instance),
        }
    }
}

/// A record as stored: its key in the clear, its content sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) state: State,
    /// The backend that the instance is on, even if its plan now names another.
    pub(crate) server: BackendName,
    pub(crate) sealed: Sealed,
}

/// A change to the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Adds the row or replaces it.
    Put(Row),
    /// Removes the row, if it exists.
    Remove(Key),
    /// Keeps a tombstone: the operations on something that was deleted. Replaces an earlier tombstone of the same key.
    Tombstone(Key, String),
}

/// The exclusive right to work on an instance and its bindings, until released or expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) instance: InstanceId,
    /// Unique to this lease, also among earlier leases of the same instance.
    pub(crate) token: Uuid,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The lease is valid for another [`Store::lease_duration`].
    Renewed {
        /// Whether a delete waits for the lease.
        interrupted: bool,
    },
    /// Another broker may have the lease.
    Lost,
}

/// What happens to the lease after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Release,
}

/// A freeze: the store grants no lease while it lasts. Dropping it ends the freeze, at once or after a short while.
pub(crate) trait Frozen: Send {
    /// Whether the freeze ended early, because the store did not answer for too long.
    fn is_lost(&self) -> bool;
}

/// Durable records. A completed change survives a crash. A read sees every change that completed before the read
/// began.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The store's name in messages: its address without credentials.
    fn name(&self) -> &str;

    /// The id of the installation that owns the records; records `proposed` if there is none yet.
    async fn installation(&self, proposed: &str) -> Result<String, StoreError>;

    /// The id of the installation that owns the records, if a broker has ever used the store.
    async fn recorded_installation(&self) -> Result<Option<String>, StoreError>;

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError>;

    /// The rows of all instances, ordered by id, without bindings.
    async fn instances(&self) -> Result<Vec<Row>, StoreError>;

    /// The rows of an instance's bindings, ordered by id.
    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError>;

    /// The keys of rows with an unfinished operation ([`State::is_unfinished`]).
    async fn unfinished(&self) -> Result<Vec<Key>, StoreError>;

    /// The keys of rows that were sealed with another key than `key_id`.
    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError>;

    /// The tombstone of something that was deleted, if one is kept.
    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError>;

    /// Removes tombstones older than `age`.
    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError>;

    /// How long a lease lasts without [`Store::renew`]; `None` if leases do not expire.
    fn lease_duration(&self) -> Option<Duration>;

    /// Acquires the lease on an instance, whether or not the instance has a record. `None` if the lease is taken or
    /// the store is frozen.
    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError>;

    /// The current lease on the instance, of any broker. A queued request is recorded under this lease.
    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError>;

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Tells the operation that has the lease that a delete is waiting ([`Renewal::Renewed`]).
    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// Releases a lease; does nothing if the lease was lost.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Makes all changes or none, on the condition that the lease is valid ([`StoreError::LeaseLost`] otherwise). The
    /// changes may only concern the lease's instance.
    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError>;

    /// Waits until no lease is left, and grants none: no new record can appear while the freeze lasts.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError>;
}

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store reports an error or cannot be reached.
    #[error("the broker's store {store}: {problem}")]
    Failed {
        /// The store's name.
        store: String,
        /// The store's message and the remedy.
        problem: String,
    },
    /// The lease expired, and another broker may have resumed the operation.
    #[error(
        "the broker's store {store}: the lease on service instance {instance} expired before the store answered; repeat the request"
    )]
    LeaseLost {
        /// The store's name.
        store: String,
        /// The instance.
        instance: InstanceId,
    },
    /// Another broker uses the store.
    #[error(
        "the broker's store {store} is in use by another broker; run one broker on a store, and start the next one when it has ended"
    )]
    InUse {
        /// The store's name.
        store: String,
    },
    /// The schema is from an unknown version of bindery.
    #[error("the broker's store {store} has schema version {found} and this bindery knows {known}; {remedy}")]
    OtherVersion {
        /// The store's name.
        store: String,
        /// The store's schema version.
        found: i64,
        /// The newest version that this bindery knows.
        known: i64,
        /// The remedy.
        remedy: &'static str,
    },
}
