//! The broker's records: what it was asked to hold and how far it got. [`Store`] is what the engine needs of a store, rows
//! whose content is sealed; [`sqlite`] is the embedded one, [`postgres`] and [`dynamodb`] are for
//! several brokers. [`records`] turns rows into
//! what the engine knows, and `cipher` seals them.

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

/// How far an instance or a binding is. It is written before the backend is touched, and again when the backend is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Creation was begun; the backend may hold nothing, a part, or all of it.
    Creating,
    /// All of it is there.
    Ready,
    /// An update was begun, or is being taken back; the backend may hold either, or something between.
    Updating,
    /// Creation ended without success; the backend may hold nothing, a part, or all of it.
    Failed,
    /// Deletion was begun; the backend may hold all, a part, or nothing of it.
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

    /// Whether somebody has to go on with it.
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
    /// Where the instance lives, whatever its plan says later.
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
    /// Remembers that an asynchronous delete is done, and what it was called. Replaces an earlier one of the same key.
    Tombstone(Key, String),
}

/// The right to work on an instance and its bindings, as long as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) instance: InstanceId,
    /// Tells this hold from every other, former ones of the same instance included.
    pub(crate) token: Uuid,
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It is still held, for another [`Store::lease`].
    Held {
        /// Whether somebody wants it, to delete what is being created.
        interrupted: bool,
    },
    /// Somebody else may have it.
    Lost,
}

/// What becomes of a hold with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Release,
}

/// While it is there, no hold is given on any instance. Dropping it ends that, at once or after a short while.
pub(crate) trait Frozen: Send {
    /// Whether it ended by itself, for the store did not answer for too long.
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

    /// The rows that somebody has to go on with ([`State::is_unfinished`]).
    async fn unfinished(&self) -> Result<Vec<Key>, StoreError>;

    /// The rows that were sealed with another key than this.
    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError>;

    /// What the asynchronous delete was called that ended so.
    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError>;

    /// Forgets the deletes that ended longer ago than this.
    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError>;

    /// How long a hold lasts without [`Store::renew`], if it can be lost.
    fn lease(&self) -> Option<Duration>;

    /// Takes the instance, which need not be recorded, unless somebody holds it or the store is frozen.
    async fn hold(&self, instance: &InstanceId) -> Result<Option<Hold>, StoreError>;

    /// The hold that is out on the instance, whosever it is: with it something can be recorded beside the holder's work.
    async fn holder(&self, instance: &InstanceId) -> Result<Option<Hold>, StoreError>;

    async fn renew(&self, hold: &Hold) -> Result<Renewal, StoreError>;

    /// Tells whoever holds the instance that it is wanted ([`Renewal::Held`]).
    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// Gives a hold back; nothing happens when it was lost.
    async fn release(&self, hold: &Hold) -> Result<(), StoreError>;

    /// Makes all changes or none, provided that the hold is still held ([`StoreError::HoldLost`] otherwise). They
    /// concern its instance only.
    async fn commit(&self, hold: &Hold, changes: Vec<Change>, then: Then) -> Result<(), StoreError>;

    /// Waits until nobody holds anything and keeps it so: what has no row now gets none.
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
    /// The hold ran out, and another broker may have gone on.
    #[error(
        "the broker's store {store}: service instance {instance} was held for too long without an answer of the store; repeat the request"
    )]
    HoldLost {
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
