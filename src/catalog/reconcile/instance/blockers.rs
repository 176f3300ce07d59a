//! What keeps an instance from its deletion: an annotation, or what still uses it.

use kube::{Api, ResourceExt};

use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance, reasons},
    catalog::{context::Context, reconcile::ReconcileError},
    contract::instance::{CASCADING_DELETION, DELETION_PROTECTION},
    k8s::delete_by_uid,
};

/// Why an instance is not deleted now.
pub(super) struct Blocked {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether the end of the namespace does not lift the block.
    pub(super) is_protected: bool,
}

/// Whether an instance of a terminating namespace stays for now.
pub(super) fn is_kept(instance: &ServiceInstance, context: &Context) -> bool {
    is_set(instance, DELETION_PROTECTION)
        || !bindings(instance, context).is_empty()
        || !external_resources(instance, context).is_empty()
}

/// What blocks the deletion. If the instance asks for it, its bindings are deleted.
pub(super) async fn find(
    instance: &ServiceInstance,
    context: &Context,
) -> Result<Option<Blocked>, ReconcileError> {
    if is_set(instance, DELETION_PROTECTION) {
        return Ok(Some(protected(instance)));
    }
    let bindings = bindings(instance, context);
    let names = |bindings: &[String]| bindings.join(", ");
    if !bindings.is_empty() {
        let is_cascading = is_set(instance, CASCADING_DELETION);
        let blocked = if is_cascading {
            delete(instance, context, &bindings).await?;
            Blocked {
                reason: reasons::SERVICE_BINDINGS_DELETION,
                message: format!(
                    "The ServiceBindings of the instance are deleted first: {}",
                    names(&bindings)
                ),
                is_protected: false,
            }
        } else {
            Blocked {
                reason: reasons::DEPROVISION_BLOCKED_BY_EXISTING_CREDENTIALS,
                message: format!("Delete its ServiceBindings first; still there: {}", names(&bindings)),
                is_protected: false,
            }
        };
        return Ok(Some(blocked));
    }
    let external_resources = external_resources(instance, context);
    Ok((!external_resources.is_empty()).then(|| Blocked {
        reason: reasons::DEPROVISION_BLOCKED_BY_EXISTING_CREDENTIALS,
        message: format!(
            "The broker still holds bindings of this instance whose ServiceBindings are gone; see kubectl describe \
            extres {}",
            external_resources.join(" ")
        ),
        is_protected: false,
    }))
}

fn protected(instance: &ServiceInstance) -> Blocked {
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    Blocked {
        reason: reasons::DELETION_PROTECTED,
        message: format!(
            "The annotation {DELETION_PROTECTION} keeps the instance at the broker. To let its deletion go on: kubectl \
            annotate serviceinstance {name} -n {namespace} {DELETION_PROTECTION}-"
        ),
        is_protected: true,
    }
}

fn is_set(instance: &ServiceInstance, annotation: &str) -> bool {
    instance.annotations().get(annotation).is_some_and(|value| value == "true")
}

/// The names of the instance's bindings that hold something at the broker, sorted.
fn bindings(instance: &ServiceInstance, context: &Context) -> Vec<String> {
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let found = context
        .stores
        .bindings
        .find_in(&namespace, |binding| *binding.instance == *name && binding.has_finalizer);
    let mut bindings: Vec<_> = found.into_iter().map(|binding| binding.name).collect();
    bindings.sort();
    bindings
}

fn external_resources(instance: &ServiceInstance, context: &Context) -> Vec<String> {
    let id = instance.spec.external_id.as_deref().unwrap_or_default();
    context.ledger.binding_names(id, &instance.namespace().unwrap_or_default())
}

async fn delete(
    instance: &ServiceInstance,
    context: &Context,
    bindings: &[String],
) -> Result<(), ReconcileError> {
    let namespace = instance.namespace().unwrap_or_default();
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    for name in bindings {
        let known =
            context.stores.bindings.get(&kube::runtime::reflector::ObjectRef::new(name).within(&namespace));
        let Some(binding) = known.filter(|binding| binding.metadata.deletion_timestamp.is_none()) else {
            continue;
        };
        delete_by_uid::delete(&api, name, binding.uid()).await?;
    }
    Ok(())
}
