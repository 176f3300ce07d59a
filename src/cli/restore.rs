//! `bindery restore`: rebuilds a lost store from the ExternalResources.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::json;

use super::broker_source::BrokerSource;
use crate::{
    apis::servicecatalog::{ExternalResource, ServiceBinding, ServiceInstance},
    broker::{self, Held, HeldBinding, InstanceSpec},
    contract::external_resource::NOT_OF_STACKS,
    install::broker_secret::BrokerSecret,
    k8s::{self, explain, list::list, trim::is_cut},
    osb::Object,
};

/// Rebuild the broker's lost store from the ExternalResources of the cluster.
///
/// The command adds a record for each instance and binding that has an ExternalResource but no record. On the
/// database servers it only completes half-made objects. Restored bindings keep working and can be deleted. Binding
/// an existing binding again gives it a new password. A store in a file must not be in use: the chart's value
/// broker.restore runs this command before the broker starts.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The installation's name.
    #[arg(long, env = "BINDERY_NAME")]
    name: String,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    #[command(flatten)]
    source: BrokerSource,
}

/// Returns a report of what was restored.
///
/// # Errors
/// When the configuration is invalid, or the store, a database server or the API server cannot be read.
pub(super) async fn run(args: &RestoreArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{}-broker", args.name)).await?;
    let config = args.source.in_kubernetes(secret)?;
    let held = on_platform(&client).await?;
    let report = broker::restore(&config, &held).await?;
    if report.is_complete() {
        Ok(format!("{report}\n"))
    } else {
        bail!("the restore is incomplete:\n{report}")
    }
}

/// Reads all ExternalResources, grouped by instance.
async fn on_platform(client: &Client) -> anyhow::Result<Vec<Held>> {
    let external_resources = match list::<ExternalResource>(
        &Api::all(client.clone()),
        ListParams::default().labels(NOT_OF_STACKS),
    )
    .await
    {
        Ok(external_resources) => match external_resources.complete() {
            Ok(external_resources) => external_resources,
            Err(unread) => bail!("ExternalResource {unread}; correct or delete it"),
        },
        Err(error) => bail!("cannot list ExternalResources: {}", explain(&error)),
    };
    let cluster = uid(client, "kube-system").await?.unwrap_or_default();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for external_resource in
        external_resources.iter().filter(|external_resource| external_resource.spec.binding_id.is_none())
    {
        held.insert(
            external_resource.spec.instance_id.clone(),
            instance(client, external_resource, &cluster).await?,
        );
    }
    for external_resource in &external_resources {
        let Some(id) = &external_resource.spec.binding_id else { continue };
        match held.get_mut(&external_resource.spec.instance_id) {
            Some(held) => held.bindings.push(binding(client, external_resource, id).await?),
            None => bail!(
                "ExternalResource {} is for a binding of instance {}, for which there is no ExternalResource; \
                delete ExternalResource {0} if nothing needs it",
                external_resource.name_any(),
                external_resource.spec.instance_id
            ),
        }
    }
    Ok(held.into_values().collect())
}

/// The instance with its parameters, as far as its ServiceInstance still exists.
async fn instance(
    client: &Client,
    external_resource: &ExternalResource,
    cluster: &str,
) -> anyhow::Result<Held> {
    let spec = &external_resource.spec;
    let api: Api<ServiceInstance> = Api::namespaced(client.clone(), &spec.namespace);
    let object = api
        .get_opt(&spec.name)
        .await
        .with_context(|| format!("cannot read {}", external_resource.name_any()))?;
    let object = object.filter(|object| object.metadata.uid.as_deref() == Some(spec.uid.as_str()));
    let context = json!({
        "platform": "kubernetes",
        "namespace": spec.namespace,
        "clusterid": cluster,
        "instance_name": spec.name,
    });
    let are_parameters_known = object.is_some();
    let instance = InstanceSpec {
        id: spec.instance_id.as_str().into(),
        service_id: spec.service_id.as_str().into(),
        plan_id: spec.plan_id.as_str().into(),
        organization_guid: cluster.to_owned(),
        space_guid: match spec.space_guid.as_ref().or(spec.namespace_uid.as_ref()) {
            Some(told) => told.clone(),
            // ExternalResources of earlier versions have no uid of the namespace. A namespace that is gone asks for
            // nothing more, but a record needs some value.
            None => uid(client, &spec.namespace).await?.unwrap_or_else(|| spec.namespace.clone()),
        },
        // The catalog never sends parameters that are nested too deeply.
        parameters: object
            .and_then(|object| object.spec.parameters)
            .filter(|parameters| !parameters.values().any(is_cut))
            .unwrap_or_default(),
        context: context.as_object().cloned().unwrap_or_else(Object::new),
        maintenance_version: None,
        settled: Object::new(),
    };
    Ok(Held { instance, are_parameters_known, bindings: Vec::new() })
}

/// The binding with its parameters, as far as its ServiceBinding still exists and names them in the clear.
async fn binding(
    client: &Client,
    external_resource: &ExternalResource,
    id: &str,
) -> anyhow::Result<HeldBinding> {
    let spec = &external_resource.spec;
    let api: Api<ServiceBinding> = Api::namespaced(client.clone(), &spec.namespace);
    let object = api
        .get_opt(&spec.name)
        .await
        .with_context(|| format!("cannot read {}", external_resource.name_any()))?;
    let object = object.filter(|object| object.metadata.uid.as_deref() == Some(spec.uid.as_str()));
    let parameters = object
        .filter(|object| object.spec.parameters_from.is_empty())
        .map(|object| object.spec.parameters.unwrap_or_default())
        .filter(|parameters| !parameters.values().any(is_cut));
    Ok(HeldBinding { id: id.into(), parameters, predecessor: spec.predecessor_id.as_deref().map(Into::into) })
}

async fn uid(client: &Client, namespace: &str) -> anyhow::Result<Option<String>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata_opt(namespace).await;
    let found = found.with_context(|| format!("cannot read namespace {namespace}"))?;
    Ok(found.and_then(|namespace| namespace.uid()))
}
