//! Claims: what a broker holds for an object that is gone, without its finalizer having done its work, is deleted there.

use std::sync::Arc;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::{ObjectRef, Store},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::info;

use super::{
    Next, ReconcileError, has_finalizer, now,
    release::{self, Released, poll_wait},
};
use crate::{
    catalog::{
        api::{Claim, ClaimKind, ClaimState, ClaimStatus, ServiceBinding, ServiceInstance},
        connections::BrokerError,
        context::Context,
    },
    contract::FIELD_MANAGER,
    osb::Operation,
};

/// Looks at a claim.
pub(in crate::catalog) async fn reconcile(
    claim: Arc<Claim>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    let _turn = context.turns.take(&claim.name_any()).await;
    let exists = match claim.spec.kind {
        ClaimKind::ServiceInstance => object_exists::<ServiceInstance>(&claim, &context).await?,
        ClaimKind::ServiceBinding => object_exists::<ServiceBinding>(&claim, &context).await?,
    };
    if exists {
        return Ok(Next::Settled);
    }
    let old = claim.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.state = Some(ClaimState::Releasing);
    let since = new.since.get_or_insert_with(now).clone();
    let begun = old.operation.clone().map(|operation| Some(operation).filter(|name| !name.is_empty()));
    let begun = begun.map(|operation| operation.map(Operation::from));
    new.operation = None;
    let next = match release(&claim, &context, begun).await {
        Ok(Released::Done) => {
            context.ledger.remove(&claim).await?;
            info!(
                claim = claim.name_any(),
                broker = claim.spec.broker.name,
                "deleted at the broker what its object left"
            );
            return Ok(Next::Settled);
        }
        Ok(Released::InProgress { operation, wait }) => {
            new.reason = Some("Deprovisioning".to_owned());
            new.message = Some("The broker is deleting".to_owned());
            new.operation = Some(operation.unwrap_or_default());
            Next::After(poll_wait(Some(&since), wait))
        }
        Ok(Released::Failed(about)) => failed(&mut new, "CallFailed", &about),
        Err(Blocked::Bindings(names)) => {
            new.reason = Some("BlockedByBindings".to_owned());
            new.message = Some(format!("Waits for the claims of its bindings: {}", names.join(", ")));
            Next::After(super::release::poll_wait(Some(&since), None))
        }
        Err(Blocked::Broker(error)) => {
            let reason = match &error {
                BrokerError::Credentials(_) => "ErrorGettingAuthCredentials",
                BrokerError::Client(error) if error.is_answer() => "CallFailed",
                BrokerError::Client(_) => "ErrorCallingBroker",
            };
            failed(&mut new, reason, &error.to_string())
        }
    };
    write(&context, &claim, &old, &new).await?;
    Ok(next)
}

/// Why a claim cannot be released now.
enum Blocked {
    Bindings(Vec<String>),
    Broker(BrokerError),
}

async fn release(claim: &Claim, context: &Context, begun: release::Begun) -> Result<Released, Blocked> {
    match claim.spec.kind {
        ClaimKind::ServiceBinding => {
            release::binding(context, claim).await.map(|()| Released::Done).map_err(Blocked::Broker)
        }
        ClaimKind::ServiceInstance => {
            let bindings = context.ledger.bindings_of(&claim.spec.instance_id);
            if !bindings.is_empty() {
                return Err(Blocked::Bindings(bindings));
            }
            release::instance(context, claim, begun).await.map_err(Blocked::Broker)
        }
    }
}

fn failed(status: &mut ClaimStatus, reason: &str, about: &str) -> Next {
    status.reason = Some(reason.to_owned());
    status.message =
        Some(format!("{about}. It is tried again; to give up and leave it at the broker, delete this claim"));
    Next::Retry
}

/// A kind that something is claimed for.
trait Claiming: Resource<DynamicType = ()> + 'static {
    /// The id at the broker.
    fn external_id(&self) -> Option<&str>;
    /// What is known of the kind without asking.
    fn store(context: &Context) -> &Store<Self>
    where
        Self: Sized;
}

impl Claiming for ServiceInstance {
    fn external_id(&self) -> Option<&str> {
        self.spec.external_id.as_deref()
    }

    fn store(context: &Context) -> &Store<Self> {
        &context.stores.instances
    }
}

impl Claiming for ServiceBinding {
    fn external_id(&self) -> Option<&str> {
        self.spec.external_id.as_deref()
    }

    fn store(context: &Context) -> &Store<Self> {
        &context.stores.bindings
    }
}

/// Whether the claim's object is there to see to the deletion itself, or another has taken its name and id, as after a
/// restore. That it is not is read from the API server: a database hangs on it, and a store may lack what could not be
/// read.
async fn object_exists<K>(claim: &Claim, context: &Context) -> kube::Result<bool>
where
    K: Claiming
        + Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let id = claim.spec.binding_id.as_deref().unwrap_or(&claim.spec.instance_id);
    let holds = |object: &K| {
        let same = object.meta().uid.as_deref() == Some(&claim.spec.uid) || object.external_id() == Some(id);
        let abandoned = object.meta().deletion_timestamp.is_some() && !has_finalizer(object);
        same && !abandoned
    };
    let known = K::store(context).get(&ObjectRef::new(&claim.spec.name).within(&claim.spec.namespace));
    if known.is_some_and(|object| holds(&object)) {
        return Ok(true);
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &claim.spec.namespace);
    Ok(api.get_opt(&claim.spec.name).await?.is_some_and(|object| holds(&object)))
}

async fn write(context: &Context, claim: &Claim, old: &ClaimStatus, new: &ClaimStatus) -> kube::Result<()> {
    if old == new {
        return Ok(());
    }
    let api: Api<Claim> = Api::all(context.client.clone());
    let body = json!({
        "apiVersion": Claim::api_version(&()),
        "kind": Claim::kind(&()),
        "metadata": {"name": claim.name_any(), "uid": claim.uid()},
        "status": new,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch_status(&claim.name_any(), &parameters, &Patch::Apply(body)).await?;
    context.writes.wrote(&written.metadata);
    Ok(())
}
