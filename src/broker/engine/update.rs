//! Updating instances. A failed update is reverted, at once or as soon as possible.

use async_trait::async_trait;

use super::{
    super::{
        backends::{InstanceSpec, Past},
        store::{
            State,
            records::{Instance, Record, Transition, Verb},
        },
    },
    Engine, Refusal, RequestContext, Shared, Status,
    audit::Audit,
    driver::{Ended, RetryPolicy, Run},
    no_instance,
    operation::{Busy, Conclusion, Next, Request, Scope, Work},
    parameters::{given, merged, sent, without_nulls_of},
};
use crate::osb::{InstanceId, UpdateRequest};

impl Engine {
    pub(crate) async fn update(
        &self,
        context: RequestContext,
        id: InstanceId,
        request: UpdateRequest,
    ) -> Result<Status, Refusal> {
        let audit = Audit::of("update", &context, &id, None);
        self.perform(context, audit, move |scope| {
            scope.engine.offer.service(&request.service_id)?;
            if let Some(plan_id) = &request.plan_id {
                let offered = scope.engine.offer.plan(&request.service_id, plan_id)?;
                offered.check_maintenance_info(request.maintenance_info.as_ref())?;
            }
            Ok(Changed { id, request })
        })
        .await
    }
}

/// A request to update an instance.
struct Changed {
    id: InstanceId,
    request: UpdateRequest,
}

#[async_trait]
impl Request for Changed {
    type Work = Update;
    type Answer = Status;

    fn instance(&self) -> &InstanceId {
        &self.id
    }

    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal> {
        let Some(found) = scope.engine.records.instance(&self.id).await? else { return Ok(Busy::Wait) };
        if found.state == State::Updating
            && !is_towards(&found, &scope.engine.becoming(&found, &self.request)?)
        {
            return Err(Refusal::Concurrency(self.id.clone()));
        }
        scope.busy_with(self, &found.operation)
    }

    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal> {
        let found = scope.engine.records.instance(&self.id).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(no_instance(&self.id)))?;
        let to = scope.engine.becoming(&found, &self.request)?;
        match found.state {
            State::Ready => self.change(scope, found, to).await,
            State::Updating if is_towards(&found, &to) => resume(scope, found),
            State::Updating | State::Deleting => Err(Refusal::Concurrency(self.id.clone())),
            State::Creating | State::Failed => {
                Err(Refusal::NotReady(format!("service instance {} is not provisioned in full", self.id)))
            }
        }
    }

    fn answer(&self, status: Status, _done: Option<()>) -> Status {
        status
    }
}

impl Changed {
    async fn change(
        &self,
        scope: &Scope<'_>,
        mut record: Instance,
        to: InstanceSpec,
    ) -> Result<Next<Self>, Refusal> {
        if to == record.spec {
            return Ok(Next::Answer(Vec::new(), Status::Already));
        }
        scope.engine.check_update(&record, &to, &self.request)?;
        if is_of_context_only(&record.spec, &to) {
            record.spec = to;
            return Ok(Next::Answer(vec![scope.engine.records.put(&record)], Status::Done));
        }
        scope.engine.confirm(&record.server, &record.spec, None).await?;
        require_polling(scope, &record.spec, &to)?;
        record.begin(scope.operation(Verb::Update));
        (record.state, record.change) = (State::Updating, Some(Transition { to, reverting: None }));
        Ok(Next::begin(record.spec.clone(), record))
    }
}

/// Resumes an interrupted update. An update that is being reverted cannot be resumed, but a platform can poll it to
/// its end.
fn resume(scope: &Scope<'_>, mut record: Instance) -> Result<Next<Changed>, Refusal> {
    match &record.change {
        Some(Transition { to, reverting: None }) => {
            require_polling(scope, &record.spec, to)?;
            record.operation.is_asynchronous |= scope.context.accepts_incomplete;
            Ok(Next::begin(record.spec.clone(), record))
        }
        _ if scope.context.accepts_incomplete && record.operation.is_asynchronous => {
            Ok(Next::Answer(Vec::new(), Status::Accepted(record.operation.id)))
        }
        _ => Err(Refusal::Concurrency(record.spec.id)),
    }
}

fn require_polling(scope: &Scope<'_>, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Refusal> {
    [from, to]
        .into_iter()
        .try_for_each(|spec| scope.require_polling(Verb::Update, &spec.service_id, &spec.plan_id))
}

impl Shared {
    /// The specification after the update. What the request omits stays, including parameters.
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

    /// Whether the instance can be updated in this way.
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
}

/// Updates an instance, or reverts an update.
pub(super) struct Update;

#[async_trait]
impl Work for Update {
    type Record = Instance;
    type Done = ();
    const VERB: Verb = Verb::Update;

    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<(), Refusal> {
        let Some(mut change) = record.change.clone() else { return Err(Refusal::Interrupted) };
        let mut is_of_state = false;
        if change.reverting.is_none() {
            match update(run, record, run.on, &change.to).await {
                Ok(()) => {
                    record.spec = change.to;
                    return Ok(());
                }
                Err(Ended::Left) => return Err(Refusal::Interrupted),
                Err(ended) => {
                    is_of_state = matches!(&ended, Ended::Failed(error) if error.is_refusal());
                    change.reverting = Some(Refusal::from(ended).user_message());
                }
            }
            record.change = Some(change.clone());
            run.lease.commit(vec![run.engine.records.put(record)]).await?;
        }
        revert(run, record, change, is_of_state).await
    }

    /// A change that is not reverted yet is reverted later.
    fn conclude(record: &mut Instance, failure: Option<&Refusal>) -> Conclusion {
        if !matches!(failure, None | Some(Refusal::Update { is_taken_back: true, .. })) {
            return Conclusion::Unfinished;
        }
        (record.state, record.change) = (State::Ready, None);
        Conclusion::Recorded
    }

    /// Recovery determines the instance's state.
    fn unrecorded(refusal: Refusal) -> Refusal {
        Refusal::Update { problem: refusal.user_message(), is_taken_back: false, is_of_state: false }
    }

    fn is_asynchronous(engine: &Shared, on: &InstanceSpec, record: &Instance) -> bool {
        let to = record.change.as_ref().map(|change| &change.to);
        [Some(on), to]
            .into_iter()
            .flatten()
            .any(|spec| engine.is_asynchronous(Verb::Update, &spec.service_id, &spec.plan_id))
    }
}

async fn update(
    run: &Run<'_>,
    record: &Instance,
    from: &InstanceSpec,
    to: &InstanceSpec,
) -> Result<(), Ended> {
    let Ok(provider) = run.engine.provider(run.server) else { return Err(Ended::Left) };
    run.drive(record, || provider.update(from, to)).await
}

/// Reverts the change. Returns the failure that caused the revert.
async fn revert(
    run: &Run<'_>,
    record: &Instance,
    change: Transition,
    is_of_state: bool,
) -> Result<(), Refusal> {
    let problem = change.reverting.unwrap_or_default();
    let retry_policy = match run.retry_policy {
        RetryPolicy::Once => RetryPolicy::Once,
        _ => RetryPolicy::Resumed,
    };
    let reverted = update(&Run { retry_policy, ..*run }, record, &change.to, run.on).await;
    Err(match reverted {
        Ok(()) => Refusal::Update { problem, is_taken_back: true, is_of_state },
        Err(Ended::Left) => Refusal::Interrupted,
        Err(ended) => {
            let why = Refusal::from(ended).user_message();
            let problem = format!("{problem}; taking it back is tried again: {why}");
            Refusal::Update { problem, is_taken_back: false, is_of_state: false }
        }
    })
}

/// Whether the update in progress leads to `to`.
fn is_towards(record: &Instance, to: &InstanceSpec) -> bool {
    record.change.as_ref().is_some_and(|change| change.to == *to)
}

fn is_of_context_only(is: &InstanceSpec, to: &InstanceSpec) -> bool {
    InstanceSpec { context: is.context.clone(), ..to.clone() } == *is
}
