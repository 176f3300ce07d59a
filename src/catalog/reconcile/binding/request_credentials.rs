//! Requests the credentials of a binding from the broker: records the ExternalResource and sends the bind request.

use kube::ResourceExt;
use serde_json::json;

use super::{Failure, NotBound, Remedy, broker_errors::condition_of};
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ExternalResource, ExternalResourceKind, ExternalResourceSpec, ServiceBinding,
            ServiceBindingStatus,
            instance::ReleaseStatus,
            reasons,
            scope::{BrokerKey, BrokerObject},
        },
    },
    catalog::{
        client::{Bound, ClientError},
        connections::BrokerError,
        context::Context,
        ledger::{Recorded, external_resource_name, how_to_adopt},
        reconcile::{delete_external, resolve::Offer},
    },
    k8s::trim::{is_cut, too_deep},
    osb::{BindRequest, BindResponse, Object},
};

/// Asks the broker to create or repeat the credentials.
pub(super) async fn request_credentials(
    binding: &ServiceBinding,
    instance: &ExternalResource,
    offer: &Offer,
    context: &Context,
    new: &mut ServiceBindingStatus,
) -> Result<BindResponse, Failure> {
    if binding.spec.parameters.iter().flat_map(Object::values).any(is_cut) {
        let message = format!("{}: delete the binding and create another", too_deep("spec.parameters"));
        return Err(NotBound::new(reasons::ERROR_WITH_PARAMETERS, message, Remedy::Watched).into());
    }
    let broker_key = instance.spec.broker.key();
    let broker = context.stores.broker(&broker_key).ok_or_else(|| {
        let message = format!("the {broker_key} does not exist; register it again");
        NotBound::new(reasons::REFERENCES_NONEXISTENT_BROKER, message, Remedy::Watched)
    })?;
    let id = binding.spec.external_id.clone().unwrap_or_default();
    let spec = external_resource_spec(binding, instance, broker.as_ref(), context);
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceBinding, &id)).await;
    let external_resource = record(spec, context).await?;
    new.unbind_status = Some(ReleaseStatus::Required);
    let request = bind_request(binding, &external_resource, context);
    let asked = async {
        let client = context.connections.of(broker.as_ref()).await?;
        let (key, id) = (delete_external::key(&external_resource), id.as_str().into());
        let Bound::Done(response) = client.bind(&key.instance, &id, &request, None).await? else {
            return Err(ClientError::Unfinished.into());
        };
        if response.gives_something() || !offer.class.common().binding_retrievable {
            return Ok::<_, BrokerError>(*response);
        }
        Ok(client.binding(&key, &id, None).await?)
    };
    let response = asked.await.map_err(|error| condition_of(context, &broker_key, error))?;
    if response.gives_something() {
        return Ok(response);
    }
    let also = if offer.class.common().binding_retrievable {
        "neither to the bind request nor to a fetch"
    } else {
        "and the service does not allow fetching them"
    };
    let message =
        format!("the broker's answer has no credentials, {also}; delete the binding and create it again");
    Err(NotBound::new(reasons::BIND_RESULT_MISSING, message, Remedy::Retry).into())
}

fn external_resource_spec(
    binding: &ServiceBinding,
    instance: &ExternalResource,
    broker: &dyn BrokerObject,
    context: &Context,
) -> ExternalResourceSpec {
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
        binding_id: Some(binding.spec.external_id.clone().unwrap_or_default()),
        service_id: instance.spec.service_id.clone(),
        plan_id: instance.spec.plan_id.clone(),
    }
}

/// Records the ExternalResource before the first request to the broker. Deletes at the broker what was requested under the same
/// id for another plan or service.
async fn record(spec: ExternalResourceSpec, context: &Context) -> Result<ExternalResource, Failure> {
    let namespace_uid = spec.namespace_uid.clone().unwrap_or_default();
    let registered = |broker: &BrokerKey| context.stores.broker(broker).is_some();
    match context.ledger.record(spec, registered).await? {
        Recorded::Ours { external_resource, .. } => Ok(external_resource),
        Recorded::OtherRequest(held) => {
            delete_external::binding(context, &held)
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

fn bind_request(
    binding: &ServiceBinding,
    external_resource: &ExternalResource,
    context: &Context,
) -> BindRequest {
    BindRequest {
        service_id: external_resource.spec.service_id.as_str().into(),
        plan_id: external_resource.spec.plan_id.as_str().into(),
        // `binding_name` is bindery's own addition: the name of the folder in which pods find the credentials.
        context: json!({
            "platform": "kubernetes", "namespace": external_resource.spec.namespace, "clusterid": context.cluster_id,
            "binding_name": external_resource.spec.name,
        })
        .as_object()
        .cloned(),
        bind_resource: None,
        parameters: binding.spec.parameters.clone().filter(|parameters| !parameters.is_empty()),
        predecessor_binding_id: None,
    }
}
