//! The broker's records: instances, bindings and the state of their operations. [`Store`] is what the engine needs of a store:
//! rows whose content is sealed, and leases. [`sqlite`] is the embedded store, [`postgres`] and [`dynamodb`] are for several
//! brokers. [`records`] turns rows into what the engine knows, and `cipher` seals them.

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

/// The state of an instance or a binding. It is written before the first call to the backend and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Creation has begun; the backend may have nothing, a part, or all of it.
    Creating,
    /// The backend has all of it.
    Ready,
    /// An update has begun or is being reverted; the backend may have either state, or something between.
    Updating,
    /// Creation has failed; the backend may have nothing, a part, or all of it.
    Failed,
    /// Deletion has begun; the backend may have all, a part, or nothing of it.
    Deleting,
}

impl State {
    /// Every state.
    pub(crate) const ALL: [Self; 5] =
        [Self::Creating, Self::Ready, Self::Updating, Self::Failed, Self::Deleting];

    /// The word for it in stores.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Updating => "updating",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether an operation is unfinished, for recovery to resume.
    pub(crate) fn is_unfinished(self) -> bool {
        matches!(self, Self::Creating | Self::Updating | Self::Deleting)
    }
}

/// What a row is about: an instance, or a binding of it.
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

/// A record as it lies in a store: what it is about in clear, the rest sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) state: State,
    /// The backend of the instance, whatever its plan says later.
    pub(crate) server: BackendName,
    pub(crate) sealed: Sealed,
}

/// A change to the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Adds the row or replaces it.
    Put(Row),
    /// Removes the row; nothing happens when there is none.
    Remove(Key),
    /// Remembers the operations on something that was deleted. Replaces an earlier tombstone of the same key.
    Tombstone(Key, String),
}

/// The right to work on an instance and its bindings, until it is released or expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) instance: InstanceId,
    /// Tells this lease from every other one, also from earlier ones of the same instance.
    pub(crate) token: Uuid,
}

/// The answer to a renewal.
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

/// What a commit does with the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Release,
}

/// A freeze: while it lasts, no lease is granted. Dropping it ends the freeze, at once or after a short while.
pub(crate) trait Frozen: Send {
    /// Whether the freeze ended by itself, because the store did not answer for too long.
    fn is_lost(&self) -> bool;
}

/// Durable records. A change that has returned survives a crash. Reads see every change that returned before they began.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// What the store is called in messages: its address without credentials.
    fn name(&self) -> &str;

    /// The id of the installation whose records these are: `proposed`, if there is none yet.
    async fn installation(&self, proposed: &str) -> Result<String, StoreError>;

    /// The id of the installation whose records these are, if a broker has ever used the store.
    async fn recorded_installation(&self) -> Result<Option<String>, StoreError>;

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError>;

    /// The rows of all instances, in the order of their ids, without bindings.
    async fn instances(&self) -> Result<Vec<Row>, StoreError>;

    /// The rows of an instance's bindings, in the order of their ids.
    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError>;

    /// The rows with an unfinished operation ([`State::is_unfinished`]).
    async fn unfinished(&self) -> Result<Vec<Key>, StoreError>;

    /// The rows that were sealed with another key than this.
    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError>;

    /// The tombstone of what was deleted, if one is kept.
    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError>;

    /// Removes tombstones that are older than this.
    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError>;

    /// How long a lease lasts without [`Store::renew`]; nothing if leases do not expire.
    fn lease_duration(&self) -> Option<Duration>;

    /// Acquires the lease on an instance, which need not be recorded, unless it is taken or the store is frozen.
    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError>;

    /// The current lease on the instance, of any broker. A queued request is recorded under it.
    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError>;

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError>;

    /// Tells the operation that has the lease that a delete waits ([`Renewal::Renewed`]).
    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// Releases a lease; nothing happens when it was lost.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Makes all changes or none, provided that the lease is valid ([`StoreError::LeaseLost`] otherwise). They
    /// concern its instance only.
    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError>;

    /// Waits until no lease is left and grants none: what has no row now gets none.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError>;
}

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store refuses, or cannot be reached.
    #[error("the broker's store {store}: {problem}")]
    Failed {
        /// Which store.
        store: String,
        /// Its message and what to do.
        problem: String,
    },
    /// The lease expired, and another broker may have resumed the operation.
    #[error(
        "the broker's store {store}: the lease on service instance {instance} expired before the store answered; repeat the request"
    )]
    LeaseLost {
        /// Which store.
        store: String,
        /// The instance.
        instance: InstanceId,
    },
    /// Another broker uses it.
    #[error(
        "the broker's store {store} is in use by another broker; run one broker on a store, and start the next one when it has ended"
    )]
    InUse {
        /// Which store.
        store: String,
    },
    /// Another bindery wrote it.
    #[error("the broker's store {store} has schema version {found} and this bindery knows {known}; {remedy}")]
    OtherVersion {
        /// Which store.
        store: String,
        /// Its version.
        found: i64,
        /// The newest known here.
        known: i64,
        /// What to do.
        remedy: &'static str,
    },
}
