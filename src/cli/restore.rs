//! `bindery restore`: a lost store, rebuilt from the Claims.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::json;

use super::broker_source::BrokerSource;
use crate::{
    broker::{self, Held, InstanceSpec},
    catalog::api::{Claim, ServiceInstance},
    cluster::{self, broker_secret::BrokerSecret, explain, list::list, trim::is_cut},
    osb::Object,
};

/// Rebuild the broker's lost store from the Claims of the cluster.
///
/// Adds a record for each instance and binding that is claimed and has none; on the servers it only completes what was
/// half-made. Restored bindings keep working, and can be deleted; binding one again gives it a new password. A store in a
/// file must not be in use: the chart's value broker.restore runs this before the broker starts.
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

/// What was restored, for people.
///
/// # Errors
/// When the configuration cannot be used, or the store, a server or the API server cannot be read.
pub(super) async fn run(args: &RestoreArgs) -> anyhow::Result<String> {
    let client = cluster::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{}-broker", args.name)).await?;
    let config = args.source.in_kubernetes(secret)?;
    let held = claimed(&client).await?;
    let report = broker::restore(&config, &held).await?;
    if report.is_complete() {
        Ok(format!("{report}\n"))
    } else {
        bail!("the restore is not complete:\n{report}")
    }
}

/// What all Claims say, by instance.
async fn claimed(client: &Client) -> anyhow::Result<Vec<Held>> {
    let claims = match list::<Claim>(&Api::all(client.clone()), ListParams::default()).await {
        Ok(claims) => match claims.complete() {
            Ok(claims) => claims,
            Err(unread) => bail!("Claim {unread}; correct or delete it"),
        },
        Err(error) => bail!("cannot list Claims: {}", explain(&error)),
    };
    let cluster = uid(client, "kube-system").await?.unwrap_or_default();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.spec.binding_id.is_none()) {
        held.insert(claim.spec.instance_id.clone(), instance(client, claim, &cluster).await?);
    }
    for claim in &claims {
        let Some(binding) = &claim.spec.binding_id else { continue };
        match held.get_mut(&claim.spec.instance_id) {
            Some(held) => held.bindings.push(binding.as_str().into()),
            None => bail!(
                "Claim {} is of a binding on instance {}, which no Claim names; delete the Claim if nothing needs it",
                claim.name_any(),
                claim.spec.instance_id
            ),
        }
    }
    Ok(held.into_values().collect())
}

/// The instance as the catalog asked for it, as far as its object still tells.
async fn instance(client: &Client, claim: &Claim, cluster: &str) -> anyhow::Result<Held> {
    let spec = &claim.spec;
    let api: Api<ServiceInstance> = Api::namespaced(client.clone(), &spec.namespace);
    let object =
        api.get_opt(&spec.name).await.with_context(|| format!("cannot read {}", claim.name_any()))?;
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
            // A Claim of an earlier version. Of a namespace that is gone nobody asks again, but a record names one.
            None => uid(client, &spec.namespace).await?.unwrap_or_else(|| spec.namespace.clone()),
        },
        // A broker was never asked with parameters that nest too deep.
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

async fn uid(client: &Client, namespace: &str) -> anyhow::Result<Option<String>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_metadata_opt(namespace).await;
    let found = found.with_context(|| format!("cannot read namespace {namespace}"))?;
    Ok(found.and_then(|namespace| namespace.uid()))
}
