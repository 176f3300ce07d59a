//! Durable operations. Each records what it is about to do, acts on a backend under names derived from the ids, and
//! records the outcome, so that a request repeated after any interruption ends in the same state. An operation that was
//! begun runs to its end even when the client hangs up, and one that a platform polls goes on after a restart. HTTP is not
//! known here.

mod audit;
mod bind;
mod confirm;
mod deprovision;
mod driver;
mod expiry;
mod fetch;
mod leases;
mod offering_check;
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

use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::timing::Timing;
use self::{audit::Audit, leases::Holds};
pub(crate) use self::{
    audit::Caller, bind::BindWanted, fetch::FetchedBinding, offering_check::Offer, refusal::Refusal,
};
use super::{
    backends::{Bound, Described, Provider},
    store::records::Records,
};
use crate::{
    broker::config::BackendName,
    osb::{BindingId, Catalog, InstanceId},
};

/// Calls to one backend under way at the same time.
const CALLS_AT_ONCE: usize = 64;

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Shared>);

struct Shared {
    offer: Offer,
    providers: BTreeMap<BackendName, Arc<dyn Provider>>,
    records: Records,
    holds: Holds,
    timing: Timing,
    /// For each server, so that one that hangs does not hold up the rest.
    calls: BTreeMap<BackendName, Semaphore>,
    operations: TaskTracker,
    /// No new work is begun, and operations that go on after a restart are left to it.
    stop: CancellationToken,
}

/// Who asks, and whether the platform is ready to poll (`accepts_incomplete`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    pub(crate) caller: Caller,
    pub(crate) accepts_incomplete: bool,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Status {
    /// It was done.
    Done,
    /// There was nothing left to do.
    Already,
    /// It goes on; the platform polls for this operation.
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
    /// There unless it goes on.
    pub(crate) bound: Option<Bound>,
}

impl Engine {
    pub(crate) fn new(
        offer: Offer,
        providers: BTreeMap<BackendName, Arc<dyn Provider>>,
        records: Records,
        timing: Timing,
    ) -> Self {
        let operations = TaskTracker::new();
        let holds = Holds::new(records.store.clone(), operations.clone());
        let calls = |name: &BackendName| (name.clone(), Semaphore::new(CALLS_AT_ONCE));
        let (calls, stop) = (providers.keys().map(calls).collect(), CancellationToken::new());
        Self(Arc::new(Shared { offer, providers, records, holds, timing, calls, operations, stop }))
    }

    /// What is offered.
    pub(crate) fn catalog(&self) -> Catalog {
        self.0.offer.catalog()
    }

    /// Runs something of the engine's own, which [`Engine::drain`] waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.operations.spawn(work);
    }

    /// Waits for the operations that somebody waits for; those that go on after a restart are left where they are.
    pub(crate) async fn drain(&self) {
        self.stop();
        self.0.operations.close();
        self.0.operations.wait().await;
    }

    /// Is cancelled when the engine stops.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Ends what the engine does by itself.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Runs an operation that somebody asked for, and writes down who and what came of it. It runs apart from the request,
    /// so that dropping the request does not cut it off.
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
        self.providers.get(server).ok_or_else(|| Refusal::UnknownServer(server.clone()))
    }

    /// Waits for an operation that was begun, as long as the platform does. `None` when it is to poll.
    async fn outcome<T>(
        &self,
        asking: &Asking,
        is_lasting: bool,
        running: JoinHandle<Result<T, Refusal>>,
    ) -> Result<Option<T>, Refusal> {
        let ended = |joined: Result<Result<T, Refusal>, _>| joined.unwrap_or(Err(Refusal::Interrupted));
        if !asking.accepts_incomplete {
            return ended(running.await).map(Some);
        }
        if is_lasting {
            return Ok(None);
        }
        match tokio::time::timeout(self.timing.answer, running).await {
            Ok(joined) => match ended(joined) {
                // It is recorded as begun, and gone on with: an error would say that nothing comes of it.
                Err(Refusal::Interrupted | Refusal::Store(_)) => Ok(None),
                outcome => outcome.map(Some),
            },
            Err(_) => Ok(None),
        }
    }
}

fn no_instance(id: &InstanceId) -> String {
    format!("there is no service instance {id}")
}

fn no_binding(instance: &InstanceId, id: &BindingId) -> String {
    format!("there is no service binding {id} of {instance}")
}
