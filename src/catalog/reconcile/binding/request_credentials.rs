//! Requests the credentials of a binding from the broker: records the ExternalResource and sends the bind request.

use std::sync::Arc;

use kube::ResourceExt;
use serde_json::json;

use super::{
    Failure, NotBound, Remedy, broker_errors::condition_of, clear_operation, conversation::Conversation,
    identity, orphans, parameters::properties, request::Request, spec_drift,
};
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ExternalResource, ExternalResourceKind, ExternalResourceSpec, ServiceBindingStatus,
            binding::BindingOperation,
            instance::ReleaseStatus,
            reasons,
            scope::{BrokerKey, BrokerObject},
        },
    },
    catalog::{
        context::Context,
        ledger::{Recorded, external_resource_name, how_to_adopt},
        reconcile::{delete_binding, delete_external, status},
    },
    osb::{BindRequest, BindResponse},
};

/// Takes the next step towards the credentials: asks the broker to create or repeat them, polls an asynchronous bind, or deletes
/// what a failed bind left. `old` is the status that the object has.
pub(super) async fn request_credentials(
    request: &Request<'_>,
    old: &mut ServiceBindingStatus,
    new: &mut ServiceBindingStatus,
) -> Result<BindResponse, Failure> {
    let Request { binding, context, .. } = *request;
    let broker = registered_broker(request)?;
    let id = binding.broker_id().unwrap_or_default();
    let spec = external_resource_spec(request, broker.as_ref(), id);
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceBinding, id)).await;
    let (external_resource, is_new) = record(spec, context).await?;
    if is_new {
        // The status describes an operation on an ExternalResource that is gone.
        new.orphan_mitigation_in_progress = false;
        clear_operation(new);
    }
    if new.orphan_mitigation_in_progress {
        return Err(orphans::mitigate(binding, &external_resource, context, new).await?.into());
    }
    let conversation = conversation(request, broker.as_ref(), id, false);
    if new.async_op_in_progress {
        return Ok(conversation.poll(new).await?);
    }
    new.unbind_status = Some(ReleaseStatus::Required);
    if let Some(predecessor) = &external_resource.spec.predecessor_id {
        return Ok(conversation.repeat_rotation(predecessor, new).await?);
    }
    new.in_progress_properties = Some(properties(binding, request.parameters));
    new.spec_checksums = spec_drift::checksums(&binding.spec);
    if new.secrets.is_empty() && old.current_operation != Some(BindingOperation::Bind) {
        let message = "Binding request for ServiceBinding in-flight to Broker";
        status::set_ready(new, false, reasons::BINDING_REQUEST_IN_FLIGHT, message);
        *old = status::write(context, request.api, binding, old, new.clone()).await?;
    }
    Ok(conversation.bind(bind_request(request, &external_resource), new).await?)
}

/// The broker of the instance.
pub(super) fn registered_broker(request: &Request<'_>) -> Result<Arc<dyn BrokerObject>, NotBound> {
    let key = request.instance.spec.broker.key();
    request.context.stores.broker(&key).ok_or_else(|| {
        let message = format!("the {key} does not exist; register it again");
        NotBound::new(reasons::REFERENCES_NONEXISTENT_BROKER, message, Remedy::Watched)
    })
}

/// The requests about the credentials with this id.
pub(super) fn conversation<'a>(
    request: &'a Request<'a>,
    broker: &'a dyn BrokerObject,
    id: &str,
    is_rotation: bool,
) -> Conversation<'a> {
    let (key, identity) = (delete_external::key(request.instance), identity(request.binding));
    Conversation { request, broker, key, id: id.into(), identity, is_rotation }
}

/// What is recorded of the binding's credentials with this id.
pub(super) fn external_resource_spec(
    request: &Request<'_>,
    broker: &dyn BrokerObject,
    id: &str,
) -> ExternalResourceSpec {
    let Request { binding, instance, context, .. } = *request;
    let namespace = binding.namespace().unwrap_or_default();
    ExternalResourceSpec {
        broker: ExternalResourceBroker::of(broker),
        kind: ExternalResourceKind::ServiceBinding,
        namespace_uid: context.namespace_uid(&namespace),
        namespace,
        space_guid: None,
        name: binding.name_any(),
        uid: binding.uid().unwrap_or_default(),
        instance_id: instance.spec.instance_id.clone(),
        binding_id: Some(id.to_owned()),
        predecessor_id: None,
        service_id: instance.spec.service_id.clone(),
        plan_id: instance.spec.plan_id.clone(),
        new_plan_id: None,
        provisioned: false,
    }
}

/// Records the ExternalResource before the first request to the broker. Deletes at the broker what was requested under the same
/// id for another plan or service.
pub(super) async fn record(
    spec: ExternalResourceSpec,
    context: &Context,
) -> Result<(ExternalResource, bool), Failure> {
    let namespace_uid = spec.namespace_uid.clone().unwrap_or_default();
    let registered = |broker: &BrokerKey| context.stores.broker(broker).is_some();
    match context.ledger.record(spec, registered).await? {
        Recorded::Ours { external_resource, is_new } => Ok((external_resource, is_new)),
        Recorded::OtherRequest(held) => {
            delete_binding::at_once(context, &held)
                .await
                .map_err(|error| condition_of(context, &held.spec.broker.key(), error))?;
            context.ledger.remove(&held).await?;
            let message =
                "the broker deleted credentials of an earlier request; bindery now asks for new ones";
            Err(NotBound::new(reasons::BIND_CALL_FAILED, message, Remedy::Retry).into())
        }
        Recorded::OtherNamespace(held) => {
            let message = format!(
                "spec.externalID is taken: {}; or delete this ServiceBinding and create it with another \
                externalID or without one",
                how_to_adopt(&held, &namespace_uid)
            );
            Err(NotBound::new(reasons::NAMESPACE_RECREATED, message, Remedy::Retry).into())
        }
        Recorded::Taken => {
            let message = "spec.externalID is the id of another ServiceBinding; delete this ServiceBinding and \
                create it with another externalID or without one";
            Err(NotBound::new(reasons::ERROR_EXTERNAL_ID_TAKEN, message, Remedy::Retry).into())
        }
    }
}

fn bind_request(request: &Request<'_>, external_resource: &ExternalResource) -> BindRequest {
    let spec = &external_resource.spec;
    BindRequest {
        service_id: spec.service_id.as_str().into(),
        plan_id: spec.plan_id.as_str().into(),
        // `binding_name` is bindery's own addition: the name of the folder in which pods find the credentials.
        context: json!({
            "platform": "kubernetes", "namespace": spec.namespace, "clusterid": request.context.cluster_id,
            "binding_name": spec.name,
        })
        .as_object()
        .cloned(),
        bind_resource: None,
        parameters: request.parameters.to_send(),
    }
}
