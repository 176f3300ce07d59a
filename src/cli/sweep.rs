//! `bindery sweep`: what was made for somebody and is nobody's any more.

use std::fmt::Write;

use anyhow::bail;
use kube::{Api, api::ListParams};

use super::broker_source::BrokerSource;
use crate::{
    broker::{self, Claimed, SweepReport},
    catalog::api::{Claim, ClaimState},
    cluster::{self, broker_secret::BrokerSecret, explain, list::list},
};

/// Find what no record owns any more in the databases, and remove it on request.
///
/// Lists databases and users that bear this installation's mark but that neither a record of the broker nor a Claim
/// owns, and Claims whose object is gone. Changes nothing unless --delete is given; what other installations made is
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
    let client = cluster::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{name}-broker")).await?;
    let config = args.source.in_kubernetes(secret)?;
    let (claims, hint) = match list::<Claim>(&Api::all(client), ListParams::default()).await {
        // What the Claim stands for would count as left over.
        Ok(claims) => match claims.complete() {
            Ok(claims) => (claims, String::new()),
            Err(unread) => bail!("Claim {unread}, so what is left over cannot be told; correct or delete it"),
        },
        // An installation without the Service Catalog API has no Claims, or leaves them to another.
        Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => {
            (Vec::new(), format!("Claims are not looked at: {}\n", status.message))
        }
        Err(error) => bail!("cannot list Claims: {}", explain(&error)),
    };
    let report = broker::sweep(&config, &claimed(&claims), args.delete).await?;
    told(&(hint + &released(&claims)?), &report)
}

fn told(before: &str, report: &SweepReport) -> anyhow::Result<String> {
    let told = format!("{before}{report}\n");
    if report.is_complete() { Ok(told) } else { bail!("the sweep is not complete:\n{told}") }
}

fn claimed(claims: &[Claim]) -> Vec<Claimed> {
    let of = |claim: &Claim| Claimed {
        instance: claim.spec.instance_id.as_str().into(),
        bindings: claim.spec.binding_id.iter().map(|id| id.as_str().into()).collect(),
    };
    claims.iter().map(of).collect()
}

/// The Claims whose object is gone, a line each. bindery itself goes on deleting what they stand for.
fn released(claims: &[Claim]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for Claim { spec, status, .. } in claims {
        let Some(status) = status.as_ref().filter(|status| status.state == Some(ClaimState::Releasing))
        else {
            continue;
        };
        writeln!(
            lines,
            "claimed from broker {} for {:?} {}/{}, which is gone: {}",
            spec.broker.name,
            spec.kind,
            spec.namespace,
            spec.name,
            status.message.as_deref().unwrap_or("being deleted")
        )?;
    }
    Ok(lines)
}
