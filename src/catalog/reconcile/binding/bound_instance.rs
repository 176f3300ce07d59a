//! The instance that a binding is for: whether it is ready, and the proof that it belongs to its object.

use std::sync::Arc;

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{Failure, NotBound, Remedy};
use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceKind, ServiceBinding, ServiceInstance, instance::ProvisionStatus,
        reasons,
    },
    catalog::{context::Context, names::did_you_mean},
};

/// The binding's instance if it is provisioned.
pub(super) fn ready_instance(
    binding: &ServiceBinding,
    context: &Context,
) -> Result<Arc<ServiceInstance>, NotBound> {
    let namespace = binding.namespace().unwrap_or_default();
    let name = &binding.spec.instance_ref.name;
    let instances = &context.stores.instances;
    let Some(instance) = instances.get(&ObjectRef::new(name).within(&namespace)) else {
        let others = instances.find_in(&namespace, |_| true);
        let guess = did_you_mean(name, others.iter().map(|other| other.name.as_str()));
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
        return Ok(instance);
    }
    let reason =
        status.map(|status| status.last_condition_state.as_str()).filter(|reason| !reason.is_empty());
    not_ready(format!("is not ready: {}; kubectl describe serviceinstance {name}", reason.unwrap_or("new")))
}

/// The ExternalResource of the instance. Only the ExternalResource proves that the broker's instance belongs to this
/// object: users can write the object's status and the objects that its spec refers to.
pub(super) async fn held(instance: &ServiceInstance, context: &Context) -> Result<ExternalResource, Failure> {
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
