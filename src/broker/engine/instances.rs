//! Operations on instances.

use serde_json::Value;

use super::{
    super::store::{Instance, State},
    Caller, Engine, Refusal, Shared,
    audit::Audit,
    parameters, required,
};
use crate::osb::{
    InstanceId, LastOperation, Object, OperationState, Plan, PlanId, ProvisionRequest, ServiceId,
};

/// What of an instance is to become otherwise; what is left out stays.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: Option<PlanId>,
    pub(crate) parameters: Option<Object>,
    pub(crate) maintenance_info: Option<Value>,
}

/// An instance as a platform may read it.
#[derive(Debug, PartialEq)]
pub(crate) struct FetchedInstance {
    pub(crate) service_id: ServiceId,
    pub(crate) plan_id: PlanId,
    pub(crate) parameters: Object,
}

impl Engine {
    /// Makes an instance; `true` when it was not there in full before.
    pub(crate) async fn provision(
        &self,
        caller: Caller,
        id: InstanceId,
        request: ProvisionRequest,
    ) -> Result<bool, Refusal> {
        let audit = Audit { verb: "provision", caller, instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.provision(id, request).await).await
    }

    /// Changes an instance: succeeds when nothing changes, for nothing can be changed.
    pub(crate) async fn update(&self, caller: Caller, id: InstanceId, update: Update) -> Result<(), Refusal> {
        let audit = Audit { verb: "update", caller, instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.update(id, update).await).await
    }

    /// Removes an instance and its bindings.
    pub(crate) async fn deprovision(
        &self,
        caller: Caller,
        id: InstanceId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<(), Refusal> {
        let audit = Audit { verb: "deprovision", caller, instance: id.clone(), binding: None };
        self.audited(audit, async move |engine| engine.deprovision(&id, &service_id, &plan_id).await).await
    }

    /// An instance that is there in full.
    pub(crate) async fn instance(&self, id: &InstanceId) -> Result<FetchedInstance, Refusal> {
        match self.0.store.instance(id).await? {
            Some(Instance { state: State::Ready, service_id, plan_id, parameters, .. }) => {
                Ok(FetchedInstance { service_id, plan_id, parameters })
            }
            Some(_) => Err(Refusal::NotFound(format!("service instance {id} is not provisioned in full"))),
            None => Err(Refusal::NotFound(format!("there is no service instance {id}"))),
        }
    }

    /// How far the last operation on an instance is.
    pub(crate) async fn last_operation(&self, id: &InstanceId) -> Result<LastOperation, Refusal> {
        let record = self.0.store.instance(id).await?;
        let record = record.ok_or_else(|| Refusal::Gone(format!("there is no service instance {id}")))?;
        Ok(self.progress(id, record.state))
    }

    /// The specification's word for a recorded state.
    pub(super) fn progress(&self, instance: &InstanceId, state: State) -> LastOperation {
        let (state, description) = match state {
            State::Ready => (OperationState::Succeeded, None),
            _ if self.0.locks.is_held(instance) => (OperationState::InProgress, None),
            State::Creating => {
                (OperationState::Failed, Some("creation did not end; repeat the request, or delete"))
            }
            State::Deleting => {
                (OperationState::InProgress, Some("deletion did not end yet; it is tried again"))
            }
        };
        LastOperation { state, description: description.map(ToOwned::to_owned) }
    }
}

impl Shared {
    async fn provision(&self, id: InstanceId, request: ProvisionRequest) -> Result<bool, Refusal> {
        let offered = self.offered(&request.service_id, &request.plan_id)?;
        required("organization_guid", &request.organization_guid)?;
        required("space_guid", &request.space_guid)?;
        check_maintenance_info(offered.plan, request.maintenance_info.as_ref())?;
        let mut record = Instance {
            id: id.clone(),
            service_id: request.service_id,
            plan_id: request.plan_id,
            organization_guid: request.organization_guid,
            space_guid: request.space_guid,
            parameters: parameters(request.parameters),
            server: offered.server.clone(),
            state: State::Creating,
        };
        let _held = self.locks.try_hold(&id).ok_or_else(|| Refusal::Concurrency(id.clone()))?;
        if let Some(found) = self.store.instance(&id).await? {
            if let Some(field) = difference(&found, &record) {
                return Err(Refusal::Conflict(format!("service instance {id} exists with another {field}")));
            }
            match found.state {
                State::Ready => return Ok(false),
                State::Deleting => return Err(Refusal::Concurrency(id)),
                // It stays where it was begun, whatever its plan says by now.
                State::Creating => record.server = found.server,
            }
        } else {
            self.provider(&record.server)?.check_parameters(&record.parameters)?;
            self.store.put_instance(&record).await?;
        }
        self.provider(&record.server)?.provision(&id).await?;
        record.state = State::Ready;
        self.store.put_instance(&record).await?;
        Ok(true)
    }

    async fn update(&self, id: InstanceId, update: Update) -> Result<(), Refusal> {
        self.offering(&update.service_id)?;
        let asked = update.plan_id.as_ref().map(|plan| self.offered(&update.service_id, plan)).transpose()?;
        let _held = self.locks.try_hold(&id).ok_or_else(|| Refusal::Concurrency(id.clone()))?;
        let found = self.store.instance(&id).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no service instance {id}")))?;
        if found.service_id != update.service_id {
            let of = &found.service_id;
            return Err(Refusal::Invalid(format!("service instance {id} is of service_id {of}")));
        }
        if found.state != State::Ready {
            return Err(Refusal::NotReady(format!("service instance {id} is not provisioned in full")));
        }
        if update.plan_id.is_some_and(|plan| plan != found.plan_id) {
            return Err(Refusal::Unsupported(format!(
                "the plan of service instance {id} cannot be changed; provision another instance"
            )));
        }
        if let Some(asked) = asked {
            check_maintenance_info(asked.plan, update.maintenance_info.as_ref())?;
        } else if update.maintenance_info.is_some() {
            let offered = self.offered(&found.service_id, &found.plan_id)?;
            check_maintenance_info(offered.plan, update.maintenance_info.as_ref())?;
        }
        let is_new = |(key, value): (&String, &Value)| found.parameters.get(key) != Some(value);
        if update.parameters.iter().flatten().any(is_new) {
            return Err(Refusal::Unsupported(format!(
                "the parameters of service instance {id} cannot be changed; provision another instance"
            )));
        }
        Ok(())
    }

    async fn deprovision(
        &self,
        id: &InstanceId,
        service_id: &ServiceId,
        plan_id: &PlanId,
    ) -> Result<(), Refusal> {
        required("service_id", service_id.as_str())?;
        required("plan_id", plan_id.as_str())?;
        let _held = self.locks.try_hold(id).ok_or_else(|| Refusal::Concurrency(id.clone()))?;
        let record = self.store.instance(id).await?;
        let record = record.ok_or_else(|| Refusal::Gone(format!("there is no service instance {id}")))?;
        same_ids(
            &format!("service instance {id}"),
            (&record.service_id, &record.plan_id),
            (service_id, plan_id),
        )?;
        self.remove_instance(record).await
    }

    /// Removes an instance, its bindings first. The caller holds its lock.
    pub(super) async fn remove_instance(&self, mut record: Instance) -> Result<(), Refusal> {
        let provider = self.provider(&record.server)?;
        if record.state != State::Deleting {
            record.state = State::Deleting;
            self.store.put_instance(&record).await?;
        }
        for binding in self.store.bindings(&record.id).await? {
            tracing::warn!(instance = %record.id, binding = %binding.id, "the instance is deleted with this binding on it");
            self.remove_binding(provider, binding).await?;
        }
        provider.deprovision(&record.id).await?;
        self.store.remove_instance(&record.id).await?;
        Ok(())
    }
}

/// The attribute in which a request differs from the record of its id.
fn difference(found: &Instance, asked: &Instance) -> Option<&'static str> {
    [
        ("service_id", found.service_id != asked.service_id),
        ("plan_id", found.plan_id != asked.plan_id),
        ("organization_guid", found.organization_guid != asked.organization_guid),
        ("space_guid", found.space_guid != asked.space_guid),
        ("parameters", found.parameters != asked.parameters),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

/// A delete names what it deletes; other ids are another platform's mistake, and nothing is deleted.
pub(super) fn same_ids(
    what: &str,
    record: (&ServiceId, &PlanId),
    request: (&ServiceId, &PlanId),
) -> Result<(), Refusal> {
    if record == request {
        return Ok(());
    }
    Err(Refusal::Invalid(format!("{what} is of service_id {} and plan_id {}", record.0, record.1)))
}

fn check_maintenance_info(plan: &Plan, given: Option<&Value>) -> Result<(), Refusal> {
    let version =
        |info: &Value| info.get("version").and_then(|version| version.as_str()).map(ToOwned::to_owned);
    let Some(given) = given else { return Ok(()) };
    let (given, offered) = (version(given), plan.maintenance_info.as_ref().and_then(version));
    if given.is_some() && given == offered {
        return Ok(());
    }
    let shown = |version: Option<String>| version.unwrap_or_else(|| "none".to_owned());
    Err(Refusal::MaintenanceInfo { given: shown(given), offered: shown(offered) })
}
