//! Making instances.

use std::sync::Arc;

use super::{
    super::{
        backends::{ExecutionMode, InstanceSpec, Past},
        store::{
            State,
            records::{Instance, Operation, Outcome, Verb},
        },
    },
    Asking, Engine, Provisioned, Refusal, Shared, Status,
    audit::{self, Audit},
    driver::{Ended, RetryPolicy},
    leases::Held,
    offering_check::required,
    parameters::given,
};
use crate::osb::{InstanceId, Object, ProvisionRequest};

impl Engine {
    /// Makes an instance.
    pub(crate) async fn provision(
        &self,
        asking: Asking,
        id: InstanceId,
        request: ProvisionRequest,
    ) -> Result<Provisioned, Refusal> {
        let audit =
            Audit { verb: "provision", caller: asking.caller.clone(), instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.provision(asking, id, request).await).await
    }
}

impl Shared {
    async fn provision(
        self: Arc<Self>,
        asking: Asking,
        id: InstanceId,
        request: ProvisionRequest,
    ) -> Result<Provisioned, Refusal> {
        let offered = self.offer.plan(&request.service_id, &request.plan_id)?;
        required("organization_guid", &request.organization_guid)?;
        required("space_guid", &request.space_guid)?;
        offered.check_maintenance_info(request.maintenance_info.as_ref())?;
        let provider = self.provider(offered.server)?.clone();
        let is_lasting = provider.execution_mode(&request.plan_id) == ExecutionMode::Asynchronous;
        if is_lasting && !asking.accepts_incomplete {
            return Err(Refusal::AsyncRequired);
        }
        let mut wanted = wanted(id, request, offered.maintenance_version());
        wanted.settled = provider.settled(Past::None, &wanted);
        let described = provider.described(&wanted);
        let answer = |status| Ok(Provisioned { status, described });

        let held = match self.holds.take(&wanted.id, std::time::Duration::ZERO).await? {
            Some(held) => held,
            None => match self.busy_provisioning(&wanted, &asking).await? {
                Some(operation) => return answer(Status::Accepted(operation)),
                None => self.queue(&wanted.id).await?,
            },
        };
        let record = if let Some(found) = self.records.instance(&wanted.id).await? {
            same_instance(&found, &wanted)?;
            match found.state {
                State::Ready => {
                    self.confirm(&found.server, &found.spec, None).await?;
                    held.release().await?;
                    return answer(Status::Already);
                }
                State::Deleting | State::Updating => return Err(Refusal::Concurrency(wanted.id)),
                State::Creating | State::Failed => again(found, &asking),
            }
        } else {
            offered.schemas.check_create(&given(&wanted.parameters))?;
            provider.check_instance(&wanted)?;
            let operation = begin(Verb::Provision, &asking);
            let (server, state) = (offered.server.clone(), State::Creating);
            Instance {
                spec: wanted,
                server,
                state,
                change: None,
                operation,
                former: None,
                past: Vec::new(),
                was_never_ready: true,
            }
        };
        held.commit(vec![self.records.put_instance(&record)]).await?;
        let operation = record.operation.id.clone();
        let retry_policy = self.retry_policy(&record.operation, &record.spec);
        let driving = self.clone();
        let running =
            self.operations.spawn(async move { driving.create_instance(held, record, retry_policy).await });
        match self.outcome(&asking, is_lasting, running).await? {
            Some(()) => answer(Status::Done),
            None => answer(Status::Accepted(operation)),
        }
    }

    /// Of an instance that somebody works on: the operation that does what is wanted, if the platform may poll it.
    async fn busy_provisioning(
        &self,
        wanted: &InstanceSpec,
        asking: &Asking,
    ) -> Result<Option<String>, Refusal> {
        let Some(found) = self.records.instance(&wanted.id).await? else { return Ok(None) };
        same_instance(&found, wanted)?;
        polled(&wanted.id, &found.operation, Verb::Provision, asking)
    }

    /// Waits for the instance, as long as a request may.
    pub(super) async fn queue(&self, instance: &InstanceId) -> Result<Held, Refusal> {
        let held = self.holds.take(instance, self.timing.queue).await?;
        held.ok_or_else(|| Refusal::Concurrency(instance.clone()))
    }

    /// Goes on making an instance, to its end.
    pub(super) async fn create_instance(
        &self,
        held: Held,
        mut record: Instance,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        let provider = self.provider(&record.server)?;
        held.create(&record.key());
        let mut shown = record.clone();
        let ended = self
            .drive(
                &held,
                &record.server,
                retry_policy,
                true,
                || provider.provision(&record.spec),
                |at| {
                    shown.operation.outcome = Outcome::InProgress(Some(at));
                    self.records.put_instance(&shown)
                },
            )
            .await;
        let outcome = match ended {
            Ok(()) => {
                (record.state, record.operation.outcome) = (State::Ready, Outcome::Succeeded);
                record.was_never_ready = false;
                Ok(())
            }
            Err(Ended::Left) => return Err(Refusal::Interrupted),
            Err(ended) => {
                let refusal = Refusal::from(ended);
                record.state = State::Failed;
                record.operation.outcome = Outcome::Failed(refusal.told());
                Err(refusal)
            }
        };
        held.conclude(vec![self.records.put_instance(&record)]).await?;
        if record.operation.is_asynchronous {
            audit::ended(&record.spec.id, None, &record.operation);
        }
        outcome
    }
}

fn wanted(id: InstanceId, request: ProvisionRequest, maintenance_version: Option<String>) -> InstanceSpec {
    let ProvisionRequest { service_id, plan_id, context, organization_guid, space_guid, parameters, .. } =
        request;
    InstanceSpec {
        id,
        service_id,
        plan_id,
        organization_guid,
        space_guid,
        parameters: parameters.unwrap_or_default(),
        context: context.unwrap_or_default(),
        maintenance_version,
        settled: Object::new(),
    }
}

/// The operation's id when it is the one that is asked for; refuses to wait for another that may take long.
pub(super) fn polled(
    instance: &InstanceId,
    operation: &Operation,
    verb: Verb,
    asking: &Asking,
) -> Result<Option<String>, Refusal> {
    if !operation.is_in_progress() || !operation.is_asynchronous {
        return Ok(None);
    }
    if operation.verb == verb && asking.accepts_incomplete {
        return Ok(Some(operation.id.clone()));
    }
    Err(Refusal::Concurrency(instance.clone()))
}

/// An operation that is begun now.
pub(super) fn begin(verb: Verb, asking: &Asking) -> Operation {
    Operation {
        is_asynchronous: asking.accepts_incomplete,
        ..Operation::begin(verb, asking.caller.0.clone())
    }
}

/// Takes up a creation that was cut off, or begins it anew after it failed.
fn again(mut found: Instance, asking: &Asking) -> Instance {
    if found.state == State::Failed {
        found.begin(begin(Verb::Provision, asking));
    } else {
        found.operation.is_asynchronous |= asking.accepts_incomplete;
    }
    found.state = State::Creating;
    found
}

/// An id stands for one instance. The context may change, and the version is the plan's.
fn same_instance(found: &Instance, wanted: &InstanceSpec) -> Result<(), Refusal> {
    let is = &found.spec;
    let differs = [
        ("service_id", is.service_id != wanted.service_id),
        ("plan_id", is.plan_id != wanted.plan_id),
        ("organization_guid", is.organization_guid != wanted.organization_guid),
        ("space_guid", is.space_guid != wanted.space_guid),
        ("parameters", given(&is.parameters) != given(&wanted.parameters)),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => {
            Err(Refusal::Conflict(format!("service instance {} exists with another {field}", wanted.id)))
        }
    }
}
