//! Deletes the classes and plans of a broker that is being deleted, then removes the broker's finalizer.
//! ExternalResources keep track of what the broker still holds.

use kube::{Api, ResourceExt};

use crate::{
    apis::servicecatalog::scope::BrokerKey,
    catalog::{
        context::Context,
        reconcile::{Next, ReconcileError, has_finalizer, remove_finalizer, status},
        scopes::{BrokerKind, Offered},
    },
    k8s::{delete_by_uid, events::Event, explain},
};

/// Finishes the deletion of a broker.
pub(super) async fn finish<B: BrokerKind>(
    api: &Api<B>,
    broker: &B,
    context: &Context,
) -> Result<Next, ReconcileError> {
    if !has_finalizer(broker) {
        return Ok(Next::AwaitChange);
    }
    let key = broker.key();
    let plans = remove::<B::Plan>(context, &key, B::DELETION.plan_failed).await;
    let removed = match plans {
        Ok(()) => remove::<B::Class>(context, &key, B::DELETION.class_failed).await,
        Err(failure) => Err(failure),
    };
    if let Err((reason, message)) = removed {
        let old = broker.status().cloned().unwrap_or_default();
        let mut new = old.clone();
        status::set_ready(&mut new, false, reason, message);
        status::write(context, api, broker, &old, new).await?;
        return Ok(Next::Retry);
    }
    let event = Event::normal("Delete", B::DELETION.done, format!("The {key} was deleted successfully."));
    context.recorder.record(&broker.object_ref(&()), &event).await;
    remove_finalizer(context, api, broker).await?;
    Ok(Next::AwaitChange)
}

/// Deletes the classes or plans of a broker; the error is the condition's reason and message.
async fn remove<K: Offered>(
    context: &Context,
    broker: &BrokerKey,
    reason: &'static str,
) -> Result<(), (&'static str, String)> {
    let api = K::api(context.client.clone(), broker.namespace.as_deref());
    for object in K::store(&context.stores).state_filter(|object| object.offered_by() == *broker) {
        let name = object.name_any();
        delete_by_uid::delete(&api, &name, object.uid()).await.map_err(|error| {
            let (kind, why) = (K::kind(&()), explain(&error));
            (reason, format!("{kind} {name} cannot be deleted: {why}; bindery retries"))
        })?;
    }
    Ok(())
}

/// Deletes a broker of a terminating namespace once the broker holds nothing for the namespace. Kubernetes returns late
/// to objects with a finalizer, so the namespace would be deleted later.
pub(super) async fn start_in_terminating_namespace<B: BrokerKind>(
    api: &Api<B>,
    broker: &B,
    context: &Context,
) -> Result<Next, ReconcileError> {
    let key = broker.key();
    if !context.stores.external_resources.any(|external_resource| external_resource.is_of(&key)) {
        delete_by_uid::delete(api, &broker.name_any(), broker.uid()).await?;
    }
    Ok(Next::AwaitChange)
}
