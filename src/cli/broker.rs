//! `bindery broker`: the Open Service Broker alone, without Kubernetes.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::broker_source::BrokerSource;
use crate::{
    broker::Broker,
    cluster::server,
    telemetry::{
        Metrics,
        ops::{self, Readiness},
    },
};

/// Run the Open Service Broker alone, without Kubernetes.
///
/// It speaks plain HTTP: put it behind a proxy that speaks TLS. Without a configuration file it takes the environment of
/// the CockroachDB service broker: SERVICES, PRECONFIGURED_PLANS, CUSTOM_PLANS, SECURITY_USER_NAME,
/// SECURITY_USER_PASSWORD, PGSSLCERT, PGSSLKEY, PGSSLROOTCERT, and PGPASSWORD for the administrator; beside them
/// BINDERY_STORE_KEY_FILE and BINDERY_INSTALLATION.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the help text, which is no Markdown")]
pub(super) struct BrokerArgs {
    #[command(flatten)]
    source: BrokerSource,
    /// Where the broker listens (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen_ops: SocketAddr,
}

/// Serves until `stop`.
///
/// # Errors
/// When the configuration cannot be used, the store cannot be opened or an address cannot be listened on.
pub(super) async fn run(args: BrokerArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let broker = Broker::open(args.source.standalone()?, metrics.clone()).await?;
    info!(address = %args.listen, "the broker serves");
    let ops = ops::router(Readiness::default(), metrics);
    let served = tokio::try_join!(
        server::serve_plain(args.listen, broker.router(), stop.clone()),
        server::serve_plain(args.listen_ops, ops, stop),
        async { Ok(broker.check_servers().await) },
    );
    broker.drain().await;
    served?;
    Ok(())
}
