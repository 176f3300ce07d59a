//! The arguments of `bindery serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::ArgAction;

use crate::{
    cli::{broker_source::BrokerSource, duration_of_at_least, registration::RegistrationArgs},
    injection::InjectSettings,
};

/// Run all or some of bindery's roles in a Kubernetes cluster.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ServeArgs {
    /// The roles to run.
    #[arg(long, env = "BINDERY_ROLES", value_enum, value_delimiter = ',', default_values_t = [Role::Broker, Role::Catalog, Role::Admission])]
    pub(super) roles: Vec<Role>,
    /// The installation's name. The names of its Services, Secrets, Lease and webhook configuration start with it.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    pub(super) name: String,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    pub(super) namespace: String,
    /// The name of this replica in the Lease.
    #[arg(long, env = "HOSTNAME", default_value = "bindery")]
    pub(super) identity: String,
    /// The address of the webhook (HTTPS).
    #[arg(long, env = "BINDERY_LISTEN_ADMISSION", default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    pub(super) listen_admission: SocketAddr,
    /// The address of the broker (HTTPS).
    #[arg(long, env = "BINDERY_LISTEN_BROKER", default_value = "0.0.0.0:8444", value_name = "ADDRESS")]
    pub(super) listen_broker: SocketAddr,
    /// The address of /healthz, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub(super) listen_ops: SocketAddr,
    #[command(flatten)]
    pub(super) admission: AdmissionArgs,
    #[command(flatten)]
    pub(super) catalog: CatalogArgs,
    #[command(flatten)]
    pub(super) injection: InjectionArgs,
    #[command(flatten)]
    pub(super) broker: BrokerSource,
    #[command(flatten)]
    pub(super) registration: RegistrationArgs,
}

/// Settings of the role `admission`.
#[derive(Debug, clap::Args)]
pub(super) struct AdmissionArgs {
    /// A folder with tls.crt and tls.key that another program, such as cert-manager, renews. bindery then makes no
    /// certificate and does not write the webhook configuration's CA bundle.
    #[arg(long, env = "BINDERY_ADMISSION_TLS_DIR", value_name = "DIR")]
    pub(super) admission_tls_dir: Option<PathBuf>,
    /// Add a scheduling gate to pods whose bindings have no Secrets yet. The gate is added only while a catalog runs
    /// that can open it.
    #[arg(long, env = "BINDERY_GATE_WAITING_PODS", action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    pub(super) gate_waiting_pods: bool,
    /// Judge pods, workloads and ConfigMaps by the rules of CredentialPolicies that the API server cannot evaluate itself. Needs
    /// a validating webhook configuration of the installation's name.
    #[arg(long, env = "BINDERY_JUDGE_POLICIES", action = ArgAction::Set, default_value_t = false, value_name = "BOOL")]
    pub(super) judge_policies: bool,
}

/// Settings of the role `catalog`.
#[derive(Debug, clap::Args)]
pub(super) struct CatalogArgs {
    /// Make workloads whose pods were refused while the webhook was unreachable retry as soon as the webhook can be
    /// reached.
    #[arg(long, env = "BINDERY_NUDGE_REFUSED_OWNERS", action = ArgAction::Set, default_value_t = true,
          value_name = "BOOL")]
    pub(super) nudge_refused_owners: bool,
    /// How long a failing operation at a broker is retried before the object is Failed, such as 168h.
    #[arg(long, env = "BINDERY_RECONCILIATION_RETRY_DURATION", value_parser = retry_duration,
          default_value = "168h", value_name = "DURATION")]
    pub(super) reconciliation_retry_duration: Duration,
}

/// Reads a duration of at least a second.
fn retry_duration(text: &str) -> Result<Duration, String> {
    duration_of_at_least(text, Duration::from_secs(1))
        .ok_or_else(|| "write a duration of at least a second, such as 168h or 30m".to_owned())
}

/// Settings that the roles `admission` (which binds pods) and `catalog` (which checks pods after creation) must
/// share.
#[derive(Debug, clap::Args)]
pub(super) struct InjectionArgs {
    /// Containers that are bound only if a pod names them.
    #[arg(long, env = "BINDERY_EXCLUDE_CONTAINERS", value_delimiter = ',', value_name = "NAMES",
          default_values_t = InjectSettings::default().exclude_containers)]
    pub(super) exclude_containers: Vec<String>,
    /// Namespaces that the webhook configuration excludes, in addition to kube-system, kube-node-lease and the
    /// installation's own namespace. bindery does not report unbound pods in these namespaces.
    #[arg(long, env = "BINDERY_EXCLUDE_NAMESPACES", value_delimiter = ',', value_name = "NAMES")]
    pub(super) exclude_namespaces: Vec<String>,
}

impl InjectionArgs {
    pub(super) fn settings(&self) -> InjectSettings {
        InjectSettings { exclude_containers: self.exclude_containers.clone() }
    }
}

/// A part of bindery that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Role {
    /// The Open Service Broker.
    Broker,
    /// The reconcilers of the Service Catalog API. Of several replicas one is active.
    Catalog,
    /// The mutating webhook.
    Admission,
    /// The controller of CredentialPolicies. Of several replicas one is active.
    Enforcement,
}

impl Role {
    /// The role's name in readiness reports and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Catalog => "catalog",
            Self::Admission => "admission",
            Self::Enforcement => "enforcement",
        }
    }

    /// Whether one replica is active while the others wait.
    pub(super) fn is_elected(self) -> bool {
        matches!(self, Self::Catalog | Self::Enforcement)
    }
}
