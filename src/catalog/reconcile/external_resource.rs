//! Reconciles ExternalResources: when an object is gone but its finalizer did not do its work, this reconciler
//! deletes at the broker what the object left.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde_json::json;
use tracing::info;

use super::{
    Next, ReconcileError, delete_binding,
    delete_external::{self, Released},
    has_finalizer, now,
    polling::poll_interval,
};
use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceKind, ExternalResourceState, ExternalResourceStatus,
        ServiceBinding, ServiceInstance, reasons,
    },
    catalog::{
        connections::BrokerError,
        context::Context,
        ledger::{how_to_adopt, is_adopted_by},
    },
    contract::FIELD_MANAGER,
    k8s::cache::{Cache, Cached},
    osb::Operation,
};

/// The wait for a namespace that the watch has not seen yet.
const UNKNOWN_NAMESPACE_WAIT: Duration = Duration::from_secs(1);

/// Reconciles an ExternalResource.
pub(in crate::catalog) async fn reconcile(
    external_resource: Arc<ExternalResource>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    let _lock = context.locks.lock(&external_resource.name_any()).await;
    let holder = match external_resource.spec.kind {
        ExternalResourceKind::ServiceInstance => {
            holder::<ServiceInstance>(&external_resource, &context).await?
        }
        ExternalResourceKind::ServiceBinding => {
            holder::<ServiceBinding>(&external_resource, &context).await?
        }
    };
    let old = external_resource.status.clone().unwrap_or_default();
    let namespace_uid = context.namespace_uid(&external_resource.spec.namespace);
    match (holder, namespace_uid) {
        (Holder::Nobody, _) => {}
        (_, None) => return Ok(Next::After(UNKNOWN_NAMESPACE_WAIT)),
        (Holder::Itself, Some(uid)) => {
            if external_resource.spec.namespace_uid.is_none() {
                context.ledger.set_namespace_uid(&external_resource, &uid).await?;
            }
            write(&context, &external_resource, &old, &ExternalResourceStatus::default()).await?;
            return Ok(Next::AwaitChange);
        }
        (Holder::Namesake, Some(uid))
            if external_resource.spec.namespace_uid.as_ref() == Some(&uid)
                || is_adopted_by(&external_resource, Some(&uid)) =>
        {
            write(&context, &external_resource, &old, &ExternalResourceStatus::default()).await?;
            return Ok(Next::AwaitChange);
        }
        (Holder::Namesake, Some(uid)) => {
            let message =
                format!("{}; to have it deleted, delete that object", how_to_adopt(&external_resource, &uid));
            let new = ExternalResourceStatus {
                reason: Some(reasons::NAMESPACE_RECREATED.to_owned()),
                message: Some(message),
                ..ExternalResourceStatus::default()
            };
            write(&context, &external_resource, &old, &new).await?;
            return Ok(Next::AwaitChange);
        }
    }
    let mut new = old.clone();
    new.state = Some(ExternalResourceState::Releasing);
    let since = new.since.get_or_insert_with(now).clone();
    let begun = old.operation.clone().map(|operation| Some(operation).filter(|name| !name.is_empty()));
    let begun = begun.map(|operation| operation.map(Operation::from));
    new.operation = None;
    let next = match release(&external_resource, &context, begun).await {
        Ok(Released::Done) => {
            context.ledger.remove(&external_resource).await?;
            info!(
                external_resource = external_resource.name_any(),
                broker = external_resource.spec.broker.name,
                "deleted at the broker what the missing object left"
            );
            return Ok(Next::AwaitChange);
        }
        Ok(Released::InProgress { operation, wait }) => {
            new.reason = Some(reasons::DEPROVISIONING.to_owned());
            new.message = Some("The broker is deleting".to_owned());
            new.operation = Some(operation.unwrap_or_default());
            Next::After(poll_interval(Some(&since), wait))
        }
        Ok(Released::Failed(about)) => failed(&mut new, reasons::CALL_FAILED, &about),
        Err(Blocked::Bindings(names)) => {
            new.reason = Some(reasons::BLOCKED_BY_BINDINGS.to_owned());
            new.message =
                Some(format!("Waits for the external resources of its bindings: {}", names.join(", ")));
            Next::After(poll_interval(Some(&since), None))
        }
        Err(Blocked::Broker(error)) => {
            let reason = match &error {
                BrokerError::Credentials(_) => reasons::ERROR_GETTING_AUTH_CREDENTIALS,
                BrokerError::NotApproved(_) => reasons::SECRET_NOT_APPROVED,
                BrokerError::Client(error) if error.is_answer() => reasons::CALL_FAILED,
                BrokerError::Client(_) => reasons::ERROR_CALLING_BROKER,
            };
            failed(&mut new, reason, &error.to_string())
        }
    };
    write(&context, &external_resource, &old, &new).await?;
    Ok(next)
}

/// Why an ExternalResource cannot be deleted at the broker now.
enum Blocked {
    Bindings(Vec<String>),
    Broker(BrokerError),
}

async fn release(
    external_resource: &ExternalResource,
    context: &Context,
    begun: delete_external::Begun,
) -> Result<Released, Blocked> {
    match external_resource.spec.kind {
        ExternalResourceKind::ServiceBinding => {
            delete_binding::step(context, external_resource, begun, None).await.map_err(Blocked::Broker)
        }
        ExternalResourceKind::ServiceInstance => {
            let bindings = context
                .ledger
                .binding_names(&external_resource.spec.instance_id, &external_resource.spec.namespace);
            if !bindings.is_empty() {
                return Err(Blocked::Bindings(bindings));
            }
            // The user who deleted the object is not known here.
            delete_external::instance(context, external_resource, begun, None).await.map_err(Blocked::Broker)
        }
    }
}

fn failed(status: &mut ExternalResourceStatus, reason: &str, about: &str) -> Next {
    status.reason = Some(reason.to_owned());
    status.message = Some(format!(
        "{about}. bindery retries. To stop retrying and leave everything at the broker, delete this ExternalResource"
    ));
    Next::Retry
}

/// A kind whose objects hold something at a broker.
trait HasExternalResource: Cached {
    /// The ids at the broker.
    fn ids(&self) -> Vec<&str>;
    /// The watch cache of the kind.
    fn store(context: &Context) -> &Cache<Self>
    where
        Self: Sized;
}

impl HasExternalResource for ServiceInstance {
    fn ids(&self) -> Vec<&str> {
        self.spec.external_id.as_deref().into_iter().collect()
    }

    fn store(context: &Context) -> &Cache<Self> {
        &context.stores.instances
    }
}

impl HasExternalResource for ServiceBinding {
    fn ids(&self) -> Vec<&str> {
        self.broker_ids()
    }

    fn store(context: &Context) -> &Cache<Self> {
        &context.stores.bindings
    }
}

/// Which object is responsible for the deletion.
enum Holder {
    /// The ExternalResource's object still exists.
    Itself,
    /// Another object now has the name and id, as after a restore or in a new namespace of the same name.
    Namesake,
    Nobody,
}

/// Finds the object that is responsible for the ExternalResource. Its absence is confirmed by the API server, because
/// the answer decides whether a database is deleted, and a watch cache may lack unreadable objects.
async fn holder<K>(external_resource: &ExternalResource, context: &Context) -> kube::Result<Holder>
where
    K: HasExternalResource + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let id = external_resource.spec.binding_id.as_deref().unwrap_or(&external_resource.spec.instance_id);
    let holds = |object: &K| {
        let is_abandoned = object.meta().deletion_timestamp.is_some() && !has_finalizer(object);
        if is_abandoned {
            Holder::Nobody
        } else if object.meta().uid.as_deref() == Some(&external_resource.spec.uid) {
            Holder::Itself
        } else if object.ids().contains(&id) {
            Holder::Namesake
        } else {
            Holder::Nobody
        }
    };
    let known = K::store(context)
        .get(&ObjectRef::new(&external_resource.spec.name).within(&external_resource.spec.namespace));
    match known.map_or(Holder::Nobody, |object| holds(&object)) {
        Holder::Nobody => {}
        holder => return Ok(holder),
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &external_resource.spec.namespace);
    Ok(api.get_opt(&external_resource.spec.name).await?.map_or(Holder::Nobody, |object| holds(&object)))
}

async fn write(
    context: &Context,
    external_resource: &ExternalResource,
    old: &ExternalResourceStatus,
    new: &ExternalResourceStatus,
) -> kube::Result<()> {
    if old == new {
        return Ok(());
    }
    let api: Api<ExternalResource> = Api::all(context.client.clone());
    let body = json!({
        "apiVersion": ExternalResource::api_version(&()),
        "kind": ExternalResource::kind(&()),
        "metadata": {"name": external_resource.name_any(), "uid": external_resource.uid()},
        "status": new,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch_status(&external_resource.name_any(), &parameters, &Patch::Apply(body)).await?;
    context.own_writes.record(&written.metadata);
    Ok(())
}
