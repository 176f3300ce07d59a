//! Changing instances. A change that fails is taken back, at once or as soon as that can be done.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        backends::{ExecutionMode, InstanceSpec, Past},
        store::{
            State,
            records::{Instance, Outcome, Transition, Verb},
        },
    },
    Asking, Engine, Refusal, Shared, Status,
    audit::{self, Audit},
    driver::{Ended, RetryPolicy},
    leases::Held,
    no_instance,
    parameters::{given, merged, sent, without_nulls_of},
    provision::{begin, polled},
};
use crate::osb::{InstanceId, UpdateRequest};

impl Engine {
    /// Changes an instance.
    pub(crate) async fn update(
        &self,
        asking: Asking,
        id: InstanceId,
        request: UpdateRequest,
    ) -> Result<Status, Refusal> {
        let audit =
            Audit { verb: "update", caller: asking.caller.clone(), instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.update(asking, id, request).await).await
    }
}

impl Shared {
    async fn update(
        self: Arc<Self>,
        asking: Asking,
        id: InstanceId,
        request: UpdateRequest,
    ) -> Result<Status, Refusal> {
        self.offer.service(&request.service_id)?;
        if let Some(plan_id) = &request.plan_id {
            let offered = self.offer.plan(&request.service_id, plan_id)?;
            offered.check_maintenance_info(request.maintenance_info.as_ref())?;
        }
        let held = match self.holds.take(&id, Duration::ZERO).await? {
            Some(held) => held,
            None => match self.busy_updating(&id, &request, &asking).await? {
                Some(operation) => return Ok(Status::Accepted(operation)),
                None => self.queue(&id).await?,
            },
        };
        let found = self.records.instance(&id).await?;
        let mut record = found.ok_or_else(|| Refusal::NotFound(no_instance(&id)))?;
        let to = self.becoming(&record, &request)?;
        match record.state {
            State::Ready => {}
            // An update that was cut off; this one goes on with it.
            State::Updating if is_towards(&record, &to) && !is_reverting(&record) => {}
            // It is taken back. Whoever polls it is told in the end.
            State::Updating
                if is_towards(&record, &to)
                    && asking.accepts_incomplete
                    && record.operation.is_asynchronous =>
            {
                held.release().await?;
                return Ok(Status::Accepted(record.operation.id));
            }
            State::Creating | State::Failed => {
                return Err(Refusal::NotReady(format!("service instance {id} is not provisioned in full")));
            }
            State::Updating | State::Deleting => return Err(Refusal::Concurrency(id)),
        }
        if record.state == State::Ready {
            if to == record.spec {
                held.release().await?;
                return Ok(Status::Already);
            }
            self.check_update(&record, &to, &request)?;
            if is_of_context_only(&record.spec, &to) {
                record.spec = to;
                held.conclude(vec![self.records.put_instance(&record)]).await?;
                return Ok(Status::Done);
            }
            self.confirm(&record.server, &record.spec, None).await?;
        }
        let is_lasting = [&record.spec.plan_id, &to.plan_id].into_iter().any(|plan| {
            self.provider(&record.server)
                .is_ok_and(|provider| provider.execution_mode(plan) == ExecutionMode::Asynchronous)
        });
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        if record.state == State::Ready {
            record.begin(begin(Verb::Update, &asking));
            (record.state, record.change) = (State::Updating, Some(Transition { to, reverting: None }));
        }
        record.operation.is_asynchronous |= asking.accepts_incomplete;
        self.begin_update(&asking, held, record, is_lasting).await
    }

    async fn begin_update(
        self: Arc<Self>,
        asking: &Asking,
        held: Held,
        record: Instance,
        is_lasting: bool,
    ) -> Result<Status, Refusal> {
        held.commit(vec![self.records.put_instance(&record)]).await?;
        let operation = record.operation.id.clone();
        let retry_policy = self.retry_policy(&record.operation, &record.spec);
        let driving = self.clone();
        let running =
            self.operations.spawn(async move { driving.change_instance(held, record, retry_policy).await });
        match self.outcome(asking, is_lasting, running).await {
            Ok(Some(())) => Ok(Status::Done),
            Ok(None) => Ok(Status::Accepted(operation)),
            // What the instance is now, recovery finds out.
            Err(refusal @ (Refusal::Store(_) | Refusal::Interrupted)) => {
                Err(Refusal::Update { problem: refusal.told(), is_taken_back: false, is_of_state: false })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Of an instance that somebody works on: the operation that does this update, if the platform may poll it.
    async fn busy_updating(
        &self,
        id: &InstanceId,
        request: &UpdateRequest,
        asking: &Asking,
    ) -> Result<Option<String>, Refusal> {
        let Some(found) = self.records.instance(id).await? else { return Ok(None) };
        if found.state == State::Updating && !is_towards(&found, &self.becoming(&found, request)?) {
            return Err(Refusal::Concurrency(id.clone()));
        }
        polled(id, &found.operation, Verb::Update, asking)
    }

    /// What the instance is to become. What the request leaves out stays, of the parameters, too.
    fn becoming(&self, found: &Instance, request: &UpdateRequest) -> Result<InstanceSpec, Refusal> {
        let is = &found.spec;
        if is.service_id != request.service_id {
            let (id, of) = (&is.id, &is.service_id);
            return Err(Refusal::Invalid(format!("service instance {id} is of service_id {of}")));
        }
        let plan_id = request.plan_id.as_ref().unwrap_or(&is.plan_id).clone();
        let is_new_plan = plan_id != is.plan_id;
        let maintenance_version = if is_new_plan || request.maintenance_info.is_some() {
            let offered = self.offer.plan(&is.service_id, &plan_id)?;
            offered.check_maintenance_info(request.maintenance_info.as_ref())?;
            offered.maintenance_version()
        } else {
            is.maintenance_version.clone()
        };
        let sent = sent(request.parameters.as_ref());
        let mut to = InstanceSpec {
            plan_id,
            parameters: merged(&is.parameters, sent),
            context: request.context.clone().unwrap_or_else(|| is.context.clone()),
            maintenance_version,
            ..is.clone()
        };
        let past = InstanceSpec {
            parameters: without_nulls_of(&is.parameters, sent),
            settled: without_nulls_of(&is.settled, sent),
            ..is.clone()
        };
        to.settled = self.provider(&found.server)?.settled(Past::Known(&past), &to);
        Ok(to)
    }

    /// Whether the instance may become so.
    fn check_update(
        &self,
        record: &Instance,
        to: &InstanceSpec,
        request: &UpdateRequest,
    ) -> Result<(), Refusal> {
        let is = &record.spec;
        let offered = self.offer.plan(&to.service_id, &to.plan_id)?;
        let unsupported = |what: String| Err(Refusal::Unsupported(what));
        if to.plan_id != is.plan_id {
            let before = self.offer.plan(&is.service_id, &is.plan_id)?;
            let (from, into) = (&before.plan.name, &offered.plan.name);
            if !before.is_updateable() {
                return unsupported(format!(
                    "instances of plan {from} cannot change their plan; provision another instance"
                ));
            }
            if *offered.server != record.server {
                return unsupported(format!(
                    "plan {into} is on another server than service instance {}; provision another instance",
                    is.id
                ));
            }
        }
        if is_of_context_only(is, to) {
            if offered.service.allow_context_updates {
                return Ok(());
            }
            let service = &offered.service.name;
            return unsupported(format!("service {service} does not take updates of the context alone"));
        }
        if let Some(sent) = sent(request.parameters.as_ref()) {
            offered.schemas.check_update(&given(sent))?;
        }
        if to.plan_id != is.plan_id {
            offered.schemas.check_create(&given(&to.parameters)).map_err(|violations| {
                Refusal::Invalid(format!(
                    "plan {} does not allow what the instance has, {violations}; send other parameters with the change of \
                     plan, null to take one away",
                    offered.plan.name
                ))
            })?;
        }
        Ok(self.provider(&record.server)?.check_update(is, to)?)
    }

    /// Goes on changing an instance, or taking a change back, to its end.
    pub(super) async fn change_instance(
        &self,
        held: Held,
        mut record: Instance,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        self.provider(&record.server)?;
        let Some(mut change) = record.change.clone() else { return Err(Refusal::Interrupted) };
        let mut is_of_state = false;
        if change.reverting.is_none() {
            match self.towards(&held, &record, &record.spec, &change.to, retry_policy).await {
                Ok(()) => {
                    record.spec = change.to;
                    record.operation.outcome = Outcome::Succeeded;
                    return self.end_change(held, record).await;
                }
                Err(Ended::Left) => return Err(Refusal::Interrupted),
                Err(ended) => {
                    is_of_state = matches!(&ended, Ended::Failed(error) if error.is_refusal());
                    change.reverting = Some(Refusal::from(ended).told());
                }
            }
            record.change = Some(change.clone());
            held.commit(vec![self.records.put_instance(&record)]).await?;
        }
        let problem = change.reverting.unwrap_or_default();
        let retry_policy =
            if retry_policy == RetryPolicy::Once { retry_policy } else { RetryPolicy::Retried };
        match self.towards(&held, &record, &change.to, &record.spec, retry_policy).await {
            Ok(()) => {
                record.operation.outcome = Outcome::Failed(problem.clone());
                self.end_change(held, record).await?;
                Err(Refusal::Update { problem, is_taken_back: true, is_of_state })
            }
            Err(Ended::Left) => Err(Refusal::Interrupted),
            Err(ended) => {
                let why = Refusal::from(ended).told();
                held.release().await?;
                let problem = format!("{problem}; taking it back is tried again: {why}");
                Err(Refusal::Update { problem, is_taken_back: false, is_of_state: false })
            }
        }
    }

    async fn towards(
        &self,
        held: &Held,
        record: &Instance,
        from: &InstanceSpec,
        to: &InstanceSpec,
        retry_policy: RetryPolicy,
    ) -> Result<(), Ended> {
        let Ok(provider) = self.provider(&record.server) else { return Err(Ended::Left) };
        let mut shown = record.clone();
        self.drive(
            held,
            &record.server,
            retry_policy,
            false,
            || provider.update(from, to),
            |at| {
                shown.operation.outcome = Outcome::InProgress(Some(at));
                self.records.put_instance(&shown)
            },
        )
        .await
    }

    async fn end_change(&self, held: Held, mut record: Instance) -> Result<(), Refusal> {
        (record.state, record.change) = (State::Ready, None);
        held.conclude(vec![self.records.put_instance(&record)]).await?;
        if record.operation.is_asynchronous {
            audit::ended(&record.spec.id, None, &record.operation);
        }
        Ok(())
    }
}

/// Whether the update that is under way is this one.
fn is_towards(record: &Instance, to: &InstanceSpec) -> bool {
    record.change.as_ref().is_some_and(|change| change.to == *to)
}

/// Whether it is being taken back.
fn is_reverting(record: &Instance) -> bool {
    record.change.as_ref().is_some_and(|change| change.reverting.is_some())
}

fn is_of_context_only(is: &InstanceSpec, to: &InstanceSpec) -> bool {
    InstanceSpec { context: is.context.clone(), ..to.clone() } == *is
}
