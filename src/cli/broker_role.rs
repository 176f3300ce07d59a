//! The configuration of the broker in Kubernetes: what is offered comes from a file, the rest from the Secret that
//! bindery keeps.

use std::path::PathBuf;

use crate::{
    cluster::broker_secret::BrokerSecret,
    config::{BrokerConfig, ConfigError, LoadedConfig, Login, PartialSettings, PasswordSource, StoreKey},
};

/// What the role `broker` is told on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct BrokerRoleArgs {
    /// The servers and services to offer.
    #[arg(long, env = "BINDERY_CONFIG", default_value = "/etc/bindery/bindery.yaml", value_name = "FILE")]
    config: PathBuf,
    /// Where the broker keeps its records.
    #[arg(
        long,
        env = "BINDERY_STORE",
        default_value = "sqlite:/var/lib/bindery/broker.db",
        value_name = "URL"
    )]
    store: String,
}

impl BrokerRoleArgs {
    /// The whole configuration.
    pub(super) fn complete(&self, secret: BrokerSecret) -> Result<BrokerConfig, ConfigError> {
        LoadedConfig::from_file(&self.config)?.complete(PartialSettings {
            auth: vec![Login { username: secret.username, password: PasswordSource::Given(secret.password) }],
            store: Some(self.store.parse()?),
            store_key: Some(StoreKey::Given(secret.store_key)),
            installation: Some(secret.installation),
        })
    }
}
