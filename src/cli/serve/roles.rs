//! Starts each role of `bindery serve`: connects its parts and gives them their settings.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use futures::TryFutureExt;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::{Role, ServeArgs};
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
    cli::service_names,
    enforcement::{
        self, EnforcementSettings,
        webhook::{HeldPolicies, PolicyHandler},
    },
    install::{broker_secret::BrokerSecret, ca_bundle::WebhookBundle, secret_approvals::Approvals},
    k8s::{leader::Election, unreadable::Unreadable},
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

/// The Lease that the active catalog replica holds.
pub(in crate::cli) fn catalog_lease(name: &str) -> String {
    format!("{name}-catalog")
}

pub(super) type Tasks = JoinSet<anyhow::Result<()>>;

/// What all roles of the process share.
pub(super) struct Roles {
    pub(super) args: ServeArgs,
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) stop: CancellationToken,
}

impl Roles {
    pub(super) fn start_ops(&self, tasks: &mut Tasks, ops_stop: CancellationToken) {
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

    pub(super) fn start_admission(&self, tasks: &mut Tasks) {
        let settings = self.args.injection.settings();
        let (labelled, watch) = WatchedNamespaces::new(self.client.clone(), self.readiness.clone());
        let awaited = self.args.admission.gate_waiting_pods.then(|| self.watch_bindings(tasks));
        let (new_namespaces, rules) =
            NewNamespaceHandler::new(self.client.clone(), self.metrics.clone(), self.readiness.clone());
        let brokers = ServiceBrokerHandler::new(self.client.clone(), self.approvals());
        let instances = ServiceInstanceHandler::new(self.client.clone(), self.approvals());
        let bindings = ServiceBindingHandler::new(self.client.clone(), self.approvals());
        let (settings, labelled) = (Arc::new(settings), Arc::new(labelled));
        let mut routes = Routes::of_pods(settings, labelled, awaited, self.metrics.clone())
            .handle(namespace_bindings::webhook::PATH, new_namespaces)
            .handle(service_brokers::PATH, brokers)
            .handle(service_instances::PATH, instances)
            .handle(service_bindings::PATH, bindings);
        if self.args.admission.judge_policies {
            routes = routes.handle(enforcement::webhook::PATH, self.policy_handler(tasks));
        }
        let router = routes.into_router();
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
                let (client, name) = (self.client.clone(), self.args.name.clone());
                let bundle = WebhookBundle::new(client, name, self.args.admission.judge_policies);
                (self.own_certificate(Role::Admission), Box::new(bundle))
            };
        let serving =
            self.start_tls(tasks, Role::Admission, self.args.listen_admission, router, source, anchors);
        tasks.spawn(serving);
    }

    /// The handler that judges by CredentialPolicies.
    fn policy_handler(&self, tasks: &mut Tasks) -> PolicyHandler {
        let (metrics, readiness) = (self.metrics.clone(), self.readiness.clone());
        let (held, watch) = HeldPolicies::new(&self.client, self.without_policies(), metrics, readiness);
        let stop = self.stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(watch)).await;
            Ok(())
        });
        PolicyHandler::new(self.client.clone(), held)
    }

    /// The namespaces for which no policy holds, in addition to those of the system.
    fn without_policies(&self) -> Vec<String> {
        let mut excluded = self.args.injection.exclude_namespaces.clone();
        excluded.push(self.args.namespace.clone());
        excluded
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

    pub(super) async fn start_broker(&self, tasks: &mut Tasks) -> anyhow::Result<()> {
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

    pub(super) fn start_catalog(&self, tasks: &mut Tasks) {
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

    pub(super) fn start_enforcement(&self, tasks: &mut Tasks) {
        let ServeArgs { name, namespace, identity, .. } = &self.args;
        let lease = format!("{name}-enforcement");
        let election = Election::new(self.client.clone(), namespace, &lease, identity);
        let settings = EnforcementSettings { excluded: self.without_policies(), webhook: name.clone() };
        let (client, metrics, stop) = (self.client.clone(), self.metrics.clone(), self.stop.clone());
        tasks.spawn(async move {
            let lead = |term: CancellationToken| {
                let (client, settings, metrics) = (client.clone(), settings.clone(), metrics.clone());
                async move {
                    enforcement::run(client, settings, metrics, term).await.map_err(anyhow::Error::from)
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
        let of_service = service_names(name, role.name(), namespace);
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
