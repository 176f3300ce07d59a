//! Durable operations. Each operation records its intent, acts on a backend under names derived from ids, and records
//! the outcome, so that repeating a request after any interruption is idempotent. An operation completes even when the
//! client disconnects, and one that a platform polls is resumed after a restart. This module is independent of HTTP.

mod audit;
mod bind;
mod confirm;
mod deprovision;
mod driver;
mod execution;
mod expiry;
mod fetch;
mod leases;
mod limits;
mod offering_check;
mod operation;
mod parameters;
mod provision;
mod queue;
mod recovery;
mod refusal;
#[cfg(test)]
mod tests;
mod timing;
mod tombstone;
mod unbind;
mod update;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::SemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::timing::Timing;
use self::{audit::Audit, leases::Leases, limits::Limits};
pub(crate) use self::{
    audit::Caller, bind::BindWanted, fetch::FetchedBinding, offering_check::Offer, refusal::Refusal,
};
use super::{
    backends::{self, Bound, Described, Provider, Providers},
    store::records::Records,
};
use crate::{
    broker::config::BackendName,
    osb::{BindingId, Catalog, InstanceId},
};

/// The engine. Clones share all state.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Shared>);

struct Shared {
    offer: Offer,
    providers: Providers,
    records: Records,
    leases: Leases,
    timing: Timing,
    /// Separate for each backend, so that one that hangs does not block the others.
    limits: BTreeMap<BackendName, Limits>,
    operations: TaskTracker,
    /// Cancelled when the engine stops; the next broker resumes the operations that can be resumed.
    stop: CancellationToken,
}

/// The caller of a request, and whether the platform can poll (`accepts_incomplete`).
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestContext {
    pub(crate) caller: Caller,
    pub(crate) accepts_incomplete: bool,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Status {
    /// The operation completed.
    Done,
    /// Nothing was left to do.
    Already,
    /// The operation is in progress; the platform polls by this id.
    Accepted(String),
}

/// The answer to a request for an instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Provisioned {
    pub(crate) status: Status,
    pub(crate) described: Described,
}

/// The answer to a request for a binding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BindResult {
    pub(crate) status: Status,
    /// Present unless the operation is in progress.
    pub(crate) bound: Option<Bound>,
}

impl Engine {
    pub(crate) fn new(
        offer: Offer,
        providers: Providers,
        configured: &backends::Limits,
        records: Records,
        timing: Timing,
    ) -> Self {
        let operations = TaskTracker::new();
        let leases = Leases::new(records.store.clone(), operations.clone());
        let limits = providers.iter().map(|(name, provider)| {
            let configured = configured.get(name).copied().unwrap_or_default();
            (name.clone(), Limits::new(configured.or(provider.limits())))
        });
        let (limits, stop) = (limits.collect(), CancellationToken::new());
        Self(Arc::new(Shared { offer, providers, records, leases, timing, limits, operations, stop }))
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.0.offer.catalog()
    }

    /// Runs a background task that [`Engine::drain`] waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.operations.spawn(work);
    }

    /// Stops the engine and waits for operations that callers wait for; the others are resumed after a restart.
    pub(crate) async fn drain(&self) {
        self.stop();
        self.0.operations.close();
        self.0.operations.wait().await;
    }

    /// A token that is cancelled when the engine stops.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Stops the engine's background tasks.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Runs a request's operation and logs the caller and the outcome. The operation runs in its own task, so that
    /// dropping the request does not interrupt it.
    async fn audited<T, F>(
        &self,
        audit: Audit,
        operation: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, Refusal>
    where
        T: audit::AuditOutcome + Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let operation = operation(self.0.clone());
        let running = self.0.operations.spawn(async move {
            let outcome = operation.await;
            audit.log(&outcome);
            outcome
        });
        running.await.unwrap_or_else(|_| Err(Refusal::Interrupted))
    }
}

impl Shared {
    fn provider(&self, server: &BackendName) -> Result<&Arc<dyn Provider>, Refusal> {
        self.providers.get(server).ok_or_else(|| Refusal::UnknownBackend(server.clone()))
    }

    /// Waits until a call outside of an operation may start on this backend.
    async fn permit_outside_operations(&self, server: &BackendName) -> Option<SemaphorePermit<'_>> {
        self.limits.get(server)?.call_outside_operations().await
    }
}

fn no_instance(id: &InstanceId) -> String {
    format!("there is no service instance {id}")
}

fn no_binding(instance: &InstanceId, id: &BindingId) -> String {
    format!("there is no service binding {id} of {instance}")
}
