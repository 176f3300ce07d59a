//! The records of instances and bindings, and their conversion to the sealed rows of a [`Store`]. This module makes no
//! decisions.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Change, Key, Lease, Row, State, Store, StoreError, Then,
    cipher::{Cipher, CipherError},
};
use crate::{
    broker::{
        backends::{BindingSpec, Bound, InstanceSpec},
        config::BackendName,
    },
    osb::{BindingId, InstanceId, PlanId, ServiceId},
};

pub(crate) use crate::broker::backends::Verb;

/// An instance and its operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// The instance as it is, or as it is being created.
    pub(crate) spec: InstanceSpec,
    /// The backend that the instance is on, even if its plan now names another.
    pub(crate) server: BackendName,
    pub(crate) state: State,
    /// Present while the state is [`State::Updating`].
    pub(crate) change: Option<Transition>,
    /// The latest operation.
    pub(crate) operation: Operation,
    /// The operation before the latest, which a platform may still poll.
    pub(crate) former: Option<Operation>,
    /// Whether the instance was never [`State::Ready`]: a resource with its name but without a mark is then not its
    /// own.
    #[serde(default)]
    pub(crate) was_never_ready: bool,
    /// Earlier operations, the latest last.
    #[serde(default)]
    pub(crate) past: Vec<PastOperation>,
}

/// An update in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transition {
    pub(crate) to: InstanceSpec,
    /// Why the update failed, while it is being reverted.
    pub(crate) reverting: Option<String>,
}

/// A binding and its operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) instance: InstanceId,
    pub(crate) spec: BindingSpec,
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: PlanId,
    /// The binding that this one replaces.
    pub(crate) predecessor: Option<BindingId>,
    /// Whether the record was lost, and restored without the parameters: the next request for the binding brings them.
    #[serde(default)]
    pub(crate) are_parameters_lost: bool,
    pub(crate) server: BackendName,
    pub(crate) state: State,
    /// Present since the binding became [`State::Ready`].
    pub(crate) bound: Option<Bound>,
    pub(crate) operation: Operation,
    pub(crate) former: Option<Operation>,
    #[serde(default)]
    pub(crate) past: Vec<PastOperation>,
    /// Whether the binding is queued behind another operation's lease; the backend has nothing of it yet.
    #[serde(default)]
    pub(crate) is_queued: bool,
}

/// An operation started by a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// The id by which platforms poll the operation.
    pub(crate) id: String,
    pub(crate) verb: Verb,
    /// Whether the platform polls; if so, it does not repeat the request after an interruption.
    pub(crate) is_asynchronous: bool,
    pub(crate) outcome: Outcome,
    pub(crate) begun_at: Timestamp,
    /// The caller that sent the request.
    pub(crate) caller: Option<String>,
}

/// An operation before the last two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PastOperation {
    pub(crate) id: String,
    pub(crate) succeeded: bool,
}

impl From<Operation> for PastOperation {
    fn from(operation: Operation) -> Self {
        Self { succeeded: operation.outcome == Outcome::Succeeded, id: operation.id }
    }
}

/// How many operations to keep besides the last two.
const PAST: usize = 8;

fn begin_after(
    last: &mut Operation,
    former: &mut Option<Operation>,
    past: &mut Vec<PastOperation>,
    new: Operation,
) {
    let ended = std::mem::replace(last, new);
    past.extend(former.replace(ended).map(PastOperation::from));
    past.drain(..past.len().saturating_sub(PAST));
}

/// The state of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Holds the backend's description of its progress.
    InProgress(Option<String>),
    Succeeded,
    /// Holds the reason, for the user.
    Failed(String),
}

impl Operation {
    pub(crate) fn begin(verb: Verb, caller: Option<String>) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            verb,
            is_asynchronous: false,
            outcome: Outcome::InProgress(None),
            begun_at: Timestamp::now(),
            caller,
        }
    }

    pub(crate) fn is_in_progress(&self) -> bool {
        matches!(self.outcome, Outcome::InProgress(_))
    }
}

/// The record of an instance or a binding.
pub(crate) trait Record: Clone + Serialize + Send + Sync + 'static {
    fn key(&self) -> Key;

    fn server(&self) -> &BackendName;

    fn state(&self) -> State;

    fn set_state(&mut self, state: State);

    /// The latest operation.
    fn operation(&self) -> &Operation;

    fn operation_mut(&mut self) -> &mut Operation;

    /// Makes `operation` the latest; keeps the earlier ones.
    fn begin(&mut self, operation: Operation);

    /// The operation before the latest, and the earlier ones.
    fn history(&self) -> (Option<&Operation>, &[PastOperation]);
}

impl Record for Instance {
    fn key(&self) -> Key {
        Key::instance(&self.spec.id)
    }

    fn server(&self) -> &BackendName {
        &self.server
    }

    fn state(&self) -> State {
        self.state
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        self.was_never_ready &= state != State::Ready;
    }

    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn operation_mut(&mut self) -> &mut Operation {
        &mut self.operation
    }

    fn begin(&mut self, operation: Operation) {
        begin_after(&mut self.operation, &mut self.former, &mut self.past, operation);
    }

    fn history(&self) -> (Option<&Operation>, &[PastOperation]) {
        (self.former.as_ref(), &self.past)
    }
}

impl Record for Binding {
    fn key(&self) -> Key {
        Key::binding(&self.instance, &self.spec.id)
    }

    fn server(&self) -> &BackendName {
        &self.server
    }

    fn state(&self) -> State {
        self.state
    }

    /// A binding whose operation has started is no longer queued.
    fn set_state(&mut self, state: State) {
        (self.state, self.is_queued) = (state, false);
    }

    fn operation(&self) -> &Operation {
        &self.operation
    }

    fn operation_mut(&mut self) -> &mut Operation {
        &mut self.operation
    }

    fn begin(&mut self, operation: Operation) {
        begin_after(&mut self.operation, &mut self.former, &mut self.past, operation);
    }

    fn history(&self) -> (Option<&Operation>, &[PastOperation]) {
        (self.former.as_ref(), &self.past)
    }
}

/// A store with the keys for its records.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) store: Arc<dyn Store>,
    cipher: Arc<Cipher>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>, cipher: Cipher) -> Self {
        Self { store, cipher: Arc::new(cipher) }
    }

    pub(crate) async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, RecordError> {
        let row = self.store.row(&Key::instance(id)).await?;
        Ok(row.map(|row| self.cipher.open(&row.key, &row.sealed)).transpose()?)
    }

    pub(crate) async fn binding(
        &self,
        instance: &InstanceId,
        id: &BindingId,
    ) -> Result<Option<Binding>, RecordError> {
        let row = self.store.row(&Key::binding(instance, id)).await?;
        Ok(row.map(|row| self.cipher.open(&row.key, &row.sealed)).transpose()?)
    }

    /// The bindings of an instance; `None` for each record that cannot be decrypted.
    pub(crate) async fn bindings_that_open(
        &self,
        instance: &InstanceId,
    ) -> Result<Vec<(Key, Option<Binding>)>, StoreError> {
        let rows = self.store.bindings(instance).await?;
        let opened = |row: Row| {
            let record = self.cipher.open(&row.key, &row.sealed).ok();
            (row.key, record)
        };
        Ok(rows.into_iter().map(opened).collect())
    }

    /// The change that writes a record.
    pub(crate) fn put(&self, record: &impl Record) -> Change {
        let key = record.key();
        let sealed = self.cipher.seal(&key, record);
        Change::Put(Row { key, state: record.state(), server: record.server().clone(), sealed })
    }

    /// Whether rows may be sealed with former keys.
    pub(crate) fn has_former_keys(&self) -> bool {
        self.cipher.has_former_keys()
    }

    /// The keys of rows that are sealed with a former key.
    pub(crate) async fn sealed_with_former_keys(&self) -> Result<Vec<Key>, StoreError> {
        self.store.sealed_otherwise(self.cipher.key_id()).await
    }

    /// Re-encrypts a row with the current key, if the row still exists. The caller has its lease.
    pub(crate) async fn seal_again(&self, lease: &Lease, key: &Key) -> Result<(), RecordError> {
        let Some(row) = self.store.row(key).await? else { return Ok(()) };
        let record: serde_json::Value = self.cipher.open(key, &row.sealed)?;
        let sealed = self.cipher.seal(key, &record);
        Ok(self.store.commit(lease, vec![Change::Put(Row { sealed, ..row })], Then::Keep).await?)
    }
}
