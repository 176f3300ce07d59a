//! Creates the credentials of a binding: waits for the instance, checks that the Secrets' names are free, records the
//! ExternalResource, asks the broker and writes the Secrets. The same steps restore lost or changed Secrets, because
//! a broker answers a repeated bind with the same credentials.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, NotBound, Remedy, content, expiry,
    offer::{named_variables, offer, variables_checksum},
    request_credentials::request_credentials,
    revoke_unusable::revoke_unusable,
    write_secrets::{Content, write_secrets},
};
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResource, ExternalResourceKind, ServiceBinding, ServiceBindingStatus,
        ServiceInstance,
        binding::BindingOperation,
        instance::{ProvisionStatus, ReleaseStatus},
        reasons,
    },
    bindings::{secret_extras::Extras, secrets, variables::Variables},
    catalog::{
        context::{Context, NamespaceState},
        names::did_you_mean,
        reconcile::{
            Next, ReconcileError, has_finalizer, namespace_termination, now, patch, status, with_finalizer,
        },
    },
    contract::binding as contract,
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
        && Some(old.reconciled_generation) == binding.metadata.generation
    {
        return Ok(Next::AwaitChange);
    }
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let uid = binding.uid().unwrap_or_default();
    let asked = binding.annotations().get(contract::RECONCILE).map(String::as_str);
    let names = named_variables(binding, context);
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    let has_ended = expiry::time_left(&old, now().0).is_some_and(|left| left.is_zero());
    if has_ended && !context.secret_checks.is_requested(&uid, asked) {
        let mut new = old.clone();
        if !expiry::is_reported(&old) {
            expiry::set_expired(&mut new);
        }
        status::write(context, &api, binding, &old, new).await?;
        return Ok(Next::AwaitChange);
    }
    if old.conditions.is_true(ConditionType::Ready) && names.is_what_is_written(&old) {
        let wait = context.secret_checks.until_due(&uid, asked);
        if !wait.is_zero() {
            names.noted(context, &api, binding, &old).await?;
            return Ok(Next::After(expiry::or_expiry(wait, &old, now().0)));
        }
        if secrets::untouched(&secrets, binding, &old.secrets).await? {
            let wait = context.secret_checks.checked(&uid, asked);
            names.noted(context, &api, binding, &old).await?;
            return Ok(Next::After(expiry::or_expiry(wait, &old, now().0)));
        }
    }
    let binding = prepare(context, &api, binding).await?;
    let mut new = old.clone();
    let next = match bind(&binding, context, &secrets, &mut new).await {
        Ok(()) => Next::After(expiry::or_expiry(context.secret_checks.checked(&uid, asked), &new, now().0)),
        Err(Failure::Cluster(error)) => return in_a_living_namespace(error),
        Err(Failure::NotBound(NotBound { reason, message, remedy })) => match remedy {
            Remedy::Watched => {
                status::set_ready(&mut new, false, reason, message);
                if expiry::is_reported(&new) {
                    context.secret_checks.checked(&uid, asked);
                }
                Next::AwaitChange
            }
            Remedy::Retry => {
                status::set_ready(&mut new, false, reason, message);
                Next::Retry
            }
            Remedy::Never => {
                status::set_failed(&mut new, reason, &message);
                new.current_operation = None;
                new.reconciled_generation = binding.metadata.generation.unwrap_or_default();
                Next::AwaitChange
            }
        },
    };
    status::write(context, &api, &binding, &old, new).await?;
    Ok(next)
}

/// A terminating namespace accepts no new objects; this is no error.
fn in_a_living_namespace(error: ReconcileError) -> Result<Next, ReconcileError> {
    if let ReconcileError::Cluster(kube::Error::Api(status)) = &error
        && status.is_forbidden()
        && status
            .details
            .iter()
            .flat_map(|details| &details.causes)
            .any(|cause| cause.reason == "NamespaceTerminating")
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
        changes["spec"]["externalID"] = json!(Uuid::new_v4().to_string());
    }
    if binding.spec.secret_name.is_none() {
        changes["spec"]["secretName"] = json!(binding.name_any());
    }
    if changes == json!({}) {
        return Ok(binding.clone());
    }
    Ok(patch(context, api, binding, changes).await?)
}

/// Takes all steps in order.
async fn bind(
    binding: &ServiceBinding,
    context: &Context,
    api: &Api<Secret>,
    new: &mut ServiceBindingStatus,
) -> Result<(), Failure> {
    new.unbind_status.get_or_insert(ReleaseStatus::NotRequired);
    let instance = ready_instance(binding, context)?;
    let held = held(&instance, context).await?;
    let offer = offer(&held, context)?;
    let variables = Variables::find(
        binding.annotations().get(contract::ENV).map(String::as_str),
        offer.plan.common().external_metadata.as_ref(),
        offer.class.common().external_metadata.as_ref(),
        &offer.class.common().external_name,
    )?;
    let extras = Extras::parse(binding.annotations())?;
    secrets::check_names(binding)?;
    // Checked before the broker is asked, so that no credentials are made that cannot be stored.
    content::check(binding)?;
    let sources = content::read_sources(binding, context).await?;
    secrets::read(api, binding).await?;
    new.current_operation = Some(BindingOperation::Bind);
    status::start(new);
    let response = request_credentials(binding, &held, &offer, context, new).await?;
    let facts = content::facts(&extras, binding, &held, &offer);
    let data = match content::secret_data(binding, &response, &sources, facts) {
        Ok(data) => data,
        Err(error) => return Err(revoke_unusable(binding, context, error, new).await),
    };
    let variables = content::variables(&variables, &response)?;
    let content = Content { offer: &offer, response: &response, data, variables, extras };
    write_secrets(binding, &content, api, new).await?;
    new.variables_checksum = Some(variables_checksum(binding, Some(&offer)));
    new.current_operation = None;
    new.operation_start_time = None;
    new.reconciled_generation = binding.metadata.generation.unwrap_or_default();
    if expiry::time_left(new, now().0).is_some_and(|left| left.is_zero()) {
        return Err(expiry::condition(new).into());
    }
    status::set_ready(new, true, reasons::INJECTED_BIND_RESULT, "Injected bind result");
    Ok(())
}

fn ready_instance(binding: &ServiceBinding, context: &Context) -> Result<Arc<ServiceInstance>, NotBound> {
    let namespace = binding.namespace();
    let name = &binding.spec.instance_ref.name;
    let instances = context.stores.instances.state_filter(|instance| instance.namespace() == namespace);
    let Some(instance) = instances.iter().find(|instance| instance.name_any() == *name) else {
        let names: Vec<_> = instances.iter().map(|instance| instance.name_any()).collect();
        let guess = did_you_mean(name, names.iter().map(String::as_str));
        let message = format!("no ServiceInstance named {name:?} in this namespace{guess}");
        return Err(NotBound::new(reasons::REFERENCES_NONEXISTENT_INSTANCE, message, Remedy::Watched));
    };
    let not_ready = |why: String| {
        let message = format!("ServiceInstance {name:?} {why}");
        Err(NotBound::new(reasons::ERROR_INSTANCE_NOT_READY, message, Remedy::Watched))
    };
    if instance.metadata.deletion_timestamp.is_some() {
        return not_ready("is being deleted".to_owned());
    }
    let status = instance.status.as_ref();
    if status.is_some_and(|status| status.provision_status == Some(ProvisionStatus::Provisioned)) {
        return Ok(instance.clone());
    }
    let reason =
        status.map(|status| status.last_condition_state.as_str()).filter(|reason| !reason.is_empty());
    not_ready(format!("is not ready: {}; kubectl describe serviceinstance {name}", reason.unwrap_or("new")))
}

/// The ExternalResource of the instance. Only the ExternalResource proves that the broker's instance belongs to this
/// object: users can write the object's status and the objects that its spec refers to.
async fn held(instance: &ServiceInstance, context: &Context) -> Result<ExternalResource, Failure> {
    let (id, uid) = (instance.spec.external_id.as_deref(), instance.metadata.uid.as_deref());
    let external_resource =
        context.ledger.find(ExternalResourceKind::ServiceInstance, id.unwrap_or_default(), uid).await?;
    external_resource.ok_or_else(|| {
        let name = instance.name_any();
        let message = format!(
            "no ExternalResource proves that spec.externalID of ServiceInstance {name:?} belongs to it at the \
            broker; delete the instance and create it again"
        );
        NotBound::new(reasons::ERROR_INSTANCE_NOT_READY, message, Remedy::Retry).into()
    })
}
