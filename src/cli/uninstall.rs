//! `bindery uninstall`: what the chart's pre-delete hook runs, so that an uninstall strands neither pods nor databases.

use std::fmt::Debug;

use anyhow::bail;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde::de::DeserializeOwned;

use crate::{
    apis::servicecatalog::{ExternalResource, ServiceBinding, ServiceInstance},
    k8s::{self, explain},
    pods::gates,
};

/// Prepare the removal of an installation.
///
/// Refuses while a `ServiceInstance`, `ServiceBinding` or ExternalResource exists, since nobody would be left to delete what they
/// stand for; then removes the webhook configuration, since no annotated pod could start without the webhook, and opens
/// the scheduling gates of pods that wait for their bindings.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    /// The installation's name, which is that of the webhook configuration.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// Go on although something is held, which then stays.
    #[arg(long)]
    force: bool,
}

/// Checks and removes.
///
/// # Errors
/// When instances exist and `--force` is not given, or the API server refuses.
pub(super) async fn run(args: &UninstallArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    if !args.force {
        refuse_while_anything_is_held(&client).await?;
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let removed = match configurations.delete(&args.name, &DeleteParams::default()).await {
        Ok(_) => "removed",
        Err(kube::Error::Api(status)) if status.code == 404 => "was gone already",
        Err(error) => {
            bail!("cannot delete MutatingWebhookConfiguration {}: {}", args.name, explain(&error))
        }
    };
    let opened = match gates::open_all(client).await {
        Ok(opened) => opened,
        Err(error) => bail!("cannot open the gates of waiting pods: {}", explain(&error)),
    };
    Ok(format!(
        "MutatingWebhookConfiguration {} {removed}\npods let go that waited for bindings: {opened}\n",
        args.name
    ))
}

/// Nobody would be left to delete at the broker what these stand for, or to take their finalizers off.
async fn refuse_while_anything_is_held(client: &Client) -> anyhow::Result<()> {
    let mut held = names::<ServiceInstance>(client).await?;
    held.extend(names::<ServiceBinding>(client).await?);
    held.extend(names::<ExternalResource>(client).await?);
    if held.is_empty() {
        return Ok(());
    }
    bail!(
        "these still hold something at a broker: {}. Delete the NamespaceBindings, which would make theirs anew, then the \
         ServiceBindings and ServiceInstances, and wait for the ExternalResources to go, or uninstall with uninstall.force=true and what they stand for stays",
        held.join(", ")
    );
}

/// The objects of a kind, the first few by name.
async fn names<K>(client: &Client) -> anyhow::Result<Vec<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    const NAMED_AT_MOST: u32 = 10;
    let first = ListParams::default().limit(NAMED_AT_MOST);
    let found = match Api::<K>::all(client.clone()).list_metadata(&first).await {
        Ok(found) => found,
        // Without the CRD there are none.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        Err(error) => bail!("cannot list {}: {}", K::plural(&()), explain(&error)),
    };
    let mut names: Vec<String> = found
        .iter()
        .map(|object| match object.namespace() {
            Some(namespace) => format!("{} {namespace}/{}", K::kind(&()), object.name_any()),
            None => format!("{} {}", K::kind(&()), object.name_any()),
        })
        .collect();
    if found.metadata.continue_.is_some_and(|token| !token.is_empty()) {
        names.push(format!("more {}", K::plural(&())));
    }
    Ok(names)
}
