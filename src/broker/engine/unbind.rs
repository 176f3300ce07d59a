//! Revoking bindings.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        backends::InstanceSpec,
        store::{
            Change, Key, State,
            records::{Binding, Instance, Outcome, Verb},
        },
    },
    Asking, Engine, Refusal, Shared, Status,
    audit::{self, Audit},
    deprovision::Busy,
    driver::{Ended, RetryPolicy},
    leases::Held,
    no_binding,
    offering_check::{required, same_ids},
    provision::{begin, polled},
    queue::Turn,
    tombstone,
};
use crate::osb::{BindingId, InstanceId, PlanId, ServiceId};

impl Engine {
    /// Revokes a binding.
    pub(crate) async fn unbind(
        &self,
        asking: Asking,
        instance: InstanceId,
        id: BindingId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<Status, Refusal> {
        let audit = Audit {
            verb: "unbind",
            caller: asking.caller.clone(),
            instance: instance.clone(),
            binding: Some(id.clone()),
        };
        self.audited(audit, async move |engine| {
            engine.unbind(asking, instance, id, (service_id, plan_id)).await
        })
        .await
    }
}

impl Shared {
    async fn unbind(
        self: Arc<Self>,
        asking: Asking,
        instance: InstanceId,
        id: BindingId,
        named: (ServiceId, PlanId),
    ) -> Result<Status, Refusal> {
        let is_lasting = self.is_lasting(&named.0, &named.1);
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        let held = match self.holds.take(&instance, Duration::ZERO).await? {
            Some(held) => held,
            None => match self.busy_unbinding(&instance, &id, &named, &asking).await? {
                Busy::Polled(operation) => return Ok(Status::Accepted(operation)),
                Busy::Gone => return Ok(Status::Done),
                Busy::Creating => self.halt(&Key::binding(&instance, &id)).await?,
                Busy::Other => {
                    let check = |record: &Binding, on: &Instance| check_named(record, on, &named);
                    match self.turn_to_unbind(&asking, &instance, &id, check).await? {
                        Turn::Now(held) => held,
                        Turn::Later(status) => return Ok(status),
                    }
                }
            },
        };
        let gone = || Refusal::Gone(no_binding(&instance, &id));
        let mut record = self.records.binding(&instance, &id).await?.ok_or_else(gone)?;
        let on = self.records.instance(&instance).await?.ok_or_else(gone)?;
        // After looking: strict clients expect 410 for what never was, whatever else is wrong.
        check_named(&record, &on, &named)?;
        let is_lasting = is_lasting || self.is_lasting(&on.spec.service_id, &on.spec.plan_id);
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        if record.state != State::Deleting || !record.operation.is_in_progress() {
            record.begin(begin(Verb::Unbind, &asking));
        }
        record.operation.is_asynchronous |= asking.accepts_incomplete;
        record.state = State::Deleting;
        held.commit(vec![self.records.put_binding(&record)]).await?;
        let operation = record.operation.id.clone();
        let retry_policy = self.retry_policy(&record.operation, &on.spec);
        let driving = self.clone();
        let running = self
            .operations
            .spawn(async move { driving.delete_binding(held, &on, record, retry_policy).await });
        match self.outcome(&asking, is_lasting, running).await? {
            Some(()) => Ok(Status::Done),
            None => Ok(Status::Accepted(operation)),
        }
    }

    /// What is under way on the instance that somebody works on.
    async fn busy_unbinding(
        &self,
        instance: &InstanceId,
        id: &BindingId,
        named: &(ServiceId, PlanId),
        asking: &Asking,
    ) -> Result<Busy, Refusal> {
        let Some(found) = self.records.binding(instance, id).await? else { return Ok(Busy::Other) };
        if found.is_queued {
            if let Some(on) = self.records.instance(instance).await? {
                check_named(&found, &on, named)?;
            }
            return Ok(if self.withdraw(found).await? { Busy::Gone } else { Busy::Other });
        }
        if found.state == State::Creating {
            return Ok(Busy::Creating);
        }
        let polled = polled(instance, &found.operation, Verb::Unbind, asking)?;
        Ok(polled.map_or(Busy::Other, Busy::Polled))
    }

    /// Goes on revoking a binding, to its end.
    pub(super) async fn delete_binding(
        &self,
        held: Held,
        on: &Instance,
        mut record: Binding,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        let is_asynchronous = record.operation.is_asynchronous;
        let mut shown = record.clone();
        let told = |at| {
            shown.operation.outcome = Outcome::InProgress(Some(at));
            self.records.put_binding(&shown)
        };
        match self.revoke(&held, &on.spec, &record, retry_policy, told).await {
            Ok(()) => {
                let removed = Change::Remove(record.key());
                held.conclude([removed].into_iter().chain(tombstone::of_binding(&record)).collect()).await?;
                if is_asynchronous {
                    record.operation.outcome = Outcome::Succeeded;
                    audit::ended(&record.instance, Some(&record.spec.id), &record.operation);
                }
                Ok(())
            }
            Err(Refusal::Interrupted) => Err(Refusal::Interrupted),
            Err(refusal) => {
                record.operation.outcome = Outcome::Failed(refusal.told());
                held.conclude(vec![self.records.put_binding(&record)]).await?;
                if is_asynchronous {
                    audit::ended(&record.instance, Some(&record.spec.id), &record.operation);
                }
                Err(refusal)
            }
        }
    }

    /// Takes a binding's credentials back. The record stays; `told` writes down what the backend is at.
    pub(super) async fn revoke(
        &self,
        held: &Held,
        on: &InstanceSpec,
        binding: &Binding,
        retry_policy: RetryPolicy,
        told: impl FnMut(String) -> Change,
    ) -> Result<(), Refusal> {
        let provider = self.provider(&binding.server)?;
        let call = || provider.unbind(on, &binding.spec);
        match self.drive(held, &binding.server, retry_policy, false, call, told).await {
            // What stands there was made by somebody else, which is why this binding was never made.
            Err(Ended::Failed(error)) if error.is_foreign() && binding.bound.is_none() => {
                tracing::warn!(instance = %on.id, binding = %binding.spec.id, "left alone: {error}");
                Ok(())
            }
            ended => Ok(ended?),
        }
    }
}

fn check_named(record: &Binding, on: &Instance, named: &(ServiceId, PlanId)) -> Result<(), Refusal> {
    required("service_id", named.0.as_str())?;
    required("plan_id", named.1.as_str())?;
    same_plan(record, on, named)
}

/// A delete names the plan that the instance had when it was bound, or has now.
fn same_plan(record: &Binding, on: &Instance, named: &(ServiceId, PlanId)) -> Result<(), Refusal> {
    if (&on.spec.service_id, &on.spec.plan_id) == (&named.0, &named.1) {
        return Ok(());
    }
    let what = format!("service binding {}", record.spec.id);
    same_ids(&what, (&record.service_id, &record.plan_id), (&named.0, &named.1))
}
