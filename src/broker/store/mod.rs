//! The broker's records: what it was asked to hold and how far it got. [`Store`] is what the engine needs of a store;
//! [`sqlite`] is the embedded one. Credentials come here sealed; `cipher` does that. `lock` keeps a second broker out.

pub(crate) mod cipher;
pub(crate) mod lock;
pub(crate) mod sqlite;

use async_trait::async_trait;

use self::cipher::Sealed;
use crate::{
    config::ServerName,
    osb::{BindingId, InstanceId, Object, PlanId, ServiceId},
};

/// How far an instance or a binding is. It is written before the backend is touched, and again when the backend is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Creation was begun; the backend may hold nothing, a part, or all of it.
    Creating,
    /// All of it is there.
    Ready,
    /// Deletion was begun; the backend may hold all, a part, or nothing of it.
    Deleting,
}

/// An instance as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: PlanId,
    pub(crate) organization_guid: String,
    pub(crate) space_guid: String,
    pub(crate) parameters: Object,
    /// Where it lives, whatever its plan says later.
    pub(crate) server: ServerName,
    pub(crate) state: State,
}

/// A binding as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binding {
    pub(crate) instance: InstanceId,
    pub(crate) id: BindingId,
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: PlanId,
    pub(crate) parameters: Object,
    pub(crate) state: State,
    /// There when it is ready.
    pub(crate) credentials: Option<Sealed>,
}

/// A delete that was begun: of a binding, or of a whole instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BegunDelete {
    pub(crate) instance: InstanceId,
    pub(crate) binding: Option<BindingId>,
}

/// Durable records. A write that has returned survives a crash.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The id of the installation whose records these are: `proposed`, if there is none yet.
    async fn installation(&self, proposed: &str) -> Result<String, StoreError>;

    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, StoreError>;

    async fn instances(&self) -> Result<Vec<Instance>, StoreError>;

    /// Adds the record or replaces it.
    async fn put_instance(&self, instance: &Instance) -> Result<(), StoreError>;

    /// Removes the record of an instance that is being deleted; refused while bindings of it are recorded.
    async fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError>;

    async fn binding(&self, instance: &InstanceId, id: &BindingId) -> Result<Option<Binding>, StoreError>;

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Binding>, StoreError>;

    /// Adds the record or replaces it; the instance must be recorded.
    async fn put_binding(&self, binding: &Binding) -> Result<(), StoreError>;

    /// Removes the record of a binding that is being deleted.
    async fn remove_binding(&self, instance: &InstanceId, id: &BindingId) -> Result<(), StoreError>;

    /// The deletes that were begun and not recorded as done.
    async fn begun_deletes(&self) -> Result<Vec<BegunDelete>, StoreError>;
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
    /// Another broker uses it.
    #[error(
        "the broker's store {store} is in use by another broker; run one broker on a store, and start the next one when it has ended"
    )]
    InUse {
        /// Which store.
        store: String,
    },
    /// A newer bindery wrote it.
    #[error(
        "the broker's store {store} has schema version {found} and this bindery knows up to {known}; use the newer bindery"
    )]
    TooNew {
        /// Which store.
        store: String,
        /// Its version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
}
