//! Operations on bindings.

use std::sync::Arc;

use super::{
    super::{
        services::Provider,
        store::{Binding, State},
    },
    Caller, Engine, Refusal, Shared,
    audit::Audit,
    instances::same_ids,
    parameters, required,
};
use crate::osb::{BindRequest, BindingId, Credentials, InstanceId, LastOperation, Object, PlanId, ServiceId};

/// A binding that is there in full.
#[derive(Debug, PartialEq)]
pub(crate) struct Bound {
    /// Whether this request made it.
    pub(crate) created: bool,
    pub(crate) credentials: Credentials,
    pub(crate) parameters: Object,
}

impl Engine {
    /// Makes a binding.
    pub(crate) async fn bind(
        &self,
        caller: Caller,
        instance: InstanceId,
        id: BindingId,
        request: BindRequest,
    ) -> Result<Bound, Refusal> {
        let audit = Audit { verb: "bind", caller, instance: instance.clone(), binding: Some(id.clone()) };
        self.audited(audit, async move |engine| engine.bind(instance, id, request).await).await
    }

    /// Revokes a binding.
    pub(crate) async fn unbind(
        &self,
        caller: Caller,
        instance: InstanceId,
        id: BindingId,
        service_id: ServiceId,
        plan_id: PlanId,
    ) -> Result<(), Refusal> {
        let audit = Audit { verb: "unbind", caller, instance: instance.clone(), binding: Some(id.clone()) };
        self.audited(audit, async move |engine| engine.unbind(&instance, &id, &service_id, &plan_id).await)
            .await
    }

    /// A binding that is there in full.
    pub(crate) async fn binding(&self, instance: &InstanceId, id: &BindingId) -> Result<Bound, Refusal> {
        let record = self.0.store.binding(instance, id).await?;
        let record = record.filter(|record| record.state == State::Ready);
        let record = record
            .ok_or_else(|| Refusal::NotFound(format!("there is no service binding {id} of {instance}")))?;
        self.0.bound(record)
    }

    /// How far the last operation on a binding is.
    pub(crate) async fn last_binding_operation(
        &self,
        instance: &InstanceId,
        id: &BindingId,
    ) -> Result<LastOperation, Refusal> {
        let record = self.0.store.binding(instance, id).await?;
        let record =
            record.ok_or_else(|| Refusal::Gone(format!("there is no service binding {id} of {instance}")))?;
        Ok(self.progress(instance, record.state))
    }
}

impl Shared {
    async fn bind(
        &self,
        instance: InstanceId,
        id: BindingId,
        request: BindRequest,
    ) -> Result<Bound, Refusal> {
        let offered = self.offered(&request.service_id, &request.plan_id)?;
        if !offered.plan.bindable.unwrap_or(offered.service.bindable) {
            return Err(Refusal::Invalid(format!(
                "plan {} of service {} is not bindable",
                offered.plan.name, offered.service.name
            )));
        }
        let parameters = parameters(request.parameters);
        let _held = self.locks.try_hold(&instance).ok_or_else(|| Refusal::Concurrency(instance.clone()))?;
        let on = self.store.instance(&instance).await?;
        let on = on.ok_or_else(|| Refusal::NotFound(format!("there is no service instance {instance}")))?;
        let provider = self.provider(&on.server)?;

        let mut record = if let Some(found) = self.store.binding(&instance, &id).await? {
            let same = found.service_id == request.service_id && found.plan_id == request.plan_id;
            if !same || found.parameters != parameters {
                let what = if same { "parameters" } else { "service_id or plan_id" };
                return Err(Refusal::Conflict(format!("service binding {id} exists with other {what}")));
            }
            match found.state {
                State::Ready => return self.bound(found),
                State::Deleting => return Err(Refusal::Concurrency(instance)),
                State::Creating => found,
            }
        } else {
            let what = format!("service instance {instance}");
            same_ids(&what, (&on.service_id, &on.plan_id), (&request.service_id, &request.plan_id))?;
            provider.check_parameters(&parameters)?;
            Binding {
                instance: instance.clone(),
                id: id.clone(),
                service_id: request.service_id,
                plan_id: request.plan_id,
                parameters,
                state: State::Creating,
                credentials: None,
            }
        };
        if on.state != State::Ready {
            return Err(Refusal::NotReady(format!(
                "service instance {instance} is not provisioned in full; repeat its provisioning first"
            )));
        }
        self.store.put_binding(&record).await?;
        let credentials = provider.bind(&instance, &id).await?;
        record.credentials = Some(self.cipher.seal(&instance, &id, &credentials));
        record.state = State::Ready;
        self.store.put_binding(&record).await?;
        Ok(Bound { created: true, credentials, parameters: record.parameters })
    }

    async fn unbind(
        &self,
        instance: &InstanceId,
        id: &BindingId,
        service_id: &ServiceId,
        plan_id: &PlanId,
    ) -> Result<(), Refusal> {
        let _held = self.locks.try_hold(instance).ok_or_else(|| Refusal::Concurrency(instance.clone()))?;
        let gone = || Refusal::Gone(format!("there is no service binding {id} of {instance}"));
        let record = self.store.binding(instance, id).await?.ok_or_else(gone)?;
        // After looking: strict clients expect 410 for what never was, whatever else is wrong.
        required("service_id", service_id.as_str())?;
        required("plan_id", plan_id.as_str())?;
        same_ids(
            &format!("service binding {id}"),
            (&record.service_id, &record.plan_id),
            (service_id, plan_id),
        )?;
        let on = self.store.instance(instance).await?.ok_or_else(gone)?;
        self.remove_binding(self.provider(&on.server)?, record).await
    }

    /// Revokes a binding. The caller holds its instance's lock.
    pub(super) async fn remove_binding(
        &self,
        provider: &Arc<dyn Provider>,
        mut record: Binding,
    ) -> Result<(), Refusal> {
        if record.state != State::Deleting {
            record.state = State::Deleting;
            self.store.put_binding(&record).await?;
        }
        provider.unbind(&record.instance, &record.id).await?;
        self.store.remove_binding(&record.instance, &record.id).await?;
        Ok(())
    }

    fn bound(&self, record: Binding) -> Result<Bound, Refusal> {
        let sealed = record.credentials.as_ref().ok_or(Refusal::Interrupted)?;
        let credentials = self.cipher.open(&record.instance, &record.id, sealed)?;
        Ok(Bound { created: false, credentials, parameters: record.parameters })
    }
}
