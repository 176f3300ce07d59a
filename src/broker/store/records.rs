//! What the engine knows of an instance and of a binding, and its way into the sealed rows of a [`Store`]. Nothing here
//! decides anything.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Change, Hold, Key, Row, State, Store, StoreError, Then,
    cipher::{Cipher, CipherError},
};
use crate::{
    broker::{
        backends::{BindingSpec, Bound, InstanceSpec},
        config::BackendName,
    },
    osb::{BindingId, InstanceId, PlanId, ServiceId},
};

/// An instance, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// As it is, or while it is created as it is to be.
    pub(crate) spec: InstanceSpec,
    /// Where it lives, whatever its plan says later.
    pub(crate) server: BackendName,
    pub(crate) state: State,
    /// There while it is [`State::Updating`].
    pub(crate) change: Option<Transition>,
    /// The last operation on it.
    pub(crate) operation: Operation,
    /// The one before, which somebody may still ask for.
    pub(crate) former: Option<Operation>,
    /// Whether it never was [`State::Ready`]: what stands under its name without a mark is not its own then.
    #[serde(default)]
    pub(crate) was_never_ready: bool,
    /// Those before that, the latest last.
    #[serde(default)]
    pub(crate) past: Vec<PastOperation>,
}

/// What an instance is becoming.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transition {
    pub(crate) to: InstanceSpec,
    /// Whether it failed and is being taken back, and why.
    pub(crate) reverting: Option<String>,
}

/// A binding, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) instance: InstanceId,
    pub(crate) spec: BindingSpec,
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: PlanId,
    /// The binding in whose place this one was made.
    pub(crate) predecessor: Option<BindingId>,
    pub(crate) server: BackendName,
    pub(crate) state: State,
    /// There when it is [`State::Ready`], and afterwards.
    pub(crate) bound: Option<Bound>,
    pub(crate) operation: Operation,
    pub(crate) former: Option<Operation>,
    #[serde(default)]
    pub(crate) past: Vec<PastOperation>,
    /// It waits for the operation that has the instance, and nothing of it was made yet.
    #[serde(default)]
    pub(crate) is_queued: bool,
}

/// What somebody asked to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// What a platform polls it by.
    pub(crate) id: String,
    pub(crate) verb: Verb,
    /// Whether the platform was told to poll, so that nobody repeats the request if it is cut off.
    pub(crate) is_asynchronous: bool,
    pub(crate) outcome: Outcome,
    pub(crate) begun_at: Timestamp,
    /// Who asked for it.
    pub(crate) caller: Option<String>,
}

/// An operation that others came after.
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

/// So many operations are remembered beside the last two.
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

/// What is done in an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    Provision,
    Update,
    Deprovision,
    Bind,
    Unbind,
}

impl Verb {
    /// The word for it in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }
}

/// How an operation ended, if it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// With what the backend says it is at.
    InProgress(Option<String>),
    Succeeded,
    /// With the reason, for the user.
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

impl Instance {
    pub(crate) fn key(&self) -> Key {
        Key::instance(&self.spec.id)
    }

    /// Goes over to another operation; those before are remembered.
    pub(crate) fn begin(&mut self, operation: Operation) {
        begin_after(&mut self.operation, &mut self.former, &mut self.past, operation);
    }
}

impl Binding {
    pub(crate) fn key(&self) -> Key {
        Key::binding(&self.instance, &self.spec.id)
    }

    /// Goes over to another operation; those before are remembered.
    pub(crate) fn begin(&mut self, operation: Operation) {
        begin_after(&mut self.operation, &mut self.former, &mut self.past, operation);
    }
}

/// A store with the key to its records.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) store: Arc<dyn Store>,
    cipher: Arc<Cipher>,
}

/// Why a record cannot be had.
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

    /// The bindings of an instance; `None` for one whose record does not open.
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

    /// The change that writes an instance down.
    pub(crate) fn put_instance(&self, instance: &Instance) -> Change {
        let key = instance.key();
        let sealed = self.cipher.seal(&key, instance);
        Change::Put(Row { key, state: instance.state, server: instance.server.clone(), sealed })
    }

    /// The change that writes a binding down.
    pub(crate) fn put_binding(&self, binding: &Binding) -> Change {
        let key = binding.key();
        let sealed = self.cipher.seal(&key, binding);
        Change::Put(Row { key, state: binding.state, server: binding.server.clone(), sealed })
    }

    /// Whether rows may be sealed with another key than the present one.
    pub(crate) fn has_former_keys(&self) -> bool {
        self.cipher.has_former_keys()
    }

    /// The rows that a former key sealed.
    pub(crate) async fn sealed_with_former_keys(&self) -> Result<Vec<Key>, StoreError> {
        self.store.sealed_otherwise(self.cipher.key_id()).await
    }

    /// Seals a row with the present key, if it is still there. The caller holds its instance.
    pub(crate) async fn seal_again(&self, hold: &Hold, key: &Key) -> Result<(), RecordError> {
        let Some(row) = self.store.row(key).await? else { return Ok(()) };
        let record: serde_json::Value = self.cipher.open(key, &row.sealed)?;
        let sealed = self.cipher.seal(key, &record);
        Ok(self.store.commit(hold, vec![Change::Put(Row { sealed, ..row })], Then::Keep).await?)
    }
}
