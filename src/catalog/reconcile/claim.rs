//! Claims: what a broker holds for an object that is gone, without its finalizer having done its work, is deleted there.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::{ObjectRef, Store},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::info;

use super::{
    NAMESPACE_RECREATED, Next, ReconcileError, has_finalizer, now,
    release::{self, Released, poll_wait},
};
use crate::{
    catalog::{
        api::{Claim, ClaimKind, ClaimState, ClaimStatus, ServiceBinding, ServiceInstance},
        connections::BrokerError,
        context::Context,
        ledger::{how_to_adopt, is_adopted_by},
    },
    contract::{FIELD_MANAGER, approval},
    osb::Operation,
};

/// How long to wait for a namespace that has not been seen yet.
const UNKNOWN_NAMESPACE: Duration = Duration::from_secs(1);

/// Looks at a claim.
pub(in crate::catalog) async fn reconcile(
    claim: Arc<Claim>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    let _turn = context.turns.take(&claim.name_any()).await;
    let holder = match claim.spec.kind {
        ClaimKind::ServiceInstance => holder::<ServiceInstance>(&claim, &context).await?,
        ClaimKind::ServiceBinding => holder::<ServiceBinding>(&claim, &context).await?,
    };
    let old = claim.status.clone().unwrap_or_default();
    let namespace_uid = context.namespace_uid(&claim.spec.namespace);
    match (holder, namespace_uid) {
        (Holder::Nobody, _) => {}
        (_, None) => return Ok(Next::After(UNKNOWN_NAMESPACE)),
        (Holder::Itself, Some(uid)) => {
            if claim.spec.namespace_uid.is_none() {
                context.ledger.note_namespace(&claim, &uid).await?;
            }
            write(&context, &claim, &old, &ClaimStatus::default()).await?;
            return Ok(Next::Settled);
        }
        (Holder::Namesake, Some(uid))
            if claim.spec.namespace_uid.as_ref() == Some(&uid) || is_adopted_by(&claim, Some(&uid)) =>
        {
            write(&context, &claim, &old, &ClaimStatus::default()).await?;
            return Ok(Next::Settled);
        }
        (Holder::Namesake, Some(uid)) => {
            let message = format!("{}; to have it deleted, delete that object", how_to_adopt(&claim, &uid));
            let new = ClaimStatus {
                reason: Some(NAMESPACE_RECREATED.to_owned()),
                message: Some(message),
                ..ClaimStatus::default()
            };
            write(&context, &claim, &old, &new).await?;
            return Ok(Next::Settled);
        }
    }
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
                BrokerError::NotApproved(_) => approval::NOT_APPROVED,
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
            let bindings = context.ledger.bindings_of(&claim.spec.instance_id, &claim.spec.namespace);
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

/// Which object sees to the deletion itself.
enum Holder {
    /// The claim's object.
    Itself,
    /// Another has taken its name and id, as after a restore, or in a new namespace of the same name.
    Namesake,
    Nobody,
}

/// Who holds the claim. That it is nobody is read from the API server: a database hangs on it, and a store may lack what
/// could not be read.
async fn holder<K>(claim: &Claim, context: &Context) -> kube::Result<Holder>
where
    K: Claiming
        + Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let id = claim.spec.binding_id.as_deref().unwrap_or(&claim.spec.instance_id);
    let holds = |object: &K| {
        let is_abandoned = object.meta().deletion_timestamp.is_some() && !has_finalizer(object);
        if is_abandoned {
            Holder::Nobody
        } else if object.meta().uid.as_deref() == Some(&claim.spec.uid) {
            Holder::Itself
        } else if object.external_id() == Some(id) {
            Holder::Namesake
        } else {
            Holder::Nobody
        }
    };
    let known = K::store(context).get(&ObjectRef::new(&claim.spec.name).within(&claim.spec.namespace));
    match known.map_or(Holder::Nobody, |object| holds(&object)) {
        Holder::Nobody => {}
        holder => return Ok(holder),
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &claim.spec.namespace);
    Ok(api.get_opt(&claim.spec.name).await?.map_or(Holder::Nobody, |object| holds(&object)))
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
