//! Creates the credentials of a binding: waits for the instance, checks that the Secrets' names are free, records the
//! ExternalResource, asks the broker and writes the Secrets. The same steps restore lost or changed Secrets, because
//! a broker answers a repeated bind with the same credentials.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, NotBound, Remedy, deadline, expiry,
    offer::{known_offer, named_variables},
    preparation::Preparation,
    request_credentials::request_credentials,
    revoke_unusable::revoke_unusable,
    rotation, spec_drift, taken_over,
};
use crate::{
    apis::servicecatalog::{
        ConditionType, ServiceBinding, ServiceBindingStatus, binding::BindingOperation,
        instance::ReleaseStatus, reasons,
    },
    bindings::secrets,
    catalog::{
        context::{Context, NamespaceState},
        reconcile::{
            Next, ReconcileError,
            deadline::{Limits, longest_polling},
            has_finalizer, namespace_termination, now, patch, status, with_finalizer,
        },
    },
    contract::binding as contract,
    k8s::is_for_terminating_namespace,
};

/// The wait for a namespace that the watch has not seen yet. The namespace's appearance ends the wait.
const UNKNOWN_NAMESPACE_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn reconcile(binding: &ServiceBinding, context: &Context) -> Result<Next, ReconcileError> {
    let namespace = binding.namespace().unwrap_or_default();
    match context.namespace(&namespace) {
        NamespaceState::Terminating { since } => {
            return namespace_termination::binding(binding, since, context).await;
        }
        NamespaceState::Unknown => return Ok(Next::After(UNKNOWN_NAMESPACE_WAIT)),
        NamespaceState::Active { .. } => {}
    }
    let old = binding.status.clone().unwrap_or_default();
    if old.conditions.is_true(ConditionType::Failed)
        && !old.orphan_mitigation_in_progress
        && Some(old.reconciled_generation) == binding.metadata.generation
    {
        return Ok(Next::AwaitChange);
    }
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    let binding = &prepare(context, &api, binding).await?;
    let changed = spec_drift::changed(&binding.spec, &old);
    if !changed.is_empty() {
        let mut new = old.clone();
        let is_ready = old.conditions.is_true(ConditionType::Ready);
        status::set_ready(&mut new, is_ready, reasons::SPEC_CHANGE_IGNORED, spec_drift::message(&changed));
        status::write(context, &api, binding, &old, new).await?;
        return Ok(Next::AwaitChange);
    }
    if let Some(next) = settled(binding, context, &api, &old).await? {
        return Box::pin(rotation::step(binding, context, &api, next)).await;
    }
    let uid = binding.uid().unwrap_or_default();
    let (mut old, mut new) = (old.clone(), old);
    let next = match bind(binding, context, &api, &mut old, &mut new).await {
        Ok(()) => {
            new.check_request = asked(binding);
            let wait = expiry::or_expiry(context.secret_checks.checked(&uid), &new, now().0);
            rotation::sooner(Next::After(wait), binding, &new, context)
        }
        Err(Failure::Cluster(error)) => return in_a_living_namespace(error),
        Err(Failure::NotBound(not_bound)) => {
            let polling =
                known_offer(binding, context).and_then(|offer| longest_polling(offer.plan.as_ref()));
            let limits = Limits { retries: context.retry_duration, polling };
            let not_bound = deadline::or_given_up(not_bound, &mut new, limits, now().0);
            if matches!(not_bound.remedy, Remedy::Watched) && expiry::is_expiry(&not_bound) {
                new.check_request = asked(binding);
            }
            report(not_bound, binding, &mut new)
        }
    };
    status::write(context, &api, binding, &old, new).await?;
    Ok(next)
}

/// What to do with a binding that needs nothing from the broker: its credentials have expired, or its Secrets are as they were
/// written.
async fn settled(
    binding: &ServiceBinding,
    context: &Context,
    api: &Api<ServiceBinding>,
    old: &ServiceBindingStatus,
) -> Result<Option<Next>, ReconcileError> {
    let secrets: Api<Secret> =
        Api::namespaced(context.client.clone(), &binding.namespace().unwrap_or_default());
    let uid = binding.uid().unwrap_or_default();
    let is_requested = asked(binding).is_some_and(|asked| old.check_request.as_ref() != Some(&asked));
    let names = named_variables(binding, context);
    let has_ended = expiry::time_left(old, now().0).is_some_and(|left| left.is_zero());
    if has_ended && !is_requested {
        let mut new = old.clone();
        if !expiry::is_reported(old) {
            expiry::set_expired(&mut new);
        }
        status::write(context, api, binding, old, new).await?;
        return Ok(Some(Next::AwaitChange));
    }
    let is_reported = spec_drift::is_reported(old);
    let is_ready = old.conditions.is_true(ConditionType::Ready);
    if is_ready && old.secrets.is_empty() {
        // Another controller bound it. `bindery migrate` records the ExternalResource, which enqueues the binding.
        let is_recorded = taken_over::is_recorded(binding, context);
        return Ok(if is_recorded { None } else { Some(Next::AwaitChange) });
    }
    if is_ready && !is_reported && names.is_what_is_written(old) {
        let mut new = old.clone();
        names.note(&mut new);
        let mut wait = context.secret_checks.until_due(&uid);
        if wait.is_zero() || is_requested {
            if !secrets::untouched(&secrets, binding, &old.secrets).await? {
                return Ok(None);
            }
            wait = context.secret_checks.checked(&uid);
            new.check_request = asked(binding);
        }
        status::write(context, api, binding, old, new).await?;
        return Ok(Some(Next::After(expiry::or_expiry(wait, old, now().0))));
    }
    Ok(None)
}

/// The value of the annotation that asks for a check of the Secrets.
fn asked(binding: &ServiceBinding) -> Option<String> {
    binding.annotations().get(contract::RECONCILE).cloned()
}

/// Puts the reason into the status, and decides when to try again.
fn report(not_bound: NotBound, binding: &ServiceBinding, new: &mut ServiceBindingStatus) -> Next {
    let NotBound { reason, message, remedy } = not_bound;
    let remedy = match remedy {
        // The plan can no longer be bound, but the credentials work.
        Remedy::Never if reason == reasons::ERROR_NONBINDABLE_SERVICE_CLASS && !new.secrets.is_empty() => {
            Remedy::Watched
        }
        remedy => remedy,
    };
    match remedy {
        Remedy::Never => {
            status::set_failed(new, reason, &message);
            if reason == reasons::ERROR_NONBINDABLE_SERVICE_CLASS {
                new.conditions.set(ConditionType::Failed, true, reason, message, now().0);
            }
            new.current_operation = None;
            new.operation_start_time = None;
            new.polling_start_time = None;
            new.in_progress_properties = None;
            new.reconciled_generation = binding.metadata.generation.unwrap_or_default();
            return Next::AwaitChange;
        }
        // A failure for good stays visible during the mitigation.
        Remedy::Mitigate(_) => new.conditions.set(ConditionType::Ready, false, reason, message, now().0),
        Remedy::Watched | Remedy::Retry | Remedy::After(_) => status::set_ready(new, false, reason, message),
    }
    match remedy {
        Remedy::Watched | Remedy::Never => Next::AwaitChange,
        Remedy::Retry | Remedy::Mitigate(None) => Next::Retry,
        Remedy::After(wait) | Remedy::Mitigate(Some(wait)) => Next::After(wait),
    }
}

/// A terminating namespace accepts no new objects; this is not an error.
fn in_a_living_namespace(error: ReconcileError) -> Result<Next, ReconcileError> {
    if let ReconcileError::Cluster(kube::Error::Api(status)) = &error
        && is_for_terminating_namespace(status)
    {
        return Ok(Next::AwaitChange);
    }
    Err(error)
}

/// Completes the binding in one step: the finalizer (only before the binding is first reconciled, so that it is never
/// put back), the id, and the Secret's name.
async fn prepare(
    context: &Context,
    api: &Api<ServiceBinding>,
    binding: &ServiceBinding,
) -> Result<ServiceBinding, ReconcileError> {
    let mut changes = json!({});
    if binding.status.is_none() && !has_finalizer(binding) {
        changes["metadata"] = json!({"finalizers": with_finalizer(binding)});
    }
    if binding.spec.external_id.is_none() {
        let id = former_id(context, binding).unwrap_or_else(|| Uuid::new_v4().to_string());
        changes["spec"]["externalID"] = json!(id);
    }
    if binding.spec.secret_name.is_none() {
        changes["spec"]["secretName"] = json!(binding.name_any());
    }
    if changes == json!({}) {
        return Ok(binding.clone());
    }
    Ok(patch(context, api, binding, changes).await?)
}

/// The id under which a broker was asked before. A client that replaces the object, while the webhook is away, drops the id from
/// the spec.
fn former_id(context: &Context, binding: &ServiceBinding) -> Option<String> {
    binding.status.as_ref()?;
    context.ledger.of_binding(binding).into_iter().find_map(|held| held.spec.binding_id.clone())
}

/// Takes all steps in order.
async fn bind(
    binding: &ServiceBinding,
    context: &Context,
    bindings: &Api<ServiceBinding>,
    old: &mut ServiceBindingStatus,
    new: &mut ServiceBindingStatus,
) -> Result<(), Failure> {
    new.unbind_status.get_or_insert(ReleaseStatus::NotRequired);
    let prepared = Preparation::of(binding, context, new).await?;
    let (response, data) = match taken_over::content(binding, &prepared.existing, old, context).await? {
        Some(content) => {
            new.spec_checksums = spec_drift::checksums(&binding.spec);
            content
        }
        None => {
            new.current_operation = Some(BindingOperation::Bind);
            status::start(new);
            let response =
                request_credentials(&prepared.request(binding, context, bindings), old, new).await?;
            match prepared.data(binding, &response) {
                Ok(data) => (response, data),
                Err(error) => return Err(revoke_unusable(binding, context, error, new).await),
            }
        }
    };
    if old.secrets.is_empty() {
        new.rotation_request = rotation::asked(binding).map(str::to_owned);
    }
    prepared.write(binding, context, &response, data, new).await?;
    new.external_properties = new.in_progress_properties.take().or(new.external_properties.take());
    new.current_operation = None;
    new.operation_start_time = None;
    new.polling_start_time = None;
    new.reconciled_generation = binding.metadata.generation.unwrap_or_default();
    if expiry::time_left(new, now().0).is_some_and(|left| left.is_zero()) {
        return Err(expiry::condition(new).into());
    }
    status::set_ready(new, true, reasons::INJECTED_BIND_RESULT, "Injected bind result");
    Ok(())
}
