//! Deletes classes and plans that the broker has withdrawn, once nothing uses them.

use std::time::Duration;

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceSpec, LocalReference, ServiceInstance, scope::BrokerKey,
    },
    catalog::{
        context::{Context, Stores},
        reconcile::catalog_objects::is_made_for,
        scopes::{BrokerKind, Offered},
    },
    k8s::delete_by_uid,
};

/// The wait between the mark and the deletion: an instance that was resolved before the mark may be at work.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Deletes the unused withdrawn classes and plans of a broker.
pub(super) async fn delete_unused<B: BrokerKind>(broker: &B, context: &Context) -> kube::Result<()> {
    delete::<B, B::Plan>(broker, context, |of| &of.plan_id, plan_references).await?;
    delete::<B, B::Class>(broker, context, |of| &of.service_id, class_references).await
}

async fn delete<B: BrokerKind, K: Offered>(
    broker: &B,
    context: &Context,
    id: fn(&ExternalResourceSpec) -> &str,
    references: fn(&ServiceInstance) -> [&Option<LocalReference>; 2],
) -> kube::Result<()> {
    let key = broker.key();
    let withdrawn = K::store(&context.stores).state_filter(|object| {
        object.is_withdrawn() && object.offered_by() == key && is_made_for(broker, object)
    });
    let api = K::api(context.client.clone(), key.namespace.as_deref());
    for object in withdrawn {
        if !is_used(&context.stores, &key, object.as_ref(), id, references) {
            delete_by_uid::delete(&api, &object.name_any(), object.uid()).await?;
        }
    }
    Ok(())
}

/// Whether an instance refers to the object, or a broker holds something of it.
fn is_used<K: Offered>(
    stores: &Stores,
    broker: &BrokerKey,
    object: &K,
    id: fn(&ExternalResourceSpec) -> &str,
    references: fn(&ServiceInstance) -> [&Option<LocalReference>; 2],
) -> bool {
    let name = object.name_any();
    let holds = |external_resource: &ExternalResource| {
        let spec = &external_resource.spec;
        spec.broker.namespace == broker.namespace && id(spec) == object.external_id()
    };
    let refers = |instance: &ServiceInstance| {
        let [of_cluster, of_namespace] = references(instance);
        let reference = match &broker.namespace {
            None => of_cluster,
            Some(_) if instance.namespace() == broker.namespace => of_namespace,
            Some(_) => return false,
        };
        reference.as_ref().is_some_and(|reference| reference.name == name)
    };
    stores.external_resources.find(holds).is_some() || stores.instances.find(refers).is_some()
}

fn class_references(instance: &ServiceInstance) -> [&Option<LocalReference>; 2] {
    [&instance.spec.cluster_service_class_ref, &instance.spec.service_class_ref]
}

fn plan_references(instance: &ServiceInstance) -> [&Option<LocalReference>; 2] {
    [&instance.spec.cluster_service_plan_ref, &instance.spec.service_plan_ref]
}
