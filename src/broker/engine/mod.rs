//! Durable operations. Each records what it is about to do, acts on a backend under names derived from the ids, and
//! records the outcome, so that a request repeated after any interruption ends in the same state. An operation that was
//! begun runs to its end even when the client hangs up. HTTP is not known here.

mod audit;
mod bindings;
mod instances;
mod locks;
mod recovery;
mod refusal;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::task::TaskTracker;

use self::{audit::Audit, locks::Locks};
pub(crate) use self::{audit::Caller, instances::Update, refusal::Refusal};
use super::{
    services::Provider,
    store::{Store, cipher::Cipher},
};
use crate::{
    config::{Offering, ServerName},
    osb::{Catalog, Object, Plan, PlanId, Service, ServiceId},
};

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Shared>);

struct Shared {
    offerings: Vec<Offering>,
    providers: BTreeMap<ServerName, Arc<dyn Provider>>,
    store: Arc<dyn Store>,
    cipher: Cipher,
    locks: Locks,
    operations: TaskTracker,
}

impl Engine {
    pub(crate) fn new(
        offerings: Vec<Offering>,
        providers: BTreeMap<ServerName, Arc<dyn Provider>>,
        store: Arc<dyn Store>,
        cipher: Cipher,
    ) -> Self {
        let (locks, operations) = (Locks::default(), TaskTracker::new());
        Self(Arc::new(Shared { offerings, providers, store, cipher, locks, operations }))
    }

    /// What is offered.
    pub(crate) fn catalog(&self) -> Catalog {
        Catalog { services: self.0.offerings.iter().map(|offering| offering.service.clone()).collect() }
    }

    /// Runs something of the engine's own, which [`Engine::drain`] waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.operations.spawn(work);
    }

    /// Waits for the operations that were begun.
    pub(crate) async fn drain(&self) {
        self.0.operations.close();
        self.0.operations.wait().await;
    }

    /// Runs an operation that somebody asked for, and writes down who and what came of it.
    async fn audited<T, F>(
        &self,
        audit: Audit,
        operation: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        self.detached(|engine| {
            let operation = operation(engine);
            async move {
                let outcome = operation.await;
                audit.log(outcome.as_ref().err());
                outcome
            }
        })
        .await
    }

    /// Runs an operation apart from the request that asks for it, so that dropping the request does not cut it off.
    async fn detached<T, F>(&self, operation: impl FnOnce(Arc<Shared>) -> F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let running = self.0.operations.spawn(operation(self.0.clone()));
        running.await.unwrap_or_else(|_| Err(Refusal::Interrupted))
    }
}

/// A plan of the catalog with its service and the server behind it.
struct Offered<'a> {
    service: &'a Service,
    plan: &'a Plan,
    server: &'a ServerName,
}

impl Shared {
    fn offering(&self, service_id: &ServiceId) -> Result<&Offering, Refusal> {
        required("service_id", service_id.as_str())?;
        self.offerings.iter().find(|offering| offering.service.id == *service_id).ok_or_else(|| {
            Refusal::Invalid(format!(
                "service_id {service_id:?} is not in the catalog",
                service_id = service_id.as_str()
            ))
        })
    }

    fn offered(&self, service_id: &ServiceId, plan_id: &PlanId) -> Result<Offered<'_>, Refusal> {
        required("service_id", service_id.as_str())?;
        required("plan_id", plan_id.as_str())?;
        let offering = self.offering(service_id)?;
        let plan = offering.service.plan(plan_id).zip(offering.servers.get(plan_id));
        let (plan, server) = plan.ok_or_else(|| {
            let (plan, service) = (plan_id.as_str(), &offering.service.name);
            Refusal::Invalid(format!("plan_id {plan:?} is no plan of service {service}"))
        })?;
        Ok(Offered { service: &offering.service, plan, server })
    }

    fn provider(&self, server: &ServerName) -> Result<&Arc<dyn Provider>, Refusal> {
        self.providers.get(server).ok_or_else(|| Refusal::UnknownServer(server.clone()))
    }
}

fn required(field: &str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() { Err(Refusal::Invalid(format!("{field} is missing or empty"))) } else { Ok(()) }
}

/// Parameters left out and empty parameters are the same request.
fn parameters(given: Option<Object>) -> Object {
    given.unwrap_or_default()
}
