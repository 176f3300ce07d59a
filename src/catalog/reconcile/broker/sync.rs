//! Writes the classes and plans of a catalog that changed, and marks those that the catalog no longer lists. Objects
//! that users made are left alone, and so are the default parameters that users set.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde_json::json;

use super::catalog_condition;
use crate::{
    apis::servicecatalog::scope::BrokerKey,
    catalog::{
        client::Offers,
        context::{Context, Stores},
        names,
        reconcile::catalog_objects::{Objects, is_made_for, objects},
        restrictions::{InvalidRule, Restrictions},
        scopes::{BrokerKind, Offered},
    },
    contract::FIELD_MANAGER,
    k8s::explain,
};

/// How many objects are written concurrently.
const WRITES: usize = 8;

/// Why a catalog cannot be turned into objects.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error("{0}")]
    Catalog(String),
    #[error("{0}; correct the rule")]
    Restrictions(#[from] InvalidRule),
    #[error("{}", explain(.0))]
    Cluster(#[from] kube::Error),
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    /// The entries that cannot be used.
    pub(super) left_out: Vec<String>,
    /// Whether a class or plan was marked as withdrawn.
    pub(super) is_anything_withdrawn: bool,
}

/// Writes a catalog to the API server. Plans are written first, so that a visible class has all its plans.
pub(super) async fn write<B: BrokerKind>(
    broker: &B,
    offers: Offers,
    context: &Context,
) -> Result<Written, SyncError> {
    let key = broker.key();
    let restrictions = Restrictions::parse(broker.common().catalog_restrictions.as_ref(), B::CLASS_PROPERTY)?;
    let Offers { catalog, mut left_out } = offers;
    let owners = (
        |name: &str| other_owner::<B::Class>(&context.stores, &key, name),
        |name: &str| other_owner::<B::Plan>(&context.stores, &key, name),
    );
    let Objects { classes, plans } = objects(broker, &catalog, owners, &restrictions, &mut left_out);
    if classes.is_empty() && !left_out.is_empty() {
        let problems: Vec<_> = left_out.into_iter().map(|left_out| left_out.problem).collect();
        return Err(SyncError::Catalog(catalog_condition(&problems).1));
    }
    let kept: HashSet<String> =
        left_out.iter().flat_map(|left_out| &left_out.ids).map(|id| names::escaped(id)).collect();
    let mut problems: Vec<String> = left_out.into_iter().map(|left_out| left_out.problem).collect();
    problems.extend(write_all(broker, &plans, context).await?);
    problems.extend(write_all(broker, &classes, context).await?);
    let withdrawn =
        [mark(broker, &plans, &kept, context).await?, mark(broker, &classes, &kept, context).await?];
    Ok(Written { left_out: problems, is_anything_withdrawn: withdrawn.contains(&true) })
}

/// The other registered broker that offers the class or plan of this name.
fn other_owner<K: Offered>(stores: &Stores, broker: &BrokerKey, name: &str) -> Option<String> {
    let owner = known::<K>(stores, broker, name)?.offered_by();
    (owner != *broker && stores.broker(&owner).is_some()).then_some(owner.name)
}

/// The class or plan of this name in the scope of the broker.
fn known<K: Offered>(stores: &Stores, broker: &BrokerKey, name: &str) -> Option<std::sync::Arc<K>> {
    let mut reference = ObjectRef::new(name);
    reference.namespace.clone_from(&broker.namespace);
    K::store(stores).get(&reference)
}

/// Writes the objects that differ from the known ones. Returns the names of those that the API server refuses.
async fn write_all<B: BrokerKind, K: Offered>(
    broker: &B,
    wanted: &BTreeMap<String, K>,
    context: &Context,
) -> Result<Vec<String>, SyncError> {
    let key = broker.key();
    let api = K::api(context.client.clone(), key.namespace.as_deref());
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let changed = wanted.values().filter(|object| {
        known::<K>(&context.stores, &key, &object.name_any())
            .is_none_or(|known| is_made_for(broker, known.as_ref()) && !is_up_to_date(known.as_ref(), object))
    });
    let writes: Vec<_> = changed
        .map(|object| {
            let (api, parameters) = (&api, &parameters);
            async move {
                match api.patch(&object.name_any(), parameters, &Patch::Apply(object)).await {
                    Ok(_) => Ok(None),
                    Err(kube::Error::Api(status))
                        if status.is_invalid() || matches!(status.code, 400 | 413) =>
                    {
                        let (kind, name) = (K::kind(&()), object.name_any());
                        Ok(Some(format!("{kind} {name}: the API server refuses it ({})", status.message)))
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .collect();
    let refused: Vec<Option<String>> = stream::iter(writes).buffer_unordered(WRITES).try_collect().await?;
    Ok(refused.into_iter().flatten().collect())
}

/// Whether the known object needs no write.
fn is_up_to_date<K: Offered>(known: &K, wanted: &K) -> bool {
    let owners = known.owner_references();
    wanted.owner_references().iter().all(|owner| owners.iter().any(|known| known.uid == owner.uid))
        && wanted.labels().iter().all(|(name, value)| known.labels().get(name) == Some(value))
        && known.is_same_offer(wanted)
}

/// Updates the removal marks of the broker's objects. `kept` are the names of entries that cannot be used now. Returns
/// whether an object was marked as withdrawn.
async fn mark<B: BrokerKind, K: Offered>(
    broker: &B,
    listed: &BTreeMap<String, K>,
    kept: &HashSet<String>,
    context: &Context,
) -> Result<bool, SyncError> {
    let key = broker.key();
    let api = K::api(context.client.clone(), key.namespace.as_deref());
    let mut is_any_withdrawn = false;
    let of_broker = K::store(&context.stores)
        .state_filter(|object| object.offered_by() == key && is_made_for(broker, object));
    for object in of_broker.iter().filter(|object| !kept.contains(&object.name_any())) {
        let name = object.name_any();
        let is_listed = listed.contains_key(&name);
        if object.is_withdrawn() == is_listed {
            let body = json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name},
                "status": {"removedFromBrokerCatalog": !is_listed},
            });
            api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await?;
            is_any_withdrawn |= !is_listed;
        }
    }
    Ok(is_any_withdrawn)
}
