//! `bindery uninstall`: what the chart's pre-delete hook runs, so that an uninstall strands neither pods nor databases.

use anyhow::bail;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{catalog::api::ServiceInstance, cluster::explain};

/// Prepares the removal of this installation: refuses while a ServiceInstance exists, since nobody would be left to
/// delete their databases, then removes the webhook configuration, since no annotated pod could start without the webhook.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    /// The installation's name, which is that of the webhook configuration.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// Go on although a ServiceInstance exists.
    #[arg(long)]
    force: bool,
}

/// Checks and removes.
///
/// # Errors
/// When instances exist and `--force` is not given, or the API server refuses.
pub(super) async fn run(args: &UninstallArgs) -> anyhow::Result<String> {
    let client = Client::try_default().await?;
    if !args.force {
        refuse_while_instances_exist(&client).await?;
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client);
    match configurations.delete(&args.name, &DeleteParams::default()).await {
        Ok(_) => Ok(format!("MutatingWebhookConfiguration {} removed\n", args.name)),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Ok(format!("MutatingWebhookConfiguration {} was gone already\n", args.name))
        }
        Err(error) => {
            bail!("cannot delete MutatingWebhookConfiguration {}: {}", args.name, explain(&error))
        }
    }
}

async fn refuse_while_instances_exist(client: &Client) -> anyhow::Result<()> {
    const NAMED_AT_MOST: u32 = 20;
    let instances: Api<ServiceInstance> = Api::all(client.clone());
    let found = match instances.list(&ListParams::default().limit(NAMED_AT_MOST)).await {
        Ok(found) => found,
        // Without the CRD there are no instances.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => bail!("cannot list ServiceInstances: {}", explain(&error)),
    };
    let names: Vec<String> = found
        .iter()
        .map(|instance| format!("{}/{}", instance.namespace().unwrap_or_default(), instance.name_any()))
        .collect();
    anyhow::ensure!(
        names.is_empty(),
        "ServiceInstances exist: {}{}. Delete them first (kubectl delete serviceinstances), or uninstall with \
         uninstall.force=true and their databases stay",
        names.join(", "),
        if found.metadata.continue_.is_some_and(|token| !token.is_empty()) { ", …" } else { "" },
    );
    Ok(())
}
