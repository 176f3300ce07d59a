//! `bindery serve`: the roles in a Kubernetes cluster.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::ArgAction;
use futures::TryFutureExt;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{broker_source::BrokerSource, registration::RegistrationArgs};
use crate::{
    admission::{
        namespaces::WatchedNamespaces,
        router::Routes,
        service_bindings::{self, ServiceBindingHandler},
        service_brokers::{self, ServiceBrokerHandler},
        service_instances::{self, ServiceInstanceHandler},
    },
    bindings::{
        LostSecrets,
        awaited::{Awaited, WatchedBindings},
    },
    broker::Broker,
    catalog::{self, CatalogSettings},
    enforcement,
    injection::InjectSettings,
    install::{broker_secret::BrokerSecret, ca_bundle::WebhookBundle, secret_approvals::Approvals},
    k8s::{self, leader::Election, unreadable::Unreadable},
    namespace_bindings::{self, webhook::NewNamespaceHandler},
    pods::{self, PodsSettings, WebhookService},
    server::{
        self, PresentedCertificate, TlsSettings,
        certificates::{CertificateKeeper, CertificateSource, TrustAnchors, TrustedElsewhere},
    },
    telemetry::{
        Metrics,
        ops::{self, Readiness},
    },
};

/// Run all or some of bindery's roles in a Kubernetes cluster.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The roles to run.
    #[arg(long, env = "BINDERY_ROLES", value_enum, value_delimiter = ',', default_values_t = [Role::Broker, Role::Catalog, Role::Admission])]
    roles: Vec<Role>,
    /// The installation's name. The names of its Services, Secrets, Lease and webhook configuration start with it.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    /// The name of this replica in the Lease.
    #[arg(long, env = "HOSTNAME", default_value = "bindery")]
    identity: String,
    /// The address of the webhook (HTTPS).
    #[arg(long, env = "BINDERY_LISTEN_ADMISSION", default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    listen_admission: SocketAddr,
    /// The address of the broker (HTTPS).
    #[arg(long, env = "BINDERY_LISTEN_BROKER", default_value = "0.0.0.0:8444", value_name = "ADDRESS")]
    listen_broker: SocketAddr,
    /// The address of /healthz, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen_ops: SocketAddr,
    #[command(flatten)]
    admission: AdmissionArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    injection: InjectionArgs,
    #[command(flatten)]
    broker: BrokerSource,
    #[command(flatten)]
    registration: RegistrationArgs,
}

/// Settings of the role `admission`.
#[derive(Debug, clap::Args)]
struct AdmissionArgs {
    /// A folder with tls.crt and tls.key that another program, such as cert-manager, renews. bindery then makes no
    /// certificate and does not write the webhook configuration's CA bundle.
    #[arg(long, env = "BINDERY_ADMISSION_TLS_DIR", value_name = "DIR")]
    admission_tls_dir: Option<PathBuf>,
    /// Add a scheduling gate to pods whose bindings have no Secrets yet. The gate is added only while a catalog runs
    /// that can open it.
    #[arg(long, env = "BINDERY_GATE_WAITING_PODS", action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    gate_waiting_pods: bool,
}

/// Settings of the role `catalog`.
#[derive(Debug, clap::Args)]
struct CatalogArgs {
    /// Make workloads whose pods were refused while the webhook was unreachable retry as soon as the webhook can be
    /// reached.
    #[arg(long, env = "BINDERY_NUDGE_REFUSED_OWNERS", action = ArgAction::Set, default_value_t = true,
          value_name = "BOOL")]
    nudge_refused_owners: bool,
    /// How long a failing operation at a broker is retried before the object is Failed, such as 168h.
    #[arg(long, env = "BINDERY_RECONCILIATION_RETRY_DURATION", value_parser = retry_duration,
          default_value = "168h", value_name = "DURATION")]
    reconciliation_retry_duration: Duration,
}

/// Reads a duration of at least a second.
fn retry_duration(text: &str) -> Result<Duration, String> {
    super::duration_of_at_least(text, Duration::from_secs(1))
        .ok_or_else(|| "write a duration of at least a second, such as 168h or 30m".to_owned())
}

/// Settings that the roles `admission` (which binds pods) and `catalog` (which checks pods after creation) must
/// share.
#[derive(Debug, clap::Args)]
struct InjectionArgs {
    /// Containers that are bound only if a pod names them.
    #[arg(long, env = "BINDERY_EXCLUDE_CONTAINERS", value_delimiter = ',', value_name = "NAMES",
          default_values_t = InjectSettings::default().exclude_containers)]
    exclude_containers: Vec<String>,
    /// Namespaces that the webhook configuration excludes, in addition to kube-system, kube-node-lease and the
    /// installation's own namespace. bindery does not report unbound pods in these namespaces.
    #[arg(long, env = "BINDERY_EXCLUDE_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    exclude_namespaces: Vec<String>,
}

impl InjectionArgs {
    fn settings(&self) -> InjectSettings {
        InjectSettings { exclude_containers: self.exclude_containers.clone() }
    }
}

/// A part of bindery that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// The Open Service Broker.
    Broker,
    /// The reconcilers of the Service Catalog API. Of several replicas one is active.
    Catalog,
    /// The mutating webhook.
    Admission,
    /// The controller of CredentialPolicies. Of several replicas one is active.
    Enforcement,
}

/// Runs the roles until `stop` is cancelled or a role fails.
///
/// # Errors
/// When a role cannot start or ends with an error. The other roles are stopped first.
pub(super) async fn run(args: ServeArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let roles = Roles {
        client: k8s::client().await?,
        metrics: Arc::new(Metrics::new()),
        readiness: Readiness::default(),
        stop: stop.clone(),
        args,
    };
    info!(version = env!("CARGO_PKG_VERSION"), roles = ?roles.args.roles, "bindery starts");
    // A replica that waits for leadership is ready, so roles with a leader do not delay readiness.
    for role in roles.args.roles.iter().filter(|role| !role.is_elected()) {
        roles.readiness.wait_for(role.name(), "is starting");
    }
    let mut tasks = JoinSet::new();
    let ops_stop = CancellationToken::new();
    roles.start_ops(&mut tasks, ops_stop.clone());
    if roles.args.roles.contains(&Role::Admission) {
        roles.start_admission(&mut tasks);
    }
    if roles.args.roles.contains(&Role::Broker) {
        roles.start_broker(&mut tasks).await?;
    }
    if roles.args.roles.contains(&Role::Catalog) {
        roles.start_catalog(&mut tasks);
    }
    if roles.args.roles.contains(&Role::Enforcement) {
        roles.start_enforcement(&mut tasks);
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // A role that ends stops the whole process, and Kubernetes restarts it.
        stop.cancel();
        // The operations port closes last, so that it can report that the roles are stopping.
        if tasks.len() == 1 {
            ops_stop.cancel();
        }
        let ended = ended.context("a role panicked").flatten();
        outcome = outcome.and(ended);
    }
    outcome
}

impl Role {
    /// The role's name in readiness reports and metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Catalog => "catalog",
            Self::Admission => "admission",
            Self::Enforcement => "enforcement",
        }
    }

    /// Whether one replica is active while the others wait.
    fn is_elected(self) -> bool {
        matches!(self, Self::Catalog | Self::Enforcement)
    }
}

/// The Lease that the active catalog replica holds.
pub(super) fn catalog_lease(name: &str) -> String {
    format!("{name}-catalog")
}

type Tasks = JoinSet<anyhow::Result<()>>;

struct Roles {
    args: ServeArgs,
    client: Client,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    stop: CancellationToken,
}

impl Roles {
    fn start_ops(&self, tasks: &mut Tasks, ops_stop: CancellationToken) {
        let (address, router) =
            (self.args.listen_ops, ops::router(self.readiness.clone(), self.metrics.clone()));
        tasks.spawn(async move {
            server::serve_ops(address, router, ops_stop)
                .await
                .with_context(|| format!("cannot serve health on {address}"))
        });
        let (stop, readiness) = (self.stop.clone(), self.readiness.clone());
        tasks.spawn(async move {
            stop.cancelled().await;
            readiness.wait_for("bindery", "is stopping");
            Ok(())
        });
    }

    fn start_admission(&self, tasks: &mut Tasks) {
        let settings = self.args.injection.settings();
        let (labelled, watch) = WatchedNamespaces::new(self.client.clone(), self.readiness.clone());
        let awaited = self.args.admission.gate_waiting_pods.then(|| self.watch_bindings(tasks));
        let (new_namespaces, rules) =
            NewNamespaceHandler::new(self.client.clone(), self.metrics.clone(), self.readiness.clone());
        let brokers = ServiceBrokerHandler::new(self.client.clone(), self.approvals());
        let instances = ServiceInstanceHandler::new(self.client.clone(), self.approvals());
        let bindings = ServiceBindingHandler::new(self.client.clone(), self.approvals());
        let (settings, labelled) = (Arc::new(settings), Arc::new(labelled));
        let router = Routes::of_pods(settings, labelled, awaited, self.metrics.clone())
            .handle(namespace_bindings::webhook::PATH, new_namespaces)
            .handle(service_brokers::PATH, brokers)
            .handle(service_instances::PATH, instances)
            .handle(service_bindings::PATH, bindings)
            .into_router();
        let stop = self.stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(futures::future::join(watch, rules)).await;
            Ok(())
        });
        let (source, anchors): (_, Box<dyn TrustAnchors>) =
            if let Some(folder) = &self.args.admission.admission_tls_dir {
                let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
                (CertificateSource::Files { certificate, key }, Box::new(TrustedElsewhere))
            } else {
                let bundle = WebhookBundle { client: self.client.clone(), name: self.args.name.clone() };
                (self.own_certificate(Role::Admission), Box::new(bundle))
            };
        let serving =
            self.start_tls(tasks, Role::Admission, self.args.listen_admission, router, source, anchors);
        tasks.spawn(serving);
    }

    /// Readiness does not wait for this watch: pods are bound without it, only not gated.
    fn watch_bindings(&self, tasks: &mut Tasks) -> Arc<dyn Awaited> {
        let ServeArgs { name, namespace, .. } = &self.args;
        let unreadable = Unreadable::without_events(self.metrics.clone());
        let (bindings, watch) =
            WatchedBindings::new(self.client.clone(), namespace, &catalog_lease(name), unreadable);
        let stop = self.stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(watch).await;
            Ok(())
        });
        Arc::new(bindings)
    }

    async fn start_broker(&self, tasks: &mut Tasks) -> anyhow::Result<()> {
        let ServeArgs { name, namespace, .. } = &self.args;
        let secret_name = format!("{name}-broker");
        let secret = BrokerSecret::get_or_create(self.client.clone(), namespace, &secret_name).await?;
        let config = self.args.broker.in_kubernetes(secret)?;
        let broker = Broker::open(config, self.metrics.clone()).await?;
        let hosts = self.hosts(Role::Broker);
        let anchors = self.args.registration.of(&self.client, &hosts[0], namespace, &secret_name);
        let router = broker.router();
        let broker = Arc::new(broker);
        let serving = self.start_tls(
            tasks,
            Role::Broker,
            self.args.listen_broker,
            router,
            self.own_certificate(Role::Broker),
            Box::new(anchors),
        );
        let checked = broker.clone();
        // An unreachable server is only logged here; each request to it reports the error to its caller.
        tokio::spawn(async move { checked.check_servers().await });
        tasks.spawn(async move {
            let served = serving.await;
            broker.drain().await;
            served
        });
        Ok(())
    }

    fn start_catalog(&self, tasks: &mut Tasks) {
        let ServeArgs { name, namespace, identity, .. } = &self.args;
        let election = Election::new(self.client.clone(), namespace, &catalog_lease(name), identity);
        let (client, metrics, readiness) =
            (self.client.clone(), self.metrics.clone(), self.readiness.clone());
        let mut exclude_namespaces = self.args.injection.exclude_namespaces.clone();
        exclude_namespaces.push(namespace.clone());
        let own = namespace.clone();
        let retry_duration = self.args.catalog.reconciliation_retry_duration;
        let webhook = WebhookService { namespace: namespace.clone(), name: format!("{name}-admission") };
        let looking_after = PodsSettings {
            inject: self.args.injection.settings(),
            exclude_namespaces,
            webhook: Some(webhook),
            nudge_refused_owners: self.args.catalog.nudge_refused_owners,
            lost_secrets: LostSecrets::default(),
        };
        let (stop, approvals) = (self.stop.clone(), self.approvals());
        tasks.spawn(async move {
            let lead = |term: CancellationToken| {
                let (client, metrics, readiness) = (client.clone(), metrics.clone(), readiness.clone());
                let own = own.clone();
                let settings = CatalogSettings {
                    approvals: approvals.clone(),
                    lost_secrets: looking_after.lost_secrets.clone(),
                    retry_duration,
                };
                let pods = pods::run(client.clone(), looking_after.clone(), metrics.clone(), term.clone());
                async move {
                    let namespaces =
                        namespace_bindings::run(client.clone(), own, metrics.clone(), term.clone());
                    let catalog = catalog::run(client, settings, metrics, readiness.clone(), term);
                    // The tasks start independently, and all of them end when one fails.
                    let ended = tokio::try_join!(
                        Box::pin(catalog).err_into(),
                        Box::pin(namespaces).err_into(),
                        Box::pin(pods).err_into()
                    );
                    readiness.ready(Role::Catalog.name());
                    ended.map(drop)
                }
            };
            // Boxed because the future of a term is large.
            Box::pin(election.run(stop, lead))
                .await
                .map_err(|error: anyhow::Error| error.context("the catalog stopped"))
        });
    }

    fn start_enforcement(&self, tasks: &mut Tasks) {
        let ServeArgs { name, namespace, identity, .. } = &self.args;
        let lease = format!("{name}-enforcement");
        let election = Election::new(self.client.clone(), namespace, &lease, identity);
        let mut excluded = self.args.injection.exclude_namespaces.clone();
        excluded.push(namespace.clone());
        let (client, metrics, stop) = (self.client.clone(), self.metrics.clone(), self.stop.clone());
        tasks.spawn(async move {
            let lead = |term: CancellationToken| {
                let (client, excluded, metrics) = (client.clone(), excluded.clone(), metrics.clone());
                async move {
                    enforcement::run(client, excluded, metrics, term).await.map_err(anyhow::Error::from)
                }
            };
            Box::pin(election.run(stop, lead))
                .await
                .map_err(|error: anyhow::Error| error.context("the enforcement stopped"))
        });
    }

    /// The webhook issues approvals and the catalog verifies them.
    fn approvals(&self) -> Approvals {
        let ServeArgs { name, namespace, .. } = &self.args;
        Approvals::new(self.client.clone(), namespace, &format!("{name}-approvals"))
    }

    fn own_certificate(&self, role: Role) -> CertificateSource {
        let ServeArgs { name, namespace, .. } = &self.args;
        CertificateSource::Secret {
            client: self.client.clone(),
            namespace: namespace.clone(),
            name: format!("{name}-{}-tls", role.name()),
            dns_names: self.hosts(role),
        }
    }

    /// The names in a role's certificate.
    fn hosts(&self, role: Role) -> Vec<String> {
        let ServeArgs { name, namespace, registration, .. } = &self.args;
        let of_service = super::service_names(name, role.name(), namespace);
        if role == Role::Broker { registration.hosts(of_service) } else { of_service }
    }

    /// Starts the maintenance of the role's certificate and returns the server's future, which the caller awaits.
    fn start_tls(
        &self,
        tasks: &mut Tasks,
        role: Role,
        address: SocketAddr,
        router: axum::Router,
        source: CertificateSource,
        anchors: Box<dyn TrustAnchors>,
    ) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let presented = PresentedCertificate::default();
        let keeper = CertificateKeeper {
            role: role.name(),
            source,
            anchors,
            presented: presented.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        };
        let stop = self.stop.clone();
        tasks.spawn(async move {
            keeper.maintain(stop).await;
            Ok(())
        });
        let stop = self.stop.clone();
        async move {
            server::serve_tls(address, router, TlsSettings { certificate: presented, clients: None }, stop)
                .await
                .with_context(|| format!("the role {} cannot serve on {address}", role.name()))
        }
    }
}
