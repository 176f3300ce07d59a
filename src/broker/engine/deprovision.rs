//! Deprovisioning instances.

use async_trait::async_trait;

use super::{
    super::store::{
        Change, Key, State,
        records::{Binding, Instance, Record, Verb},
    },
    Engine, Refusal, RequestContext, Status,
    audit::Audit,
    driver::{Ended, Run},
    no_instance,
    offering_check::{required, same_ids},
    operation::{Busy, Next, Request, Scope, Work},
    tombstone,
    unbind::revoke,
};
use crate::osb::{InstanceId, PlanId, ServiceId};

impl Engine {
    /// Deprovisions an instance and revokes its bindings.
    pub(crate) async fn deprovision(
        &self,
        context: RequestContext,
        id: InstanceId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<Status, Refusal> {
        let audit = Audit::of("deprovision", &context, &id, None);
        self.perform(context, audit, move |scope| {
            required("service_id", service_id.as_str())?;
            required("plan_id", plan_id.as_str())?;
            scope.require_polling(Verb::Deprovision, &service_id, &plan_id)?;
            Ok(Unwanted { id, service_id, plan_id })
        })
        .await
    }
}

/// A request to deprovision an instance.
struct Unwanted {
    id: InstanceId,
    service_id: ServiceId,
    plan_id: PlanId,
}

impl Unwanted {
    /// The request must name the instance's plan; during an update, either the old plan or the new one.
    fn check(&self, found: &Instance) -> Result<(), Refusal> {
        let named = (&self.service_id, &self.plan_id);
        let after = found.change.as_ref().map(|change| (&change.to.service_id, &change.to.plan_id));
        if after == Some(named) {
            return Ok(());
        }
        let what = format!("service instance {}", found.spec.id);
        same_ids(&what, (&found.spec.service_id, &found.spec.plan_id), named)
    }
}

#[async_trait]
impl Request for Unwanted {
    type Work = Deprovision;
    type Answer = Status;

    fn instance(&self) -> &InstanceId {
        &self.id
    }

    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal> {
        let Some(found) = scope.engine.records.instance(&self.id).await? else { return Ok(Busy::Wait) };
        self.check(&found)?;
        if found.state == State::Creating {
            return Ok(Busy::Halt(Key::instance(&self.id)));
        }
        scope.busy_with(self, &found.operation)
    }

    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal> {
        let found = scope.engine.records.instance(&self.id).await?;
        let found = found.ok_or_else(|| Refusal::Gone(no_instance(&self.id)))?;
        self.check(&found)?;
        Ok(Next::begin(found.spec.clone(), scope.delete(found, Verb::Deprovision)))
    }

    fn answer(&self, status: Status, _done: Option<()>) -> Status {
        status
    }
}

pub(super) struct Deprovision;

#[async_trait]
impl Work for Deprovision {
    type Record = Instance;
    type Done = ();
    const VERB: Verb = Verb::Deprovision;

    /// Revokes the bindings first.
    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<(), Refusal> {
        let provider = run.engine.provider(run.server)?;
        let mut unreadable = Vec::new();
        for (key, binding) in run.engine.records.bindings_that_open(&run.on.id).await? {
            match binding {
                Some(binding) => revoke_with_instance(run, &binding, record).await?,
                // Removing the instance also removes its bindings; the row stays until then.
                None => {
                    tracing::warn!(%key, "the record cannot be opened; it goes with its instance");
                    unreadable.push(Change::Remove(key));
                }
            }
        }
        match run.drive(record, || provider.deprovision(run.on)).await {
            // The resource of that name is foreign, which is why the instance could not be created.
            Err(Ended::Failed(error)) if error.is_foreign() && record.was_never_ready => {
                tracing::warn!(instance = %run.on.id, "left alone: {error}");
            }
            ended => ended?,
        }
        if !unreadable.is_empty() {
            run.lease.commit(unreadable).await?;
        }
        Ok(())
    }

    fn refusal(_refusal: Refusal, message: String) -> Refusal {
        Refusal::Delete(message)
    }
}

/// Revokes a binding of an instance that is being deleted. Writes the progress to the instance's record.
async fn revoke_with_instance(run: &Run<'_>, binding: &Binding, on: &Instance) -> Result<(), Refusal> {
    tracing::warn!(instance = %run.on.id, binding = %binding.spec.id, "the instance is deleted with this binding on it");
    revoke(run, binding, on).await?;
    let removed = Change::Remove(binding.key());
    // The binding's own delete failed, and a platform may still poll it.
    let tombstone = (binding.state == State::Deleting).then(|| tombstone::of(binding)).flatten();
    Ok(run.lease.commit([removed].into_iter().chain(tombstone).collect()).await?)
}
