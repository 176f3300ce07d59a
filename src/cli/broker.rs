//! `bindery broker`: the Open Service Broker alone, without Kubernetes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    broker::Broker,
    cluster::server,
    config::{BrokerConfig, LoadedConfig, PartialSettings},
    telemetry::{
        Metrics,
        ops::{self, Readiness},
    },
};

/// Runs the Open Service Broker alone, over plain HTTP: put it behind a proxy that speaks TLS.
///
/// Without a configuration file it takes the environment of the CockroachDB service broker: SERVICES,
/// PRECONFIGURED_PLANS, CUSTOM_PLANS, SECURITY_USER_NAME, SECURITY_USER_PASSWORD, PGSSLCERT, PGSSLKEY, PGSSLROOTCERT,
/// PGPASSWORD.
#[derive(Debug, clap::Args)]
pub struct BrokerArgs {
    #[command(flatten)]
    source: StandaloneArgs,
    /// Where the broker listens (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen_ops: SocketAddr,
}

/// Where a broker without Kubernetes finds its configuration.
#[derive(Debug, clap::Args)]
pub(super) struct StandaloneArgs {
    /// Servers, services, credentials and store; without it the environment is used.
    #[arg(long, env = "BINDERY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the broker keeps its records, instead of what the configuration says.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl StandaloneArgs {
    pub(super) fn complete(&self) -> anyhow::Result<BrokerConfig> {
        let loaded = match &self.config {
            Some(file) => LoadedConfig::from_file(file)?,
            None => LoadedConfig::from_env(&|name| std::env::var(name).ok())
                .context("no --config is given and the environment is no configuration either")?,
        };
        let store = self.store.as_deref().map(str::parse).transpose()?;
        Ok(loaded.complete(PartialSettings { store, ..PartialSettings::default() })?)
    }
}

/// Serves until `stop`.
///
/// # Errors
/// When the configuration cannot be used, the store cannot be opened or an address cannot be listened on.
pub async fn run(args: BrokerArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let broker = Broker::open(args.source.complete()?, metrics.clone()).await?;
    info!(address = %args.listen, "the broker serves");
    let ops = ops::router(Readiness::default(), metrics);
    tokio::try_join!(
        server::serve_plain(args.listen, broker.router(), stop.clone()),
        server::serve_plain(args.listen_ops, ops, stop),
    )?;
    Ok(())
}
