//! `bindery sweep`: what was made for somebody and is nobody's any more.

use std::fmt::Write;

use anyhow::Context;
use kube::{Api, Client, api::ListParams};

use super::{broker::StandaloneArgs, broker_role};
use crate::{
    broker,
    catalog::api::{Claim, ClaimState},
    cluster::broker_secret::BrokerSecret,
};

/// Lists databases and users that bear this installation's mark but that no record owns, and Claims whose object is
/// gone. Changes nothing unless `--delete` is given; what other installations made is never touched.
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// The installation's name. Without it the broker is one without Kubernetes, configured as for `bindery broker`.
    #[arg(long, env = "BINDERY_NAME")]
    name: Option<String>,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    #[command(flatten)]
    source: StandaloneArgs,
    /// Remove what is left over.
    #[arg(long)]
    delete: bool,
}
