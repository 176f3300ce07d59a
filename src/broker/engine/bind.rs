//! Creating bindings, also as the successor of another binding (rotation).

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::try_join;

use super::{
    super::{
        backends::{BindingSpec, Bound},
        store::{
            State,
            records::{Binding, Instance, Verb},
        },
    },
    BindResult, Engine, Refusal, RequestContext, Status,
    audit::Audit,
    driver::{Ended, Run},
    no_instance,
    offering_check::{Offered, same_ids},
    operation::{Busy, Next, Request, Scope, Work},
    parameters::given,
};
use crate::osb::{BindRequest, BindingId, InstanceId, Object};

/// The binding that a request asks for.
#[derive(Clone, Debug)]
pub(crate) enum BindWanted {
    /// A new binding.
    New(BindRequest),
    /// A successor of an existing binding, with its own credentials.
    Successor(BindingId),
}

impl Engine {
    pub(crate) async fn bind(
        &self,
        context: RequestContext,
        instance: InstanceId,
        id: BindingId,
        wanted: BindWanted,
    ) -> Result<BindResult, Refusal> {
        let verb = match wanted {
            BindWanted::New(_) => "bind",
            BindWanted::Successor(_) => "rotate",
        };
        let audit = Audit::of(verb, &context, &instance, Some(&id));
        self.perform(context, audit, move |scope| {
            if let BindWanted::New(request) = &wanted {
                check_bindable(scope, scope.engine.offer.plan(&request.service_id, &request.plan_id)?)?;
            }
            Ok(Wanted { instance, id, what: wanted })
        })
        .await
    }
}

/// A request for a binding.
struct Wanted {
    instance: InstanceId,
    id: BindingId,
    what: BindWanted,
}

#[async_trait]
impl Request for Wanted {
    type Work = Bind;
    type Answer = BindResult;

    fn instance(&self) -> &InstanceId {
        &self.instance
    }

    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal> {
        let Some(on) = scope.engine.records.instance(&self.instance).await? else { return Ok(Busy::Wait) };
        if on.state != State::Ready {
            return Err(Refusal::Concurrency(self.instance.clone()));
        }
        let found = scope.engine.records.binding(&self.instance, &self.id).await?;
        let Some(found) = found else { return Ok(Busy::Wait) };
        let found = self.with_parameters(scope, found)?;
        same_binding(&found, &on, &self.what)?;
        if found.state == State::Ready && found.bound.is_some() {
            scope.engine.confirm(&on.server, &on.spec, Some(&found.spec)).await?;
            return Ok(Busy::Answer(self.answer(Status::Already, found.bound)));
        }
        scope.busy_with(self, &found.operation)
    }

    async fn enqueue(&self, scope: &Scope<'_>) -> Result<Option<String>, Refusal> {
        let Some((lease, on)) = scope.engine.lease_beside(&self.instance, &self.id).await? else {
            return Ok(None);
        };
        if scope.engine.records.binding(&self.instance, &self.id).await?.is_some() {
            return Ok(None);
        }
        let new = self.new_binding(scope, &on).await?;
        scope.engine.record_beside(&lease, &Binding { is_queued: true, ..new }).await
    }

    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal> {
        let busy = || Refusal::Concurrency(self.instance.clone());
        let records = &scope.engine.records;
        let (on, found) =
            try_join!(records.instance(&self.instance), records.binding(&self.instance, &self.id))?;
        let on = on.ok_or_else(|| Refusal::NotFound(no_instance(&self.instance)))?;
        // A binding that is still recorded may already have been revoked.
        if on.state == State::Deleting {
            return Err(busy());
        }
        let record = match found {
            None => self.new_binding(scope, &on).await?,
            Some(found) => {
                let found = self.with_parameters(scope, found)?;
                same_binding(&found, &on, &self.what)?;
                match found.state {
                    State::Ready => return self.recorded(scope, &on, found).await,
                    State::Creating | State::Failed => {
                        // The plan may have become stricter.
                        scope.engine.provider(&on.server)?.check_binding(&on.spec, &found.spec)?;
                        scope.create_again(found, Verb::Bind)
                    }
                    State::Deleting | State::Updating => return Err(busy()),
                }
            }
        };
        match on.state {
            State::Ready => {}
            State::Updating | State::Deleting => return Err(busy()),
            State::Creating | State::Failed => {
                return Err(Refusal::NotReady(format!(
                    "service instance {} is not provisioned in full; repeat its provisioning first",
                    self.instance
                )));
            }
        }
        scope.require_polling(Verb::Bind, &on.spec.service_id, &on.spec.plan_id)?;
        Ok(Next::begin(on.spec, record))
    }

    fn answer(&self, status: Status, bound: Option<Bound>) -> BindResult {
        BindResult { status, bound }
    }
}

impl Wanted {
    async fn recorded(
        &self,
        scope: &Scope<'_>,
        on: &Instance,
        found: Binding,
    ) -> Result<Next<Self>, Refusal> {
        scope.engine.confirm(&on.server, &on.spec, Some(&found.spec)).await?;
        let bound = found.bound.ok_or(Refusal::Interrupted)?;
        Ok(Next::Answer(Vec::new(), self.answer(Status::Already, Some(bound))))
    }

    /// A record whose parameters were lost takes those of the request.
    fn with_parameters(&self, scope: &Scope<'_>, found: Binding) -> Result<Binding, Refusal> {
        if !found.are_parameters_lost {
            return Ok(found);
        }
        match &self.what {
            BindWanted::New(request) => {
                let spec = spec(self.id.clone(), request.clone());
                let offered = scope.engine.offer.plan(&found.service_id, &found.plan_id)?;
                offered.schemas.check_bind(&given(&spec.parameters))?;
                Ok(Binding { spec, are_parameters_lost: false, ..found })
            }
            // Its parameters were copied from a binding whose record is lost, too. Defaults could give more rights.
            BindWanted::Successor(_) => Err(Refusal::Invalid(format!(
                "predecessor_binding_id: the record of binding {} was lost, and its parameters with it; make a new binding",
                self.id
            ))),
        }
    }

    /// Checks the request and creates the record of a new binding.
    async fn new_binding(&self, scope: &Scope<'_>, on: &Instance) -> Result<Binding, Refusal> {
        let offered = scope.engine.offer.plan(&on.spec.service_id, &on.spec.plan_id)?;
        let provider = scope.engine.provider(&on.server)?;
        let (spec, predecessor) = match &self.what {
            BindWanted::New(request) => {
                let what = format!("service instance {}", on.spec.id);
                same_ids(
                    &what,
                    (&on.spec.service_id, &on.spec.plan_id),
                    (&request.service_id, &request.plan_id),
                )?;
                let spec = spec(self.id.clone(), request.clone());
                offered.schemas.check_bind(&given(&spec.parameters))?;
                (spec, None)
            }
            BindWanted::Successor(id) => {
                check_bindable(scope, offered)?;
                let former = predecessor(scope, on, offered, id).await?;
                (BindingSpec { id: self.id.clone(), ..former.spec }, Some(id.clone()))
            }
        };
        provider.check_binding(&on.spec, &spec)?;
        Ok(Binding {
            instance: on.spec.id.clone(),
            spec,
            service_id: on.spec.service_id.clone(),
            plan_id: on.spec.plan_id.clone(),
            predecessor,
            are_parameters_lost: false,
            server: on.server.clone(),
            state: State::Creating,
            bound: None,
            operation: scope.operation(Verb::Bind),
            former: None,
            past: Vec::new(),
            is_queued: false,
        })
    }
}

pub(super) struct Bind;

#[async_trait]
impl Work for Bind {
    type Record = Binding;
    type Done = Bound;
    const VERB: Verb = Verb::Bind;

    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<Bound, Refusal> {
        let provider = run.engine.provider(run.server)?;
        let bound = run.drive(record, || provider.bind(run.on, &record.spec)).await?;
        let bound = run.engine.offer.permitted(record, bound).map_err(Ended::Failed)?;
        record.bound = Some(bound.clone());
        Ok(bound)
    }
}

fn check_bindable(scope: &Scope<'_>, offered: Offered<'_>) -> Result<(), Refusal> {
    let (plan, service) = (&offered.plan, &offered.service);
    if !offered.is_bindable() {
        return Err(Refusal::Invalid(format!(
            "plan {} of service {} is not bindable",
            plan.name, service.name
        )));
    }
    scope.engine.provider(offered.server)?;
    scope.require_polling(Verb::Bind, &service.id, &plan.id)
}

/// The binding that a successor replaces.
async fn predecessor(
    scope: &Scope<'_>,
    on: &Instance,
    offered: Offered<'_>,
    id: &BindingId,
) -> Result<Binding, Refusal> {
    if offered.plan.binding_rotatable != Some(true) {
        return Err(Refusal::Invalid(format!(
            "predecessor_binding_id: bindings of plan {} cannot be rotated; make a new binding",
            offered.plan.name
        )));
    }
    let unusable = |why: &str| {
        let (id, instance) = (id.as_str(), &on.spec.id);
        Refusal::Invalid(format!(
            "predecessor_binding_id: binding {id:?} of service instance {instance} {why}; make a new binding"
        ))
    };
    let found = scope.engine.records.binding(&on.spec.id, id).await?;
    let found = found.filter(|found| found.state == State::Ready).ok_or_else(|| unusable("is not there"))?;
    let end = found.bound.as_ref().and_then(|bound| bound.expires_at);
    if end.is_some_and(|end| end <= Timestamp::now()) {
        return Err(unusable("has expired"));
    }
    Ok(found)
}

fn spec(id: BindingId, request: BindRequest) -> BindingSpec {
    BindingSpec {
        id,
        parameters: request.parameters.unwrap_or_default(),
        context: request.context.unwrap_or_default(),
        bind_resource: request.bind_resource.unwrap_or_default(),
    }
}

/// Rejects a request that reuses an id for another binding. The context and the instance's plan may differ.
fn same_binding(found: &Binding, on: &Instance, wanted: &BindWanted) -> Result<(), Refusal> {
    let differs = match wanted {
        BindWanted::New(request) => {
            let is_same =
                |given: &Option<Object>, is: &Object| given.as_ref().unwrap_or(&Object::new()) == is;
            let plans = [&found.plan_id, &on.spec.plan_id];
            let asked = request.parameters.as_ref().map(given).unwrap_or_default();
            vec![
                ("service_id", found.service_id != request.service_id),
                ("plan_id", !plans.contains(&&request.plan_id)),
                ("parameters", asked != given(&found.spec.parameters)),
                ("bind_resource", !is_same(&request.bind_resource, &found.spec.bind_resource)),
                ("predecessor_binding_id", found.predecessor.is_some()),
            ]
        }
        BindWanted::Successor(predecessor) => {
            vec![("predecessor_binding_id", found.predecessor.as_ref() != Some(predecessor))]
        }
    };
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => {
            Err(Refusal::Conflict(format!("service binding {} exists with other {field}", found.spec.id)))
        }
    }
}
