//! `bindery broker`: the Open Service Broker alone, without Kubernetes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use axum::Router;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::broker_source::BrokerSource;
use crate::{
    broker::{Broker, config::TlsFiles},
    server::{
        self, PresentedCertificate, TlsSettings,
        certificates::{CertificateKeeper, CertificateSource, TrustedElsewhere},
        client_cas::TrustedClients,
    },
    telemetry::{
        Metrics,
        ops::{self, Readiness},
    },
};

/// Run the Open Service Broker alone, without Kubernetes.
///
/// The broker serves plain HTTP unless a certificate is given. Without a configuration file it reads the environment
/// variables of the CockroachDB service broker: SERVICES, PRECONFIGURED_PLANS, CUSTOM_PLANS, SECURITY_USER_NAME,
/// SECURITY_USER_PASSWORD, PGSSLCERT, PGSSLKEY, PGSSLROOTCERT, and PGPASSWORD for the administrator. It also reads
/// BINDERY_STORE_KEY_FILE and BINDERY_INSTALLATION.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the help text, which is no Markdown")]
pub(super) struct BrokerArgs {
    #[command(flatten)]
    source: BrokerSource,
    #[command(flatten)]
    tls: TlsArgs,
    /// The address of the broker.
    #[arg(long, env = "BINDERY_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The address of /healthz, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen_ops: SocketAddr,
}

/// The broker's own TLS.
#[derive(Debug, clap::Args)]
struct TlsArgs {
    /// The broker's certificate, PEM; with it the broker serves HTTPS. bindery reloads the file when it changes.
    #[arg(
        id = "tls_cert",
        long = "tls-cert",
        env = "BINDERY_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[arg(
        id = "tls_key",
        long = "tls-key",
        env = "BINDERY_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    key: Option<PathBuf>,
    /// Accept only clients with a certificate that one of these CAs (PEM) has signed.
    #[arg(
        id = "tls_client_ca",
        long = "tls-client-ca",
        env = "BINDERY_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    client_ca: Option<PathBuf>,
}

impl TlsArgs {
    fn files(self) -> Option<TlsFiles> {
        let (certificate, key) = self.certificate.zip(self.key)?;
        Some(TlsFiles { certificate, key, client_ca: self.client_ca })
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When the configuration or the certificate is invalid, the store cannot be opened or an address cannot be listened
/// on.
pub(super) async fn run(args: BrokerArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    let mut config = args.source.standalone()?;
    let tls = match args.tls.files().or(config.settings.tls.take()) {
        Some(files) => Some(Tls::open(files, metrics.clone(), readiness.clone()).await?),
        None => None,
    };
    let broker = Broker::open(config, metrics.clone()).await?;
    info!(address = %args.listen, tls = tls.is_some(), "the broker starts");
    let ops = ops::router(readiness, metrics);
    let served = tokio::try_join!(
        async {
            let served = serve(args.listen, broker.router(), tls, stop.clone()).await;
            served.with_context(|| format!("--listen {}: cannot serve there", args.listen))
        },
        async {
            let served = server::serve_ops(args.listen_ops, ops, stop.clone()).await;
            served.with_context(|| format!("--listen-ops {}: cannot serve there", args.listen_ops))
        },
        async { Ok(broker.check_servers().await) },
    );
    broker.drain().await;
    served?;
    Ok(())
}

/// The broker's certificate and client CAs, and the tasks that reload them.
struct Tls {
    keeper: CertificateKeeper,
    clients: Option<TrustedClients>,
}

impl Tls {
    async fn open(files: TlsFiles, metrics: Arc<Metrics>, readiness: Readiness) -> anyhow::Result<Self> {
        let clients = match &files.client_ca {
            Some(file) => Some(TrustedClients::of_file(file).await?),
            None => None,
        };
        let pair = format!("{} with {}", files.certificate.display(), files.key.display());
        let keeper = CertificateKeeper {
            role: "broker",
            source: CertificateSource::Files { certificate: files.certificate, key: files.key },
            anchors: Box::new(TrustedElsewhere),
            presented: PresentedCertificate::default(),
            metrics,
            readiness,
        };
        keeper.look().await.context(pair)?;
        Ok(Self { keeper, clients })
    }

    /// Reloads changed files until `stop` is cancelled.
    async fn keep(keeper: CertificateKeeper, clients: Option<TrustedClients>, stop: CancellationToken) {
        let follow_clients = async {
            if let Some(clients) = clients {
                clients.watch(stop.clone()).await;
            }
        };
        tokio::join!(keeper.maintain(stop.clone()), follow_clients);
    }
}

async fn serve(
    address: SocketAddr,
    router: Router,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let Some(Tls { keeper, clients }) = tls else {
        if !address.ip().is_loopback() {
            warn!(
                %address,
                "the broker serves plain HTTP to other machines, so credentials can be read in transit; set \
                --tls-cert and --tls-key, or let only a proxy that terminates TLS reach the broker"
            );
        }
        return server::serve_plain(address, router, stop).await;
    };
    let settings = TlsSettings { certificate: keeper.presented.clone(), clients: clients.clone() };
    let keeping = tokio::spawn(Tls::keep(keeper, clients, stop.clone()));
    let served = server::serve_tls(address, router, settings, stop).await;
    keeping.abort();
    served
}

#[cfg(test)]
mod tests;
