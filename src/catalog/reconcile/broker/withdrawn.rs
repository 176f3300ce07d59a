//! Deletes classes and plans that the broker has withdrawn, once nothing uses them.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::scope::BrokerKey,
    catalog::{
        context::{Context, Stores},
        facts::{ExternalResourceFacts, InstanceFacts},
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
    id: fn(&ExternalResourceFacts) -> &Arc<str>,
    references: fn(&InstanceFacts) -> [&Option<Arc<str>>; 2],
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
    id: fn(&ExternalResourceFacts) -> &Arc<str>,
    references: fn(&InstanceFacts) -> [&Option<Arc<str>>; 2],
) -> bool {
    let name = object.name_any();
    let holds = |of: &ExternalResourceFacts| of.is_in_scope_of(broker) && **id(of) == *object.external_id();
    let is_it = |reference: &Option<Arc<str>>| reference.as_deref() == Some(&*name);
    let is_referred_to = match &broker.namespace {
        None => stores.instances.any(|instance| is_it(references(instance)[0])),
        Some(namespace) => stores.instances.any_in(namespace, |instance| is_it(references(instance)[1])),
    };
    is_referred_to || stores.external_resources.any(holds)
}

fn class_references(instance: &InstanceFacts) -> [&Option<Arc<str>>; 2] {
    [&instance.cluster_class, &instance.class]
}

fn plan_references(instance: &InstanceFacts) -> [&Option<Arc<str>>; 2] {
    [&instance.cluster_plan, &instance.plan]
}
