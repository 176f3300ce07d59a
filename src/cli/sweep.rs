//! `bindery sweep`: what was made for somebody and is nobody's any more.

use std::fmt::Write;

use anyhow::bail;
use kube::{Api, api::ListParams};

use super::broker_source::BrokerSource;
use crate::{
    apis::servicecatalog::{ExternalResource, ExternalResourceState},
    broker::{self, PlatformInstance, SweepReport},
    install::broker_secret::BrokerSecret,
    k8s::{self, explain, list::list},
};

/// Find what no record owns any more in the databases, and remove it on request.
///
/// Lists databases and users that bear this installation's mark but that neither a record of the broker nor an ExternalResource
/// owns, and ExternalResources whose object is gone. Changes nothing unless --delete is given; what other installations made is
/// never touched.
#[derive(Debug, clap::Args)]
pub(super) struct SweepArgs {
    /// The installation's name. Without it the broker is one without Kubernetes, configured as for `bindery broker`.
    #[arg(long, env = "BINDERY_NAME")]
    name: Option<String>,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    #[command(flatten)]
    source: BrokerSource,
    /// Remove what is left over.
    #[arg(long)]
    delete: bool,
}

/// What the sweep found, for people.
///
/// # Errors
/// When the configuration cannot be used, or the store or the API server cannot be read; also when a part of the sweep
/// failed, with what was found and done all the same.
pub(super) async fn run(args: &SweepArgs) -> anyhow::Result<String> {
    let Some(name) = &args.name else {
        return told("", &broker::sweep(&args.source.standalone()?, &[], args.delete).await?);
    };
    let client = k8s::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{name}-broker")).await?;
    let config = args.source.in_kubernetes(secret)?;
    let (external_resources, hint) =
        match list::<ExternalResource>(&Api::all(client), ListParams::default()).await {
            // What the ExternalResource stands for would count as left over.
            Ok(external_resources) => match external_resources.complete() {
                Ok(external_resources) => (external_resources, String::new()),
                Err(unread) => bail!(
                    "ExternalResource {unread}, so what is left over cannot be told; correct or delete it"
                ),
            },
            // An installation without the Service Catalog API has no ExternalResources, or leaves them to another.
            Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => {
                (Vec::new(), format!("ExternalResources are not looked at: {}\n", status.message))
            }
            Err(error) => bail!("cannot list ExternalResources: {}", explain(&error)),
        };
    let report = broker::sweep(&config, &on_platform(&external_resources), args.delete).await?;
    told(&(hint + &released(&external_resources)?), &report)
}

fn told(before: &str, report: &SweepReport) -> anyhow::Result<String> {
    let told = format!("{before}{report}\n");
    if report.is_complete() { Ok(told) } else { bail!("the sweep is not complete:\n{told}") }
}

fn on_platform(external_resources: &[ExternalResource]) -> Vec<PlatformInstance> {
    let of = |external_resource: &ExternalResource| PlatformInstance {
        instance: external_resource.spec.instance_id.as_str().into(),
        bindings: external_resource.spec.binding_id.iter().map(|id| id.as_str().into()).collect(),
    };
    external_resources.iter().map(of).collect()
}

/// The ExternalResources whose object is gone, a line each. bindery itself goes on deleting what they stand for.
fn released(external_resources: &[ExternalResource]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for ExternalResource { spec, status, .. } in external_resources {
        let Some(status) =
            status.as_ref().filter(|status| status.state == Some(ExternalResourceState::Releasing))
        else {
            continue;
        };
        writeln!(
            lines,
            "held by broker {} for {:?} {}/{}, which is gone: {}",
            spec.broker.name,
            spec.kind,
            spec.namespace,
            spec.name,
            status.message.as_deref().unwrap_or("being deleted")
        )?;
    }
    Ok(lines)
}
