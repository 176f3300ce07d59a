//! Reconciles every ClusterServiceBroker: reads a broker's catalog and updates the class and plan objects.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Next, ReconcileError, catalog_objects::objects, has_finalizer, now, patch, remove_finalizer, status,
    with_finalizer,
};
use crate::{
    apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ConditionType, ServiceBrokerStatus,
        broker::RelistBehavior,
        reasons,
        scope::{BrokerKey, BrokerObject as _, ClassObject as _, PlanObject as _},
    },
    catalog::{
        client::{ClientError, Offers},
        connections::BrokerError,
        context::Context,
        names,
    },
    contract::FIELD_MANAGER,
    k8s::{events::Event, explain},
};

/// The interval between reads of a catalog, unless the broker's `relistDuration` sets another. service-catalog waits
/// a day; reading a catalog is one small request, and users expect a new plan to appear soon.
const RELIST: Duration = Duration::from_mins(15);
/// The minimum of `relistDuration`.
const SHORTEST_RELIST: Duration = Duration::from_secs(10);
/// The shortest and longest wait between retries while a catalog cannot be read. A broker that has just started is
/// found within a second, and a broker that is gone for good causes little load.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(3));
/// How many skipped entries a message names.
const MAX_LISTED_ENTRIES: usize = 5;
/// How many objects are written concurrently.
const WRITES: usize = 8;

/// Why a catalog cannot be turned into objects.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{0}")]
    Catalog(String),
    #[error("{}", explain(.0))]
    Cluster(#[from] kube::Error),
}

/// Reconciles a broker.
pub(in crate::catalog) async fn reconcile(
    broker: Arc<ClusterServiceBroker>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    let api: Api<ClusterServiceBroker> = Api::all(context.client.clone());
    if broker.metadata.deletion_timestamp.is_some() {
        return delete(&api, &broker, &context).await;
    }
    let old = broker.status.clone().unwrap_or_default();
    let generation = broker.metadata.generation.unwrap_or_default();
    let is_read = old.conditions.is_true(ConditionType::Ready) && old.reconciled_generation == generation;
    if is_read && context.connections.is_approved(broker.as_ref()).await {
        match until_relist(&broker) {
            None => return Ok(Next::AwaitChange),
            Some(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
            Some(_) => {}
        }
    }
    let mut broker = (*broker).clone();
    if broker.status.is_none() && !has_finalizer(&broker) {
        broker = patch(&context, &api, &broker, json!({"metadata": {"finalizers": with_finalizer(&broker)}}))
            .await?;
    }
    let mut new = old.clone();
    new.url = Some(broker.spec.common.url.shown());
    let next = match read(&broker, &context).await {
        Ok(left_out) => {
            let (reason, message) = catalog_condition(&left_out);
            status::set_ready(&mut new, true, reason, &message);
            if !left_out.is_empty() && !is_reported(&old, &message) {
                let event = Event::warning("Reconcile", reason, message);
                context.recorder.record(&broker.object_ref(&()), &event).await;
            }
            new.reconciled_generation = generation;
            new.last_catalog_retrieval_time = Some(now());
            new.operation_start_time = None;
            match broker.spec.common.relist_behavior {
                RelistBehavior::Duration => Next::After(relist(&broker)),
                RelistBehavior::Manual => Next::AwaitChange,
            }
        }
        Err((reason, message)) => {
            if old.reconciled_generation != generation && old.conditions.is_true(ConditionType::Ready) {
                new.operation_start_time = None;
            }
            let since = status::start(&mut new);
            status::set_ready(&mut new, false, reason, message);
            let elapsed = Duration::try_from(now().0.duration_since(since.0)).unwrap_or_default();
            Next::RetryAfter((elapsed / 30).clamp(RETRY.0, RETRY.1))
        }
    };
    status::write(&context, &api, &broker, &old, new).await?;
    Ok(next)
}

/// The condition's reason and message after the catalog was read.
fn catalog_condition(left_out: &[String]) -> (&'static str, String) {
    if left_out.is_empty() {
        return (reasons::FETCHED_CATALOG, "Successfully fetched catalog entries from broker.".to_owned());
    }
    let shown = left_out.iter().take(MAX_LISTED_ENTRIES).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = match left_out.len().saturating_sub(MAX_LISTED_ENTRIES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "The catalog was read, but these entries cannot be used: {shown}{more}; ask the broker's maintainers to \
        correct them"
    );
    (reasons::FETCHED_CATALOG_IN_PART, message)
}

fn is_reported(status: &ServiceBrokerStatus, message: &str) -> bool {
    status.conditions.get(ConditionType::Ready).is_some_and(|ready| ready.message == message)
}

/// Reads the catalog and writes its objects. Returns the skipped entries, or on failure the condition's reason and
/// message.
async fn read(
    broker: &ClusterServiceBroker,
    context: &Context,
) -> Result<Vec<String>, (&'static str, String)> {
    let fetched = async {
        let client = context.connections.of(broker).await?;
        Ok::<_, BrokerError>(client.catalog().await?)
    };
    let offers = fetched.await.map_err(|error| {
        if matches!(error.client(), Some(ClientError::Unauthorized { .. })) {
            context.connections.forget(&broker.key());
        }
        match error {
            BrokerError::Credentials(message) => (reasons::ERROR_GETTING_AUTH_CREDENTIALS, message),
            BrokerError::NotApproved(message) => (reasons::SECRET_NOT_APPROVED, message),
            BrokerError::Client(error) => {
                (reasons::ERROR_FETCHING_CATALOG, format!("Error getting broker catalog: {error}"))
            }
        }
    })?;
    let synced = sync(broker, offers, context).await;
    synced.map_err(|error| {
        (reasons::ERROR_SYNCING_CATALOG, format!("Error syncing catalog from broker: {error}"))
    })
}

/// The time until the next read of the catalog, or `None` if it is read only on request.
fn until_relist(broker: &ClusterServiceBroker) -> Option<Duration> {
    if broker.spec.common.relist_behavior == RelistBehavior::Manual {
        return None;
    }
    let last = broker.status.as_ref()?.last_catalog_retrieval_time.as_ref()?;
    let elapsed = Duration::try_from(now().0.duration_since(last.0)).unwrap_or_default();
    Some(relist(broker).saturating_sub(elapsed))
}

fn relist(broker: &ClusterServiceBroker) -> Duration {
    // The API server validates the duration.
    let given = broker
        .spec
        .common
        .relist_duration
        .as_ref()
        .and_then(|text| text.parse::<kube::core::Duration>().ok());
    given.map_or(RELIST, |given| Duration::from(given).max(SHORTEST_RELIST))
}

/// Writes changed objects, and marks those that the catalog no longer lists. Plans are written first, so that a
/// visible class has all its plans.
async fn sync(
    broker: &ClusterServiceBroker,
    offers: Offers,
    context: &Context,
) -> Result<Vec<String>, SyncError> {
    let name = broker.name_any();
    let other = |owner: String| {
        (owner != name
            && context.stores.broker(&BrokerKey { namespace: None, name: owner.clone() }).is_some())
        .then_some(owner)
    };
    let owner_of_class = |id: &str| other(context.stores.class(id)?.spec.cluster_service_broker_name.clone());
    let owner_of_plan = |id: &str| {
        other(context.stores.plans.get(&ObjectRef::new(id))?.spec.cluster_service_broker_name.clone())
    };
    let Offers { catalog, mut left_out } = offers;
    let (classes, plans) = objects(broker, &catalog, (owner_of_class, owner_of_plan), &mut left_out);
    if classes.is_empty() && !left_out.is_empty() {
        let problems: Vec<_> = left_out.into_iter().map(|left_out| left_out.problem).collect();
        return Err(SyncError::Catalog(catalog_condition(&problems).1));
    }
    let kept: HashSet<String> =
        left_out.iter().flat_map(|left_out| &left_out.ids).map(|id| names::escaped(id)).collect();
    let mut problems: Vec<String> = left_out.into_iter().map(|left_out| left_out.problem).collect();
    let known_plans = context.stores.plans.state_filter(|plan| plan.spec.cluster_service_broker_name == name);
    let known_classes =
        context.stores.classes.state_filter(|class| class.spec.cluster_service_broker_name == name);
    let owned = |spec_equal: bool, meta: &[OwnerReference]| {
        spec_equal && meta.iter().any(|owner| Some(&owner.uid) == broker.metadata.uid.as_ref())
    };
    let new_plans = plans.iter().filter(|(id, plan)| {
        let known = known_plans.iter().find(|known| known.name_any() == **id);
        !known.is_some_and(|known| owned(known.spec == plan.spec, known.owner_references()))
    });
    let new_classes = classes.iter().filter(|(id, class)| {
        let known = known_classes.iter().find(|known| known.name_any() == **id);
        !known.is_some_and(|known| owned(known.spec == class.spec, known.owner_references()))
    });
    problems.extend(apply(context, new_plans.map(|(_, plan)| plan)).await?);
    problems.extend(apply(context, new_classes.map(|(_, class)| class)).await?);
    let plan_marks = known_plans
        .iter()
        .filter(|plan| !kept.contains(&plan.name_any()))
        .map(|plan| (plan.name_any(), plan.is_removed(), plans.contains_key(&plan.name_any())));
    mark::<ClusterServicePlan>(context, plan_marks).await?;
    let class_marks = known_classes
        .iter()
        .filter(|class| !kept.contains(&class.name_any()))
        .map(|class| (class.name_any(), class.is_removed(), classes.contains_key(&class.name_any())));
    mark::<ClusterServiceClass>(context, class_marks).await?;
    Ok(problems)
}

/// Returns the names of the objects that the API server refuses.
async fn apply<'a, K>(
    context: &Context,
    objects: impl Iterator<Item = &'a K>,
) -> Result<Vec<String>, SyncError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned + 'a,
{
    let api: Api<K> = Api::all(context.client.clone());
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let writes: Vec<_> = objects
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

/// Updates the removal mark of objects. Each item gives the name, whether the object is marked as removed, and
/// whether the catalog lists it.
async fn mark<K>(
    context: &Context,
    objects: impl Iterator<Item = (String, bool, bool)>,
) -> Result<(), SyncError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(context.client.clone());
    for (name, removed, listed) in objects {
        if removed == listed {
            let body = json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name},
                "status": {"removedFromBrokerCatalog": !listed},
            });
            api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await?;
        }
    }
    Ok(())
}

/// Deletes the class and plan objects of the broker, then removes its finalizer. ExternalResources keep track of what
/// the broker still holds.
async fn delete(
    api: &Api<ClusterServiceBroker>,
    broker: &ClusterServiceBroker,
    context: &Context,
) -> Result<Next, ReconcileError> {
    if !has_finalizer(broker) {
        return Ok(Next::AwaitChange);
    }
    let name = broker.name_any();
    let classes = context.stores.classes.state_filter(|class| class.spec.cluster_service_broker_name == name);
    let plans = context.stores.plans.state_filter(|plan| plan.spec.cluster_service_broker_name == name);
    remove::<ClusterServiceClass>(context, classes.iter().map(|class| class.name_any())).await?;
    remove::<ClusterServicePlan>(context, plans.iter().map(|plan| plan.name_any())).await?;
    remove_finalizer(context, api, broker).await?;
    Ok(Next::AwaitChange)
}

async fn remove<K>(context: &Context, names: impl Iterator<Item = String>) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(context.client.clone());
    for name in names {
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::ClusterServiceBrokerSpec;

    #[test]
    fn only_a_few_skipped_entries_are_named() {
        let left_out: Vec<_> = (0..7).map(|number| format!("mistake {number}")).collect();
        let (reason, message) = catalog_condition(&left_out);
        assert_eq!(reason, "FetchedCatalogInPart");
        assert!(message.contains("mistake 4; and 2 more") && !message.contains("mistake 5"), "{message}");
        assert_eq!(catalog_condition(&[]).0, "FetchedCatalog");
    }

    #[test]
    fn catalogs_are_read_every_fifteen_minutes_by_default() {
        let mut broker = ClusterServiceBroker::new("b", ClusterServiceBrokerSpec::default());
        assert_eq!(relist(&broker), RELIST);
        broker.spec.common.relist_duration = Some("1h30m".to_owned());
        assert_eq!(relist(&broker), Duration::from_mins(90));
        broker.spec.common.relist_duration = Some("1s".to_owned());
        assert_eq!(relist(&broker), SHORTEST_RELIST);
    }
}
