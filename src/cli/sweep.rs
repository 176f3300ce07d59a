//! `bindery sweep`: what was made for somebody and is nobody's any more.

use std::fmt::Write;

use anyhow::Context;
use kube::{Api, Client, api::ListParams};

use super::broker_source::BrokerSource;
use crate::{
    broker,
    catalog::api::{Claim, ClaimState},
    cluster::{self, broker_secret::BrokerSecret},
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
/// When the configuration cannot be used, or the store, a server or the API server cannot be read.
pub(super) async fn run(args: &SweepArgs) -> anyhow::Result<String> {
    let Some(name) = &args.name else {
        return Ok(format!("{}\n", broker::sweep(&args.source.standalone()?, args.delete).await?));
    };
    let client = cluster::client().await?;
    let secret = BrokerSecret::get(client.clone(), &args.namespace, &format!("{name}-broker")).await?;
    let claims = released_claims(client).await?;
    let config = args.source.in_kubernetes(secret)?;
    Ok(format!("{claims}{}\n", broker::sweep(&config, args.delete).await?))
}

/// The Claims whose object is gone, a line each. bindery itself goes on deleting what they stand for.
async fn released_claims(client: Client) -> anyhow::Result<String> {
    let claims = match Api::<Claim>::all(client).list(&ListParams::default()).await {
        Ok(claims) => claims,
        // An installation without the Service Catalog API has no Claims, or leaves them to another.
        Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => {
            return Ok(format!("Claims are not looked at: {}\n", status.message));
        }
        Err(error) => return Err(error).context("cannot list Claims"),
    };
    let mut lines = String::new();
    for claim in claims {
        let Some(status) = claim.status.filter(|status| status.state == Some(ClaimState::Releasing)) else {
            continue;
        };
        let spec = claim.spec;
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
