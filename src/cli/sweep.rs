//! `bindery sweep`: lists what backends hold without an owner, and removes it on request.

use std::fmt::Write;

use anyhow::bail;
use kube::{Api, api::ListParams};

use super::{aws_operator::OtherAccounts, broker_source::BrokerSource};
use crate::{
    apis::servicecatalog::{ExternalResource, ExternalResourceState},
    broker::{self, PlatformInstance, SweepReport},
    cloud::aws::{Account, AccountSettings},
    contract::external_resource::NOT_OF_STACKS,
    install::broker_secret::BrokerSecret,
    k8s::{self, explain, list::list},
    operators::aws::{AccountList, UnownedStack, unowned_stacks},
};

/// List databases and users that nothing owns any more, and remove them on request.
///
/// Lists databases and users that carry this installation's mark but belong to no record of the broker and no
/// ExternalResource. Also lists ExternalResources whose object is gone. Changes nothing without --delete. Never
/// touches what another installation made.
#[derive(Debug, clap::Args)]
pub(super) struct SweepArgs {
    /// The installation's name. Without it the command reads the configuration of a broker without Kubernetes, as
    /// `bindery broker` does.
    #[arg(long, env = "BINDERY_NAME")]
    name: Option<String>,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    #[command(flatten)]
    source: BrokerSource,
    /// Remove the listed databases and users.
    #[arg(long, conflicts_with = "aws")]
    delete: bool,
    /// List instead the stacks of `bindery aws-operator` that no object of service-operator.aws owns. Changes nothing.
    #[arg(long, requires = "cluster_name")]
    aws: bool,
    /// The cluster's name in the names of stacks.
    #[arg(long, env = "BINDERY_CLUSTER_NAME", value_name = "NAME")]
    cluster_name: Option<String>,
    /// The region of the stacks. Default: that of the SDK's chain.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    #[command(flatten)]
    accounts: OtherAccounts,
}

/// Returns a report of what the sweep found.
///
/// # Errors
/// When the configuration is invalid, or the store or the API server cannot be read. Also when a part of the sweep
/// failed; the error then includes the report.
pub(super) async fn run(args: &SweepArgs) -> anyhow::Result<String> {
    if let (true, Some(cluster)) = (args.aws, &args.cluster_name) {
        return stacks(args, cluster).await;
    }
    if !args.aws && (!args.accounts.accounts.is_empty() || !args.accounts.teams.is_empty()) {
        bail!("--account and --team are for --aws; add it, or leave them out");
    }
    let Some(name) = &args.name else {
        return report_or_error("", &broker::sweep(&args.source.standalone()?, &[], args.delete).await?);
    };
    let client = k8s::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{name}-broker")).await?;
    let config = args.source.in_kubernetes(secret)?;
    let (external_resources, hint) = match list::<ExternalResource>(
        &Api::all(client),
        ListParams::default().labels(NOT_OF_STACKS),
    )
    .await
    {
        // Without this ExternalResource its database would look unowned.
        Ok(external_resources) => match external_resources.complete() {
            Ok(external_resources) => (external_resources, String::new()),
            Err(unread) => bail!(
                "ExternalResource {unread}, so the sweep cannot know what it owns; correct or delete it"
            ),
        },
        // An installation without the Service Catalog API has no ExternalResources or may not read them.
        Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => {
            (Vec::new(), format!("ExternalResources are not checked: {}\n", status.message))
        }
        Err(error) => bail!("cannot list ExternalResources: {}", explain(&error)),
    };
    let report = broker::sweep(&config, &on_platform(&external_resources), args.delete).await?;
    report_or_error(&(hint + &released(&external_resources)?), &report)
}

async fn stacks(args: &SweepArgs, cluster: &str) -> anyhow::Result<String> {
    let settings = AccountSettings { region: args.region.clone(), ..AccountSettings::default() };
    let OtherAccounts { accounts, teams } = &args.accounts;
    let accounts = AccountList::new(Account::new(settings.clone()), &settings, accounts, teams);
    let unowned = unowned_stacks(&k8s::client().await?, &accounts, cluster).await?;
    let mut text = String::new();
    for UnownedStack { account, name, status, object, progress } in &unowned {
        let next = match progress {
            Some(progress) => progress.clone(),
            None => format!("aws cloudformation delete-stack --stack-name {name}"),
        };
        writeln!(
            text,
            "stack {name} ({status}) of account {account} was made for {object}, which is gone: {next}"
        )?;
    }
    writeln!(text, "{} stacks without an object", unowned.len())?;
    Ok(text)
}

fn report_or_error(before: &str, report: &SweepReport) -> anyhow::Result<String> {
    let text = format!("{before}{report}\n");
    if report.is_complete() { Ok(text) } else { bail!("the sweep is incomplete:\n{text}") }
}

fn on_platform(external_resources: &[ExternalResource]) -> Vec<PlatformInstance> {
    let of = |external_resource: &ExternalResource| PlatformInstance {
        instance: external_resource.spec.instance_id.as_str().into(),
        bindings: external_resource.spec.binding_id.iter().map(|id| id.as_str().into()).collect(),
    };
    external_resources.iter().map(of).collect()
}

/// The ExternalResources whose object is gone, one line each. bindery itself continues to delete what they stand for.
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
            "still at broker {} for {:?} {}/{}, which is gone: {}",
            spec.broker.name,
            spec.kind,
            spec.namespace,
            spec.name,
            status.message.as_deref().unwrap_or("being deleted")
        )?;
    }
    Ok(lines)
}
