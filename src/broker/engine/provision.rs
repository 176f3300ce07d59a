//! Provisioning instances.

use async_trait::async_trait;

use super::{
    super::{
        backends::{Described, InstanceSpec, Past},
        store::{
            State,
            records::{Instance, Verb},
        },
    },
    Engine, Provisioned, Refusal, RequestContext, Status,
    audit::Audit,
    driver::Run,
    offering_check::required,
    operation::{Busy, Next, Request, Scope, Work},
    parameters::given,
};
use crate::osb::{InstanceId, Object, ProvisionRequest};

impl Engine {
    pub(crate) async fn provision(
        &self,
        context: RequestContext,
        id: InstanceId,
        request: ProvisionRequest,
    ) -> Result<Provisioned, Refusal> {
        let audit = Audit::of("provision", &context, &id, None);
        self.perform(context, audit, move |scope| Wanted::checked(scope, id, request)).await
    }
}

/// A request for an instance.
struct Wanted {
    spec: InstanceSpec,
    described: Described,
}

impl Wanted {
    fn checked(scope: &Scope<'_>, id: InstanceId, request: ProvisionRequest) -> Result<Self, Refusal> {
        let offered = scope.engine.offer.plan(&request.service_id, &request.plan_id)?;
        required("organization_guid", &request.organization_guid)?;
        required("space_guid", &request.space_guid)?;
        offered.check_maintenance_info(request.maintenance_info.as_ref())?;
        let provider = scope.engine.provider(offered.server)?;
        scope.require_polling(Verb::Provision, &request.service_id, &request.plan_id)?;
        let mut spec = spec(id, request, offered.maintenance_version());
        spec.settled = provider.settled(Past::None, &spec);
        Ok(Self { described: provider.described(&spec), spec })
    }
}

#[async_trait]
impl Request for Wanted {
    type Work = Provision;
    type Answer = Provisioned;

    fn instance(&self) -> &InstanceId {
        &self.spec.id
    }

    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal> {
        let Some(found) = scope.engine.records.instance(&self.spec.id).await? else { return Ok(Busy::Wait) };
        same_instance(&found, &self.spec)?;
        scope.busy_with(self, &found.operation)
    }

    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal> {
        let Some(found) = scope.engine.records.instance(&self.spec.id).await? else {
            return Ok(Next::begin(self.spec.clone(), self.new_instance(scope)?));
        };
        same_instance(&found, &self.spec)?;
        match found.state {
            State::Ready => {
                scope.engine.confirm(&found.server, &found.spec, None).await?;
                Ok(Next::Answer(Vec::new(), self.answer(Status::Already, None)))
            }
            State::Deleting | State::Updating => Err(Refusal::Concurrency(found.spec.id)),
            State::Creating | State::Failed => {
                Ok(Next::begin(found.spec.clone(), scope.create_again(found, Verb::Provision)))
            }
        }
    }

    fn answer(&self, status: Status, _done: Option<()>) -> Provisioned {
        Provisioned { status, described: self.described.clone() }
    }
}

impl Wanted {
    /// Checks the request and creates the record of a new instance.
    fn new_instance(&self, scope: &Scope<'_>) -> Result<Instance, Refusal> {
        let offered = scope.engine.offer.plan(&self.spec.service_id, &self.spec.plan_id)?;
        offered.schemas.check_create(&given(&self.spec.parameters))?;
        scope.engine.provider(offered.server)?.check_instance(&self.spec)?;
        Ok(Instance {
            spec: self.spec.clone(),
            server: offered.server.clone(),
            state: State::Creating,
            change: None,
            operation: scope.operation(Verb::Provision),
            former: None,
            past: Vec::new(),
            was_never_ready: true,
        })
    }
}

pub(super) struct Provision;

#[async_trait]
impl Work for Provision {
    type Record = Instance;
    type Done = ();
    const VERB: Verb = Verb::Provision;

    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<(), Refusal> {
        let provider = run.engine.provider(run.server)?;
        Ok(run.drive(record, || provider.provision(run.on)).await?)
    }
}

fn spec(id: InstanceId, request: ProvisionRequest, maintenance_version: Option<String>) -> InstanceSpec {
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

/// Rejects a request that reuses an id for another instance. The context may differ, and the version is the plan's.
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
