//! Making bindings, also in another one's place.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    super::{
        backends::{BindingSpec, ExecutionMode},
        store::{
            State,
            records::{Binding, Instance, Outcome, Verb},
        },
    },
    Asking, BindResult, Engine, Refusal, Shared, Status,
    audit::{self, Audit},
    driver::{Ended, RetryPolicy},
    leases::Held,
    no_instance,
    offering_check::{Offered, same_ids},
    parameters::given,
    provision::{begin, polled},
    queue::Turn,
};
use crate::osb::{BindRequest, BindingId, InstanceId, Object};

/// What a request for a binding wants.
#[derive(Clone, Debug)]
pub(crate) enum BindWanted {
    /// One as described.
    New(BindRequest),
    /// One like that other, with credentials of its own.
    Successor(BindingId),
}

impl Engine {
    /// Makes a binding.
    pub(crate) async fn bind(
        &self,
        asking: Asking,
        instance: InstanceId,
        id: BindingId,
        wanted: BindWanted,
    ) -> Result<BindResult, Refusal> {
        let verb = match wanted {
            BindWanted::New(_) => "bind",
            BindWanted::Successor(_) => "rotate",
        };
        let audit = Audit {
            verb,
            caller: asking.caller.clone(),
            instance: instance.clone(),
            binding: Some(id.clone()),
        };
        self.audited(audit, async move |engine| engine.bind(asking, instance, id, wanted).await).await
    }
}

impl Shared {
    async fn bind(
        self: Arc<Self>,
        asking: Asking,
        instance: InstanceId,
        id: BindingId,
        wanted: BindWanted,
    ) -> Result<BindResult, Refusal> {
        if let BindWanted::New(request) = &wanted {
            let offered = self.offer.plan(&request.service_id, &request.plan_id)?;
            self.check_bindable(offered, &asking)?;
        }
        let held = match self.holds.take(&instance, Duration::ZERO).await? {
            Some(held) => held,
            None => match self.busy_binding(&instance, &id, &wanted, &asking).await? {
                Some(binded) => return Ok(binded),
                None => match self.turn_to_bind(&asking, &instance, &id, &wanted).await? {
                    Turn::Now(held) => held,
                    Turn::Later(binded) => return Ok(binded),
                },
            },
        };
        let on = self.records.instance(&instance).await?;
        let on = on.ok_or_else(|| Refusal::NotFound(no_instance(&instance)))?;
        // What is still recorded may have been revoked.
        if on.state == State::Deleting {
            return Err(Refusal::Concurrency(instance));
        }
        let record = match self.records.binding(&instance, &id).await? {
            Some(found) => {
                same_binding(&found, &on, &wanted)?;
                match found.state {
                    State::Ready => {
                        self.confirm(&on.server, &on.spec, Some(&found.spec)).await?;
                        held.release().await?;
                        let bound = Some(found.bound.ok_or(Refusal::Interrupted)?);
                        return Ok(BindResult { status: Status::Already, bound });
                    }
                    State::Creating | State::Failed => {
                        // The plan may allow less by now.
                        self.provider(&on.server)?.check_binding(&on.spec, &found.spec)?;
                        again(found, &asking)
                    }
                    State::Deleting | State::Updating => return Err(Refusal::Concurrency(instance)),
                }
            }
            None => self.new_binding(&on, id, wanted, &asking).await?,
        };
        match on.state {
            State::Ready => {}
            State::Updating | State::Deleting => return Err(Refusal::Concurrency(instance)),
            State::Creating | State::Failed => {
                return Err(Refusal::NotReady(format!(
                    "service instance {instance} is not provisioned in full; repeat its provisioning first"
                )));
            }
        }
        let is_lasting = self.is_lasting(&on.spec.service_id, &on.spec.plan_id);
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        self.begin_binding(&asking, held, on, record, is_lasting).await
    }

    async fn begin_binding(
        self: Arc<Self>,
        asking: &Asking,
        held: Held,
        on: Instance,
        record: Binding,
        is_lasting: bool,
    ) -> Result<BindResult, Refusal> {
        held.commit(vec![self.records.put_binding(&record)]).await?;
        let operation = record.operation.id.clone();
        let retry_policy = self.retry_policy(&record.operation, &on.spec);
        let driving = self.clone();
        let running = self
            .operations
            .spawn(async move { driving.create_binding(held, &on, record, retry_policy).await });
        Ok(match self.outcome(asking, is_lasting, running).await? {
            Some(record) => BindResult { status: Status::Done, bound: record.bound },
            None => BindResult { status: Status::Accepted(operation), bound: None },
        })
    }

    fn check_bindable(&self, offered: Offered<'_>, asking: &Asking) -> Result<(), Refusal> {
        let (plan, service) = (&offered.plan, &offered.service);
        if !offered.is_bindable() {
            return Err(Refusal::Invalid(format!(
                "plan {} of service {} is not bindable",
                plan.name, service.name
            )));
        }
        let is_lasting =
            self.provider(offered.server)?.execution_mode(&plan.id) == ExecutionMode::Asynchronous;
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        Ok(())
    }

    /// Of an instance that somebody works on: the binding if it is there, or the operation that makes it, if the platform may
    /// poll it.
    async fn busy_binding(
        &self,
        instance: &InstanceId,
        id: &BindingId,
        wanted: &BindWanted,
        asking: &Asking,
    ) -> Result<Option<BindResult>, Refusal> {
        let Some(on) = self.records.instance(instance).await? else { return Ok(None) };
        if on.state != State::Ready {
            return Err(Refusal::Concurrency(instance.clone()));
        }
        let Some(found) = self.records.binding(instance, id).await? else { return Ok(None) };
        same_binding(&found, &on, wanted)?;
        if found.state == State::Ready && found.bound.is_some() {
            self.confirm(&on.server, &on.spec, Some(&found.spec)).await?;
            return Ok(Some(BindResult { status: Status::Already, bound: found.bound }));
        }
        let operation = polled(instance, &found.operation, Verb::Bind, asking)?;
        Ok(operation.map(|operation| BindResult { status: Status::Accepted(operation), bound: None }))
    }

    /// The record of a binding that is not there, after everything was checked.
    pub(super) async fn new_binding(
        &self,
        on: &Instance,
        id: BindingId,
        wanted: BindWanted,
        asking: &Asking,
    ) -> Result<Binding, Refusal> {
        let offered = self.offer.plan(&on.spec.service_id, &on.spec.plan_id)?;
        let provider = self.provider(&on.server)?;
        let (spec, predecessor) = match wanted {
            BindWanted::New(request) => {
                let what = format!("service instance {}", on.spec.id);
                same_ids(
                    &what,
                    (&on.spec.service_id, &on.spec.plan_id),
                    (&request.service_id, &request.plan_id),
                )?;
                let spec = spec(id, request);
                offered.schemas.check_bind(&given(&spec.parameters))?;
                (spec, None)
            }
            BindWanted::Successor(predecessor) => {
                self.check_bindable(offered, asking)?;
                let former = self.predecessor(on, offered, &predecessor).await?;
                (BindingSpec { id, ..former.spec }, Some(predecessor))
            }
        };
        provider.check_binding(&on.spec, &spec)?;
        Ok(Binding {
            instance: on.spec.id.clone(),
            spec,
            service_id: on.spec.service_id.clone(),
            plan_id: on.spec.plan_id.clone(),
            predecessor,
            server: on.server.clone(),
            state: State::Creating,
            bound: None,
            operation: begin(Verb::Bind, asking),
            former: None,
            past: Vec::new(),
            is_queued: false,
        })
    }

    /// The binding that another is to succeed.
    async fn predecessor(
        &self,
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
        let found = self.records.binding(&on.spec.id, id).await?;
        let found =
            found.filter(|found| found.state == State::Ready).ok_or_else(|| unusable("is not there"))?;
        let end = found.bound.as_ref().and_then(|bound| bound.expires_at);
        if end.is_some_and(|end| end <= Timestamp::now()) {
            return Err(unusable("has expired"));
        }
        Ok(found)
    }

    /// Goes on making a binding, to its end.
    pub(super) async fn create_binding(
        &self,
        held: Held,
        on: &Instance,
        mut record: Binding,
        retry_policy: RetryPolicy,
    ) -> Result<Binding, Refusal> {
        let provider = self.provider(&on.server)?;
        held.create(&record.key());
        let mut shown = record.clone();
        let ended = self
            .drive(
                &held,
                &on.server,
                retry_policy,
                true,
                || provider.bind(&on.spec, &record.spec),
                |at| {
                    shown.operation.outcome = Outcome::InProgress(Some(at));
                    self.records.put_binding(&shown)
                },
            )
            .await
            .and_then(|bound| self.offer.permitted(&record, bound).map_err(Ended::Failed));
        let failure = match ended {
            Ok(bound) => {
                record.bound = Some(bound);
                (record.state, record.operation.outcome) = (State::Ready, Outcome::Succeeded);
                None
            }
            Err(Ended::Left) => return Err(Refusal::Interrupted),
            Err(ended) => {
                let refusal = Refusal::from(ended);
                record.state = State::Failed;
                record.operation.outcome = Outcome::Failed(refusal.told());
                Some(refusal)
            }
        };
        held.conclude(vec![self.records.put_binding(&record)]).await?;
        if record.operation.is_asynchronous {
            audit::ended(&record.instance, Some(&record.spec.id), &record.operation);
        }
        failure.map_or(Ok(record), Err)
    }
}

fn spec(id: BindingId, request: BindRequest) -> BindingSpec {
    BindingSpec {
        id,
        parameters: request.parameters.unwrap_or_default(),
        context: request.context.unwrap_or_default(),
        bind_resource: request.bind_resource.unwrap_or_default(),
    }
}

/// Takes up a binding that was cut off, or begins it anew after it failed.
fn again(mut found: Binding, asking: &Asking) -> Binding {
    if found.state == State::Failed {
        found.begin(begin(Verb::Bind, asking));
    } else {
        found.operation.is_asynchronous |= asking.accepts_incomplete;
    }
    (found.state, found.is_queued) = (State::Creating, false);
    found
}

/// An id stands for one binding. The context may change, and the instance's plan.
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
