//! Removing instances.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        backends::ExecutionMode,
        store::{
            Change, Key, State,
            records::{Instance, Outcome, Verb},
        },
    },
    Asking, Engine, Refusal, Shared, Status,
    audit::{self, Audit},
    driver::{Ended, RetryPolicy},
    leases::Held,
    no_instance,
    offering_check::{required, same_ids},
    provision::{begin, polled},
    tombstone,
};
use crate::osb::{InstanceId, PlanId, ServiceId};

impl Engine {
    /// Removes an instance and its bindings.
    pub(crate) async fn deprovision(
        &self,
        asking: Asking,
        id: InstanceId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<Status, Refusal> {
        let audit =
            Audit { verb: "deprovision", caller: asking.caller.clone(), instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.deprovision(asking, id, service_id, plan_id).await)
            .await
    }
}

impl Shared {
    async fn deprovision(
        self: Arc<Self>,
        asking: Asking,
        id: InstanceId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<Status, Refusal> {
        required("service_id", service_id.as_str())?;
        required("plan_id", plan_id.as_str())?;
        let is_lasting = self.is_lasting(&service_id, &plan_id);
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        let held = match self.holds.take(&id, Duration::ZERO).await? {
            Some(held) => held,
            None => match self.busy_deprovisioning(&id, (&service_id, &plan_id), &asking).await? {
                Busy::Polled(operation) => return Ok(Status::Accepted(operation)),
                Busy::Creating => self.halt(&Key::instance(&id)).await?,
                Busy::Other | Busy::Gone => self.queue(&id).await?,
            },
        };
        let found = self.records.instance(&id).await?;
        let mut record = found.ok_or_else(|| Refusal::Gone(no_instance(&id)))?;
        same_instance_ids(&record, (&service_id, &plan_id))?;
        if record.state != State::Deleting || !record.operation.is_in_progress() {
            record.begin(begin(Verb::Deprovision, &asking));
        }
        record.operation.is_asynchronous |= asking.accepts_incomplete;
        record.state = State::Deleting;
        held.commit(vec![self.records.put_instance(&record)]).await?;
        let operation = record.operation.id.clone();
        let retry_policy = self.retry_policy(&record.operation, &record.spec);
        let driving = self.clone();
        let running =
            self.operations.spawn(async move { driving.delete_instance(held, record, retry_policy).await });
        match self.outcome(&asking, is_lasting, running).await? {
            Some(()) => Ok(Status::Done),
            None => Ok(Status::Accepted(operation)),
        }
    }

    /// What is under way on the instance that somebody works on.
    async fn busy_deprovisioning(
        &self,
        id: &InstanceId,
        named: (&ServiceId, &PlanId),
        asking: &Asking,
    ) -> Result<Busy, Refusal> {
        let Some(found) = self.records.instance(id).await? else { return Ok(Busy::Other) };
        same_instance_ids(&found, named)?;
        if found.state == State::Creating {
            return Ok(Busy::Creating);
        }
        let polled = polled(id, &found.operation, Verb::Deprovision, asking)?;
        Ok(polled.map_or(Busy::Other, Busy::Polled))
    }

    /// Ends the creation of an instance or a binding that is under way, and takes the instance.
    pub(super) async fn halt(&self, created: &Key) -> Result<Held, Refusal> {
        // Long enough also for a broker that was killed meanwhile: refusing now would leave the creation halted.
        let lease = self.records.store.lease().unwrap_or_default();
        let held = self.holds.halt(created, self.timing.halt + 2 * lease + self.timing.queue).await?;
        held.ok_or_else(|| Refusal::Concurrency(created.instance.clone()))
    }

    /// Whether instances of the plan take long, as far as the catalog still has it.
    pub(super) fn is_lasting(&self, service_id: &ServiceId, plan_id: &PlanId) -> bool {
        let server = self.offer.plan(service_id, plan_id).map(|offered| offered.server);
        let provider = server.and_then(|server| self.provider(server));
        provider.is_ok_and(|provider| provider.execution_mode(plan_id) == ExecutionMode::Asynchronous)
    }

    /// How long the plan tells platforms to poll, in seconds.
    pub(super) fn polling(&self, service_id: &ServiceId, plan_id: &PlanId) -> Option<u64> {
        self.offer.plan(service_id, plan_id).ok()?.plan.maximum_polling_duration
    }

    /// Goes on removing an instance, its bindings first.
    pub(super) async fn delete_instance(
        &self,
        held: Held,
        mut record: Instance,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        match self.delete_all(&held, &mut record, retry_policy).await {
            Ok(()) => {
                let removed = Change::Remove(record.key());
                held.conclude([removed].into_iter().chain(tombstone::of_instance(&record)).collect()).await?;
                if record.operation.is_asynchronous {
                    record.operation.outcome = Outcome::Succeeded;
                    audit::ended(&record.spec.id, None, &record.operation);
                }
                Ok(())
            }
            Err(Refusal::Interrupted) => Err(Refusal::Interrupted),
            Err(refusal) => {
                let told = refusal.told();
                record.operation.outcome = Outcome::Failed(told.clone());
                held.conclude(vec![self.records.put_instance(&record)]).await?;
                if record.operation.is_asynchronous {
                    audit::ended(&record.spec.id, None, &record.operation);
                }
                Err(Refusal::Delete(told))
            }
        }
    }

    async fn delete_all(
        &self,
        held: &Held,
        record: &mut Instance,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        let provider = self.provider(&record.server)?.clone();
        let (spec, server, was_never_ready) =
            (record.spec.clone(), record.server.clone(), record.was_never_ready);
        let mut unopened = Vec::new();
        let mut told = |at| {
            record.operation.outcome = Outcome::InProgress(Some(at));
            self.records.put_instance(record)
        };
        for (key, binding) in self.records.bindings_that_open(&spec.id).await? {
            let Some(binding) = binding else {
                // Removing the instance removes whatever bindings are on it; until then the row is kept.
                tracing::warn!(%key, "the record cannot be opened; it goes with its instance");
                unopened.push(Change::Remove(key));
                continue;
            };
            tracing::warn!(instance = %spec.id, binding = %binding.spec.id, "the instance is deleted with this binding on it");
            self.revoke(held, &spec, &binding, retry_policy, &mut told).await?;
            let removed = Change::Remove(binding.key());
            // A delete of its own that failed, and that somebody may still poll.
            let tombstone =
                (binding.state == State::Deleting).then(|| tombstone::of_binding(&binding)).flatten();
            held.commit([removed].into_iter().chain(tombstone).collect()).await?;
        }
        match self.drive(held, &server, retry_policy, false, || provider.deprovision(&spec), told).await {
            // What stands there was made by somebody else, which is why this instance was never made.
            Err(Ended::Failed(error)) if error.is_foreign() && was_never_ready => {
                tracing::warn!(instance = %spec.id, "left alone: {error}");
            }
            ended => ended?,
        }
        if !unopened.is_empty() {
            held.commit(unopened).await?;
        }
        Ok(())
    }
}

/// What a delete finds under way.
pub(super) enum Busy {
    /// The creation of what is to be deleted.
    Creating,
    /// The very delete that is asked for, which the platform may poll.
    Polled(String),
    /// Something else, which may end soon.
    Other,
    /// Nothing of it was made yet, and now nothing will be.
    Gone,
}

/// A delete names the instance's plan; during an update that is the one before or the one after.
fn same_instance_ids(found: &Instance, request: (&ServiceId, &PlanId)) -> Result<(), Refusal> {
    let becoming = found.change.as_ref().map(|change| (&change.to.service_id, &change.to.plan_id));
    if becoming == Some(request) {
        return Ok(());
    }
    let what = format!("service instance {}", found.spec.id);
    same_ids(&what, (&found.spec.service_id, &found.spec.plan_id), request)
}
