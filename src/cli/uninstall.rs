//! `bindery uninstall`: runs as the chart's pre-delete hook, so that an uninstall leaves no pod waiting and no
//! database without an owner.

use std::fmt::Debug;

use anyhow::bail;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
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
/// The command refuses to run while a `ServiceInstance`, `ServiceBinding` or ExternalResource exists, because bindery
/// would no longer be there to delete their databases and users. It then removes the webhook configuration, because
/// annotated pods could not start without the webhook, and opens the scheduling gates of pods that wait for their
/// bindings.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    /// The installation's name, which is also the name of the webhook configuration.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// Continue although instances and bindings exist; their databases and users remain.
    #[arg(long)]
    force: bool,
}

/// Checks that nothing is held, then removes the webhook configuration and opens gates.
///
/// # Errors
/// When instances exist and `--force` is not given, or the API server refuses.
pub(super) async fn run(args: &UninstallArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    if !args.force {
        refuse_while_anything_is_held(&client).await?;
    }
    let removed = remove::<MutatingWebhookConfiguration>(&client, &args.name).await?;
    // Without policies there is none.
    remove::<ValidatingWebhookConfiguration>(&client, &args.name).await?;
    let opened = match gates::open_all(client).await {
        Ok(opened) => opened,
        Err(error) => bail!("cannot open the gates of waiting pods: {}", explain(&error)),
    };
    Ok(format!(
        "MutatingWebhookConfiguration {} {removed}\nopened scheduling gates of waiting pods: {opened}\n",
        args.name
    ))
}

/// Removes a webhook configuration. Returns what became of it.
async fn remove<K>(client: &Client, name: &str) -> anyhow::Result<&'static str>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match Api::<K>::all(client.clone()).delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok("removed"),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok("was gone already"),
        Err(error) => bail!("cannot delete {} {name}: {}", K::kind(&()), explain(&error)),
    }
}

/// After the uninstall nobody would delete these at the broker or remove their finalizers.
async fn refuse_while_anything_is_held(client: &Client) -> anyhow::Result<()> {
    let mut held = names::<ServiceInstance>(client).await?;
    held.extend(names::<ServiceBinding>(client).await?);
    held.extend(names::<ExternalResource>(client).await?);
    if held.is_empty() {
        return Ok(());
    }
    bail!(
        "these objects still hold databases, users or stacks: {}. Delete the NamespaceBindings first, because \
        they would recreate their instances. Then delete the ServiceBindings, the ServiceInstances and the \
        objects of service-operator.aws, and wait until the ExternalResources are gone. To leave everything as \
        it is instead, uninstall with uninstall.force=true",
        held.join(", ")
    );
}

/// The names of the first few objects of a kind.
async fn names<K>(client: &Client) -> anyhow::Result<Vec<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    const NAMED_AT_MOST: u32 = 10;
    let first = ListParams::default().limit(NAMED_AT_MOST);
    let found = match Api::<K>::all(client.clone()).list_metadata(&first).await {
        Ok(found) => found,
        // Without the CRD there are no objects.
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
