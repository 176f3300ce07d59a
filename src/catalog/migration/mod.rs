//! Takes over what another Service Catalog controller provisioned: for each instance and binding that a broker holds,
//! records the ExternalResource that bindery would have recorded before the first request. Nothing is sent to a broker.
//! `plan` decides what to record (pure), `dump` recreates the objects of a dump.

mod dump;
mod plan;

use std::{
    collections::{BTreeSet, HashMap},
    fmt::{self, Debug},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

pub use self::dump::{DumpError, Objects};
use crate::{
    apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
        ServiceBroker, ServiceClass, ServiceInstance, ServicePlan,
        scope::{BrokerObject, ClassObject, PlanObject},
    },
    contract::{
        FIELD_MANAGER,
        approval::{APPROVAL, CHECK},
        external_resource::NOT_OF_STACKS,
    },
    k8s::{
        explain,
        list::{self, Unread},
    },
};

/// Why a migration stopped.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The API server refused a request.
    #[error("{what}: {}", explain(.error))]
    Cluster {
        /// What was asked.
        what: String,
        /// The API server's answer.
        error: kube::Error,
    },
    /// An incomplete list could lead to a wrong record.
    #[error("{0}; correct or delete it, then run the command again")]
    Unread(Unread),
}

/// The objects of the Service Catalog API in a cluster.
#[derive(Default)]
struct Inventory {
    brokers: Vec<Arc<dyn BrokerObject>>,
    classes: Vec<Arc<dyn ClassObject>>,
    plans: Vec<Arc<dyn PlanObject>>,
    instances: Vec<ServiceInstance>,
    bindings: Vec<ServiceBinding>,
    /// The uids of the namespaces.
    namespaces: HashMap<String, String>,
}

/// What a migration recorded or would record.
#[derive(Debug, Default)]
pub struct Report {
    /// Objects of a dump that were created.
    pub created: Vec<String>,
    /// ExternalResources that were recorded.
    pub recorded: Vec<String>,
    /// How many ExternalResources existed before.
    pub known: usize,
    /// Brokers, instances and bindings whose references to Secrets still need the webhook's approval.
    pub unapproved: Vec<String>,
    /// What could not be taken over, and what to do.
    pub problems: Vec<String>,
    /// Whether nothing was written.
    pub is_dry_run: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (create, record) =
            if self.is_dry_run { ("would create", "would record") } else { ("created", "recorded") };
        for name in &self.created {
            writeln!(f, "{create}: {name}")?;
        }
        for name in &self.recorded {
            writeln!(f, "{record}: {name}")?;
        }
        for name in &self.unapproved {
            writeln!(
                f,
                "not approved: {name}: its Secrets are not read before bindery's webhook has approved them"
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        let (recorded, known, problems) = (self.recorded.len(), self.known, self.problems.len());
        write!(f, "{recorded} {record}, {known} known before, {problems} with a problem")
    }
}

impl Inventory {
    /// Reads all objects of a cluster; of instances and bindings only those in these namespaces, or all.
    ///
    /// # Errors
    /// When a kind cannot be listed, or an object cannot be read.
    async fn read(client: &Client, namespaces: &[String]) -> Result<Self, MigrationError> {
        let mut inventory = Self {
            instances: within(namespaces, all::<ServiceInstance>(client).await?),
            bindings: within(namespaces, all::<ServiceBinding>(client).await?),
            ..Self::default()
        };
        inventory.brokers.extend(all::<ClusterServiceBroker>(client).await?.into_iter().map(as_broker));
        inventory.brokers.extend(all::<ServiceBroker>(client).await?.into_iter().map(as_broker));
        inventory.classes.extend(all::<ClusterServiceClass>(client).await?.into_iter().map(as_class));
        inventory.classes.extend(all::<ServiceClass>(client).await?.into_iter().map(as_class));
        inventory.plans.extend(all::<ClusterServicePlan>(client).await?.into_iter().map(as_plan));
        inventory.plans.extend(all::<ServicePlan>(client).await?.into_iter().map(as_plan));
        for namespace in all::<Namespace>(client).await? {
            inventory.namespaces.insert(namespace.name_any(), namespace.uid().unwrap_or_default());
        }
        Ok(inventory)
    }
}

fn within<K: ResourceExt>(namespaces: &[String], mut objects: Vec<K>) -> Vec<K> {
    let is_selected = |name: Option<String>| name.is_some_and(|name| namespaces.contains(&name));
    objects.retain(|object| namespaces.is_empty() || is_selected(object.namespace()));
    objects
}

fn as_broker<B: BrokerObject + 'static>(broker: B) -> Arc<dyn BrokerObject> {
    Arc::new(broker)
}

fn as_class<C: ClassObject + 'static>(class: C) -> Arc<dyn ClassObject> {
    Arc::new(class)
}

fn as_plan<P: PlanObject + 'static>(plan: P) -> Arc<dyn PlanObject> {
    Arc::new(plan)
}

async fn all<K>(client: &Client) -> Result<Vec<K>, MigrationError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // Stacks are none of a broker's.
    let selected = ListParams::default().labels(NOT_OF_STACKS);
    let listed = list::list(&Api::all(client.clone()), selected).await;
    let listed = listed.map_err(failed(|| format!("cannot list {}", K::plural(&()))))?;
    listed.complete().map_err(MigrationError::Unread)
}

fn failed(what: impl Fn() -> String) -> impl Fn(kube::Error) -> MigrationError {
    move |error| MigrationError::Cluster { what: what(), error }
}

/// Takes over the instances and bindings in these namespaces, or in all if none is named. With `apply` false, only
/// reports.
///
/// # Errors
/// When the cluster cannot be read or written.
pub async fn take_over(
    client: &Client,
    namespaces: &[String],
    apply: bool,
) -> Result<Report, MigrationError> {
    let mut report = Report { is_dry_run: !apply, ..Report::default() };
    report.unapproved = approve_secrets(client, apply).await?;
    let inventory = Inventory::read(client, namespaces).await?;
    let plan = plan::plan(&inventory);
    report.problems = plan.problems;
    let api: Api<ExternalResource> = Api::all(client.clone());
    let known: BTreeSet<String> =
        all::<ExternalResource>(client).await?.iter().map(ResourceExt::name_any).collect();
    for external_resource in plan.external_resources {
        let name = external_resource.name_any();
        if known.contains(&name) {
            report.known += 1;
            continue;
        }
        if apply {
            let parameters =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            api.create(&parameters, &external_resource)
                .await
                .map_err(failed(|| format!("cannot create ExternalResource {name}")))?;
        }
        let spec = &external_resource.spec;
        report.recorded.push(format!("{name} for {:?} {}/{}", spec.kind, spec.namespace, spec.name));
    }
    Ok(report)
}

/// Requests the webhook's check for objects that name Secrets and carry no approval: the check is made with the rights
/// of the user who runs the migration. Returns the objects that have no approval afterwards.
async fn approve_secrets(client: &Client, apply: bool) -> Result<Vec<String>, MigrationError> {
    let mut unapproved = Vec::new();
    for broker in all::<ClusterServiceBroker>(client).await? {
        if broker.auth_info().is_some() && broker.annotation(APPROVAL).is_none() {
            let api: Api<ClusterServiceBroker> = Api::all(client.clone());
            unapproved.extend(approve(&api, &broker, apply).await?);
        }
    }
    for broker in all::<ServiceBroker>(client).await? {
        if broker.auth_info().is_some() && broker.annotation(APPROVAL).is_none() {
            let api = Api::namespaced(client.clone(), &broker.namespace().unwrap_or_default());
            unapproved.extend(approve(&api, &broker, apply).await?);
        }
    }
    Ok(unapproved)
}

async fn approve<K>(api: &Api<K>, object: &K, apply: bool) -> Result<Option<String>, MigrationError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let name = format!("{} {}", K::kind(&()), object.name_any());
    if !apply {
        return Ok(Some(name));
    }
    let patch = Patch::Merge(json!({"metadata": {"annotations": {APPROVAL: CHECK}}}));
    let patched = api
        .patch(&object.name_any(), &PatchParams::default(), &patch)
        .await
        .map_err(failed(|| format!("cannot request the check of the Secrets of {name}")))?;
    let approval = patched.annotations().get(APPROVAL).map(String::as_str);
    Ok((approval == Some(CHECK)).then_some(name))
}
