//! Reads: instances, bindings, and the state of operations.

use super::{
    super::{
        backends::{Bound, Described},
        store::{
            Key, State,
            records::{Operation, Outcome, PastOperation, Verb},
        },
    },
    Caller, Engine, Refusal,
    audit::{Audit, AuditOutcome},
    no_binding, no_instance,
    tombstone::Tombstone,
};
use crate::osb::{BindingId, FetchedInstance, InstanceId, LastOperation, Object, OperationState};

/// A binding as a platform may read it.
#[derive(Debug, PartialEq)]
pub(crate) struct FetchedBinding {
    pub(crate) bound: Bound,
    pub(crate) parameters: Object,
}

impl AuditOutcome for FetchedBinding {
    fn label(&self) -> &'static str {
        "done"
    }
}

impl Engine {
    /// A ready instance.
    pub(crate) async fn instance(&self, id: &InstanceId) -> Result<FetchedInstance, Refusal> {
        let found = self.0.records.instance(id).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(no_instance(id)))?;
        match found.state {
            State::Ready => {}
            State::Updating => return Err(Refusal::Concurrency(id.clone())),
            State::Creating | State::Failed | State::Deleting => {
                return Err(Refusal::NotFound(format!("service instance {id} is not provisioned in full")));
            }
        }
        let described = self.0.provider(&found.server)?.described(&found.spec);
        let Described { dashboard_url, metadata } = described;
        let spec = found.spec;
        let version = spec.maintenance_version;
        Ok(FetchedInstance {
            service_id: spec.service_id,
            plan_id: spec.plan_id,
            dashboard_url,
            parameters: Some(spec.parameters).filter(|parameters| !parameters.is_empty()),
            maintenance_info: version.map(|version| serde_json::json!({ "version": version })),
            metadata,
        })
    }

    /// A ready binding with its credentials.
    pub(crate) async fn binding(
        &self,
        caller: Caller,
        instance: InstanceId,
        id: BindingId,
    ) -> Result<FetchedBinding, Refusal> {
        let audit = Audit { verb: "fetch", caller, instance: instance.clone(), binding: Some(id.clone()) };
        self.audited(audit, async move |engine| {
            let on = engine.records.instance(&instance).await?;
            let found = engine.records.binding(&instance, &id).await?;
            // The delete of the instance may have revoked the binding.
            let is_deleting = on.is_none_or(|on| on.state == State::Deleting);
            let found = found.filter(|found| found.state == State::Ready && !is_deleting);
            let found = found.ok_or_else(|| Refusal::NotFound(no_binding(&instance, &id)))?;
            let bound = found.bound.ok_or(Refusal::Interrupted)?;
            Ok(FetchedBinding { bound, parameters: found.spec.parameters })
        })
        .await
    }

    /// The state of an operation on an instance: the named operation, or the latest one.
    pub(crate) async fn last_operation(
        &self,
        id: &InstanceId,
        named: Option<&str>,
    ) -> Result<LastOperation, Refusal> {
        match self.0.records.instance(id).await? {
            Some(found) => operation_state(&found.operation, found.former.as_ref(), &found.past, named),
            None => self.tombstone(&Key::instance(id), named, no_instance(id)).await,
        }
    }

    /// The state of an operation on a binding: the named operation, or the latest one.
    pub(crate) async fn last_binding_operation(
        &self,
        instance: &InstanceId,
        id: &BindingId,
        named: Option<&str>,
    ) -> Result<LastOperation, Refusal> {
        match self.0.records.binding(instance, id).await? {
            Some(found) => operation_state(&found.operation, found.former.as_ref(), &found.past, named),
            None => self.tombstone(&Key::binding(instance, id), named, no_binding(instance, id)).await,
        }
    }

    /// The state of an operation on something that was deleted. The specification allows 410 and success, but some
    /// clients accept only one of them; those that accept only 410 name the operation.
    async fn tombstone(
        &self,
        key: &Key,
        named: Option<&str>,
        gone: String,
    ) -> Result<LastOperation, Refusal> {
        let tombstone = self.0.records.store.tombstone(key).await?;
        let tombstone = Tombstone::read(&tombstone.ok_or_else(|| Refusal::NotFound(gone.clone()))?);
        if named == Some(tombstone.delete.as_str()) {
            return Err(Refusal::Gone(gone));
        }
        if named.is_some_and(|named| tombstone.failed.iter().any(|failed| failed == named)) {
            return Ok(failed_before());
        }
        Ok(LastOperation { state: OperationState::Succeeded, ..LastOperation::default() })
    }
}

fn operation_state(
    last: &Operation,
    former: Option<&Operation>,
    past: &[PastOperation],
    named: Option<&str>,
) -> Result<LastOperation, Refusal> {
    let Some(named) = named.filter(|named| *named != last.id) else { return Ok(progress(last)) };
    if let Some(former) = former.filter(|former| former.id == named) {
        // An earlier operation without an outcome ended when the next one began.
        return Ok(if former.is_in_progress() { failed_before() } else { progress(former) });
    }
    match past.iter().find(|operation| operation.id == named) {
        Some(PastOperation { succeeded: true, .. }) => {
            Ok(LastOperation { state: OperationState::Succeeded, ..LastOperation::default() })
        }
        Some(_) => Ok(failed_before()),
        None => Err(Refusal::Invalid(format!(
            "operation {named:?} is not known; leave it out to ask for the last one"
        ))),
    }
}

/// A failed operation whose other details are no longer recorded.
fn failed_before() -> LastOperation {
    LastOperation {
        state: OperationState::Failed,
        description: Some(
            "failed, or was halted for a delete; what it left is deleted with the rest".to_owned(),
        ),
        ..LastOperation::default()
    }
}

/// The operation in the specification's terms.
fn progress(operation: &Operation) -> LastOperation {
    let (state, description) = match &operation.outcome {
        Outcome::InProgress(at) => (OperationState::InProgress, at.clone()),
        Outcome::Succeeded => (OperationState::Succeeded, None),
        Outcome::Failed(why) => (OperationState::Failed, Some(why.clone())),
    };
    let is_failed = state == OperationState::Failed;
    LastOperation {
        state,
        description,
        // A failed update has been reverted; a partly deleted instance is unusable.
        instance_usable: match operation.verb {
            Verb::Update => is_failed.then_some(true),
            Verb::Deprovision => is_failed.then_some(false),
            Verb::Provision | Verb::Bind | Verb::Unbind => None,
        },
        update_repeatable: (is_failed && operation.verb == Verb::Update).then_some(true),
    }
}
