//! Where `bindery serve` registers its broker, and under which address.

use kube::Client;

use crate::install::registration::{Registration, Scope};

/// The registrations of the broker.
#[derive(Debug, clap::Args)]
pub(super) struct RegistrationArgs {
    /// Register the broker as a ClusterServiceBroker of this name. An empty name disables the registration.
    #[arg(long, env = "BINDERY_REGISTER_BROKER", default_value = "bindery", value_name = "NAME")]
    register_broker: String,
    /// Register the broker as a ServiceBroker of this name in the installation's namespace. Without a name there is none.
    #[arg(long, env = "BINDERY_REGISTER_NAMESPACED_BROKER", default_value = "", value_name = "NAME")]
    register_namespaced_broker: String,
    /// The host name under which the broker is registered. The broker's certificate has this name, too. The default is
    /// that of the broker's Service.
    #[arg(long, env = "BINDERY_BROKER_HOST", value_name = "HOST", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    broker_host: Option<String>,
}

impl RegistrationArgs {
    /// The names in the broker's certificate; the broker is registered under the first one.
    pub(super) fn hosts(&self, service_names: Vec<String>) -> Vec<String> {
        self.broker_host.iter().cloned().chain(service_names).collect()
    }

    /// The registrations under a host name.
    pub(super) fn of(
        &self,
        client: &Client,
        host: &str,
        namespace: &str,
        secret_name: &str,
    ) -> Vec<Registration> {
        let named =
            [(Scope::Cluster, &self.register_broker), (Scope::Namespace, &self.register_namespaced_broker)];
        let registration = |(scope, name): (Scope, &String)| Registration {
            client: client.clone(),
            scope,
            name: name.clone(),
            url: format!("https://{host}"),
            secret_namespace: namespace.to_owned(),
            secret_name: secret_name.to_owned(),
        };
        named.into_iter().filter(|(_, name)| !name.is_empty()).map(registration).collect()
    }
}
