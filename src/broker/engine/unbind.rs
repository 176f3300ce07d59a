//! Revoking bindings.

use async_trait::async_trait;
use tokio::try_join;

use super::{
    super::store::{
        Key, State,
        records::{Binding, Instance, Record, Verb},
    },
    Engine, Refusal, RequestContext, Status,
    audit::Audit,
    driver::{Ended, Run},
    no_binding,
    offering_check::{required, same_ids},
    operation::{Busy, Next, Request, Scope, Work},
};
use crate::osb::{BindingId, InstanceId, PlanId, ServiceId};

impl Engine {
    pub(crate) async fn unbind(
        &self,
        context: RequestContext,
        instance: InstanceId,
        id: BindingId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<Status, Refusal> {
        let audit = Audit::of("unbind", &context, &instance, Some(&id));
        self.perform(context, audit, move |scope| {
            scope.require_polling(Verb::Unbind, &service_id, &plan_id)?;
            Ok(Unwanted { instance, id, service_id, plan_id })
        })
        .await
    }
}

/// A request to revoke a binding.
struct Unwanted {
    instance: InstanceId,
    id: BindingId,
    service_id: ServiceId,
    plan_id: PlanId,
}

impl Unwanted {
    /// The request must name the plan that the instance had when it was bound, or has now.
    fn check(&self, record: &Binding, on: &Instance) -> Result<(), Refusal> {
        required("service_id", self.service_id.as_str())?;
        required("plan_id", self.plan_id.as_str())?;
        let named = (&self.service_id, &self.plan_id);
        if (&on.spec.service_id, &on.spec.plan_id) == named {
            return Ok(());
        }
        let what = format!("service binding {}", record.spec.id);
        same_ids(&what, (&record.service_id, &record.plan_id), named)
    }
}

#[async_trait]
impl Request for Unwanted {
    type Work = Unbind;
    type Answer = Status;

    fn instance(&self) -> &InstanceId {
        &self.instance
    }

    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal> {
        let found = scope.engine.records.binding(&self.instance, &self.id).await?;
        let Some(found) = found else { return Ok(Busy::Wait) };
        if found.is_queued {
            if let Some(on) = scope.engine.records.instance(&self.instance).await? {
                self.check(&found, &on)?;
            }
            let is_withdrawn = scope.engine.withdraw(found).await?;
            return Ok(if is_withdrawn { Busy::Answer(Status::Done) } else { Busy::Wait });
        }
        if found.state == State::Creating {
            return Ok(Busy::Halt(Key::binding(&self.instance, &self.id)));
        }
        scope.busy_with(self, &found.operation)
    }

    async fn enqueue(&self, scope: &Scope<'_>) -> Result<Option<String>, Refusal> {
        let Some((lease, on)) = scope.engine.lease_beside(&self.instance, &self.id).await? else {
            return Ok(None);
        };
        let found = scope.engine.records.binding(&self.instance, &self.id).await?;
        let Some(record) = found.filter(|found| !found.operation.is_in_progress()) else {
            return Ok(None);
        };
        self.check(&record, &on)?;
        scope.engine.record_beside(&lease, &scope.delete(record, Verb::Unbind)).await
    }

    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal> {
        let gone = || Refusal::Gone(no_binding(&self.instance, &self.id));
        let records = &scope.engine.records;
        let (record, on) =
            try_join!(records.binding(&self.instance, &self.id), records.instance(&self.instance))?;
        let (record, on) = (record.ok_or_else(gone)?, on.ok_or_else(gone)?);
        // Check only after the lookup: strict clients expect 410 for a binding that never existed, whatever else is
        // wrong.
        self.check(&record, &on)?;
        scope.require_polling(Verb::Unbind, &on.spec.service_id, &on.spec.plan_id)?;
        Ok(Next::begin(on.spec, scope.delete(record, Verb::Unbind)))
    }

    fn answer(&self, status: Status, _done: Option<()>) -> Status {
        status
    }
}

pub(super) struct Unbind;

#[async_trait]
impl Work for Unbind {
    type Record = Binding;
    type Done = ();
    const VERB: Verb = Verb::Unbind;

    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<(), Refusal> {
        revoke(run, record, record).await
    }
}

/// Revokes a binding's credentials. Keeps its row; writes the progress to `shown`.
pub(super) async fn revoke(run: &Run<'_>, binding: &Binding, shown: &impl Record) -> Result<(), Refusal> {
    let provider = run.engine.provider(&binding.server)?;
    let run = Run { server: &binding.server, ..*run };
    match run.drive(shown, || provider.unbind(run.on, &binding.spec)).await {
        // The resource of that name is foreign, which is why the binding could not be created.
        Err(Ended::Failed(error)) if error.is_foreign() && binding.bound.is_none() => {
            tracing::warn!(instance = %run.on.id, binding = %binding.spec.id, "left alone: {error}");
            Ok(())
        }
        ended => Ok(ended?),
    }
}
