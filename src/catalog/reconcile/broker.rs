//! Brokers: reads the catalog and keeps the class and plan objects like it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Next, ReconcileError, has_finalizer, now, patch, remove_finalizer, status, with_finalizer};
use crate::{
    catalog::{
        api::{
            ClusterServiceBroker, ClusterServiceClass, ClusterServiceClassSpec, ClusterServicePlan,
            ClusterServicePlanSpec, ConditionType, LocalReference, broker::RelistBehavior,
        },
        client::ClientError,
        connections::BrokerError,
        context::Context,
        names,
    },
    contract::FIELD_MANAGER,
    osb::{Catalog, Plan, Service},
};

/// How often a catalog is read unless the broker's `relistDuration` says otherwise. service-catalog waits a day; a
/// catalog is one small request, and a plan that appears a day late is a riddle.
const RELIST: Duration = Duration::from_mins(15);
/// The least that `relistDuration` can ask for.
const SHORTEST_RELIST: Duration = Duration::from_secs(10);
/// The waits while a catalog cannot be read: a broker that has just been started is found within a second, one that is
/// gone for good costs little.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(3));
/// How many objects are written at the same time.
const WRITES: usize = 8;

/// A catalog cannot be turned into objects.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{0}; ask the broker's maintainers")]
    Catalog(String),
    #[error("{0}; remove one of the two brokers")]
    Taken(String),
    #[error(transparent)]
    Cluster(#[from] kube::Error),
}

/// Looks at a broker.
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
    if old.conditions.is_true(ConditionType::Ready) && old.reconciled_generation == generation {
        match until_relist(&broker) {
            None => return Ok(Next::Settled),
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
    new.url = Some(broker.spec.url.shown());
    let next = match read(&broker, &context).await {
        Ok(()) => {
            status::set_ready(
                &mut new,
                true,
                "FetchedCatalog",
                "Successfully fetched catalog entries from broker.",
            );
            new.reconciled_generation = generation;
            new.last_catalog_retrieval_time = Some(now());
            new.operation_start_time = None;
            match broker.spec.relist_behavior {
                RelistBehavior::Duration => Next::After(relist(&broker)),
                RelistBehavior::Manual => Next::Settled,
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

/// Reads the catalog and writes its objects, or tells the reason and message of the condition.
async fn read(broker: &ClusterServiceBroker, context: &Context) -> Result<(), (&'static str, String)> {
    let fetched = async {
        let client = context.connections.of(broker).await?;
        Ok::<_, BrokerError>(client.catalog().await?)
    };
    let catalog = fetched.await.map_err(|error| {
        if matches!(error.client(), Some(ClientError::Unauthorized { .. })) {
            context.connections.forget(&broker.name_any());
        }
        match error {
            BrokerError::Credentials(message) => ("ErrorGettingAuthCredentials", message),
            BrokerError::Client(error) => {
                ("ErrorFetchingCatalog", format!("Error getting broker catalog: {error}"))
            }
        }
    })?;
    let synced = sync(broker, &catalog, context).await;
    synced.map_err(|error| ("ErrorSyncingCatalog", format!("Error syncing catalog from broker: {error}")))
}

/// How long until the catalog is to be read again; never, when only by hand.
fn until_relist(broker: &ClusterServiceBroker) -> Option<Duration> {
    if broker.spec.relist_behavior == RelistBehavior::Manual {
        return None;
    }
    let last = broker.status.as_ref()?.last_catalog_retrieval_time.as_ref()?;
    let elapsed = Duration::try_from(now().0.duration_since(last.0)).unwrap_or_default();
    Some(relist(broker).saturating_sub(elapsed))
}

fn relist(broker: &ClusterServiceBroker) -> Duration {
    // The API server accepts nothing that is no duration.
    let given =
        broker.spec.relist_duration.as_ref().and_then(|text| text.parse::<kube::core::Duration>().ok());
    given.map_or(RELIST, |given| Duration::from(given).max(SHORTEST_RELIST))
}

/// Writes what differs, and marks what the catalog no longer lists. Plans come first, so that a class that can be seen
/// is complete.
async fn sync(broker: &ClusterServiceBroker, catalog: &Catalog, context: &Context) -> Result<(), SyncError> {
    let name = broker.name_any();
    let (classes, plans) = objects(broker, catalog)?;
    for (id, class) in &classes {
        let other = context.stores.class(id).map(|class| class.spec.cluster_service_broker_name.clone());
        if let Some(other) = other.filter(|other| *other != name && context.stores.broker(other).is_some()) {
            let service = &class.spec.external_name;
            return Err(SyncError::Taken(format!(
                "the broker {other} already offers the service {service:?} with its id"
            )));
        }
    }
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
    apply(context, new_plans.map(|(_, plan)| plan)).await?;
    apply(context, new_classes.map(|(_, class)| class)).await?;
    let plan_marks = known_plans
        .iter()
        .map(|plan| (plan.name_any(), plan.is_removed(), plans.contains_key(&plan.name_any())));
    mark::<ClusterServicePlan>(context, plan_marks).await?;
    let class_marks = known_classes
        .iter()
        .map(|class| (class.name_any(), class.is_removed(), classes.contains_key(&class.name_any())));
    mark::<ClusterServiceClass>(context, class_marks).await
}

async fn apply<'a, K>(context: &Context, objects: impl Iterator<Item = &'a K>) -> Result<(), SyncError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned + 'a,
{
    let api: Api<K> = Api::all(context.client.clone());
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let writes: Vec<_> = objects
        .map(|object| {
            let (api, parameters) = (&api, &parameters);
            async move { api.patch(&object.name_any(), parameters, &Patch::Apply(object)).await.map(drop) }
        })
        .collect();
    Ok(stream::iter(writes).buffer_unordered(WRITES).try_collect().await?)
}

/// Says of each object, given as name, whether it is marked as removed and whether the catalog lists it, what is so.
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

type Objects = (BTreeMap<String, ClusterServiceClass>, BTreeMap<String, ClusterServicePlan>);

/// The objects of a catalog, by name. Pure.
fn objects(broker: &ClusterServiceBroker, catalog: &Catalog) -> Result<Objects, SyncError> {
    let (mut classes, mut plans) = Objects::default();
    for service in &catalog.services {
        if service.id.as_str().is_empty() || service.name.is_empty() {
            return Err(SyncError::Catalog(format!("the service {:?} has no id or no name", service.name)));
        }
        let class = class(broker, service);
        let class_name = class.name_any();
        if classes.insert(class_name.clone(), class).is_some() {
            return Err(SyncError::Catalog(format!("two services have the id {:?}", service.id.as_str())));
        }
        for offered in &service.plans {
            if offered.id.as_str().is_empty() || offered.name.is_empty() {
                let message = format!("the plan {:?} of {} has no id or no name", offered.name, service.name);
                return Err(SyncError::Catalog(message));
            }
            let plan = plan(broker, offered, &class_name);
            if plans.insert(plan.name_any(), plan).is_some() {
                return Err(SyncError::Catalog(format!("two plans have the id {:?}", offered.id.as_str())));
            }
        }
    }
    Ok((classes, plans))
}

fn class(broker: &ClusterServiceBroker, service: &Service) -> ClusterServiceClass {
    let spec = ClusterServiceClassSpec {
        external_name: service.name.clone(),
        external_id: service.id.to_string(),
        description: service.description.clone(),
        bindable: service.bindable,
        binding_retrievable: service.bindings_retrievable,
        plan_updatable: service.plan_updateable,
        external_metadata: service.metadata.clone(),
        tags: service.tags.clone(),
        requires: service.requires.clone(),
        cluster_service_broker_name: broker.name_any(),
    };
    let mut class = ClusterServiceClass::new(&names::escaped(service.id.as_str()), spec);
    class.metadata.owner_references = broker.controller_owner_ref(&()).map(|owner| vec![owner]);
    class
}

fn plan(broker: &ClusterServiceBroker, plan: &Plan, class: &str) -> ClusterServicePlan {
    let schema = |path: &str| {
        plan.schemas
            .as_ref()
            .and_then(|schemas| schemas.pointer(path))
            .filter(|schema| schema.is_object())
            .cloned()
    };
    let schema = |path: &str| -> Option<Value> { schema(&format!("{path}/parameters")) };
    let spec = ClusterServicePlanSpec {
        external_name: plan.name.clone(),
        external_id: plan.id.to_string(),
        description: plan.description.clone(),
        bindable: plan.bindable,
        free: plan.free.unwrap_or(true),
        external_metadata: plan.metadata.clone(),
        instance_create_parameter_schema: schema("/service_instance/create"),
        instance_update_parameter_schema: schema("/service_instance/update"),
        service_binding_create_parameter_schema: schema("/service_binding/create"),
        cluster_service_broker_name: broker.name_any(),
        cluster_service_class_ref: LocalReference { name: class.to_owned() },
    };
    let mut object = ClusterServicePlan::new(&names::escaped(plan.id.as_str()), spec);
    object.metadata.owner_references = broker.controller_owner_ref(&()).map(|owner| vec![owner]);
    object
}

/// Removes what the broker offered, then lets go of it. What it still holds is in the claims.
async fn delete(
    api: &Api<ClusterServiceBroker>,
    broker: &ClusterServiceBroker,
    context: &Context,
) -> Result<Next, ReconcileError> {
    if !has_finalizer(broker) {
        return Ok(Next::Settled);
    }
    let name = broker.name_any();
    let classes = context.stores.classes.state_filter(|class| class.spec.cluster_service_broker_name == name);
    let plans = context.stores.plans.state_filter(|plan| plan.spec.cluster_service_broker_name == name);
    remove::<ClusterServiceClass>(context, classes.iter().map(|class| class.name_any())).await?;
    remove::<ClusterServicePlan>(context, plans.iter().map(|plan| plan.name_any())).await?;
    remove_finalizer(context, api, broker).await?;
    Ok(Next::Settled)
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
    use crate::catalog::api::ClusterServiceBrokerSpec;

    fn broker() -> ClusterServiceBroker {
        ClusterServiceBroker::new("b", ClusterServiceBrokerSpec::default())
    }

    fn catalog(json: Value) -> Catalog {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_catalog_becomes_classes_and_plans() {
        let offered = catalog(json!({"services": [{
            "id": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "name": "cockroachdb", "description": "SQL", "bindable": true,
            "metadata": {"displayName": "CockroachDB"}, "tags": ["SQL"],
            "plans": [{"id": "P1", "name": "default", "description": "Default",
                "schemas": {"service_instance": {"create": {"parameters": {"type": "object"}}}}}]
        }]}));
        let (classes, plans) = objects(&broker(), &offered).unwrap();
        let class = &classes["e2e250b5-73f8-45fd-9a7f-93c8dddc5f00"];
        assert_eq!((&*class.spec.external_name, class.spec.bindable), ("cockroachdb", true));
        assert_eq!(class.spec.cluster_service_broker_name, "b");
        let plan = &plans["z50z1"];
        assert_eq!((&*plan.spec.external_id, plan.spec.free), ("P1", true));
        assert_eq!(plan.spec.cluster_service_class_ref.name, class.name_any());
        assert_eq!(plan.spec.instance_create_parameter_schema, Some(json!({"type": "object"})));
        assert_eq!(plan.spec.instance_update_parameter_schema, None);
    }

    #[test]
    fn a_catalog_that_contradicts_itself_is_refused() {
        let service = json!({"id": "s", "name": "n", "description": "", "bindable": true,
            "plans": [{"id": "p", "name": "p", "description": ""}]});
        let mut other_id = service.clone();
        other_id["id"] = json!("t");
        let mut nameless = service.clone();
        nameless["name"] = json!("");
        for (services, word) in [
            (json!([service, service]), "two services"),
            (json!([service, other_id]), "two plans"),
            (json!([nameless]), "no name"),
        ] {
            let message =
                objects(&broker(), &catalog(json!({"services": services}))).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn catalogs_are_read_every_quarter_of_an_hour_unless_told_otherwise() {
        let mut broker = broker();
        assert_eq!(relist(&broker), RELIST);
        broker.spec.relist_duration = Some("1h30m".to_owned());
        assert_eq!(relist(&broker), Duration::from_mins(90));
        broker.spec.relist_duration = Some("1s".to_owned());
        assert_eq!(relist(&broker), SHORTEST_RELIST);
    }
}
