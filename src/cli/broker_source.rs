//! Where the broker's configuration comes from: all of it from a file or the environment, or in Kubernetes the offer from
//! a file and the rest from the Secret that bindery keeps.

use std::path::PathBuf;

use anyhow::Context;

use crate::{
    cluster::broker_secret::BrokerSecret,
    config::{BrokerConfig, LoadedConfig, Login, PartialSettings, PasswordSource, StoreKey, StoreUrl},
};

/// In Kubernetes, where the chart mounts things.
const CONFIG_IN_KUBERNETES: &str = "/etc/bindery/bindery.yaml";
const STORE_IN_KUBERNETES: &str = "sqlite:/var/lib/bindery/broker.db";

/// What the command line says about the broker's configuration.
#[derive(Debug, clap::Args)]
pub(super) struct BrokerSource {
    /// The servers and services to offer. In Kubernetes the default is /etc/bindery/bindery.yaml; elsewhere the
    /// environment is used when no file is given.
    #[arg(long, env = "BINDERY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the broker keeps its records, such as `sqlite:/var/lib/bindery/broker.db`, which is the default in
    /// Kubernetes.
    #[arg(long, env = "BINDERY_STORE", value_name = "URL")]
    store: Option<String>,
    /// A file with the store's key, 32 bytes in base64. Without it, in Kubernetes,
    /// the key in the Secret NAME-broker is used.
    #[arg(long, env = "BINDERY_STORE_KEY_FILE", value_name = "FILE")]
    store_key_file: Option<PathBuf>,
    /// What marks everything this installation makes. Without it, in
    /// Kubernetes, the one in the Secret NAME-broker is used.
    #[arg(long, env = "BINDERY_INSTALLATION", value_name = "ID")]
    installation: Option<String>,
}

impl BrokerSource {
    /// The configuration of a broker without Kubernetes.
    pub(super) fn standalone(&self) -> anyhow::Result<BrokerConfig> {
        let loaded = match &self.config {
            Some(file) => LoadedConfig::from_file(file)?,
            None => LoadedConfig::from_env(&|name| std::env::var(name).ok())
                .context("no --config is given, and the environment is no configuration either")?,
        };
        let store = self.store.as_deref().map(str::parse).transpose()?;
        Ok(loaded.complete(PartialSettings {
            store,
            store_key: self.store_key_file.clone().map(StoreKey::File),
            installation: self.installation.clone(),
            ..PartialSettings::default()
        })?)
    }

    /// The configuration of the role `broker`.
    pub(super) fn in_kubernetes(&self, secret: BrokerSecret) -> anyhow::Result<BrokerConfig> {
        let file = self.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_IN_KUBERNETES));
        let store: StoreUrl = self.store.as_deref().unwrap_or(STORE_IN_KUBERNETES).parse()?;
        Ok(LoadedConfig::from_file(&file)?.complete(PartialSettings {
            auth: vec![Login { username: secret.username, password: PasswordSource::Given(secret.password) }],
            store: Some(store),
            store_key: Some(
                self.store_key_file.clone().map_or(StoreKey::Given(secret.store_key), StoreKey::File),
            ),
            installation: Some(self.installation.clone().unwrap_or(secret.installation)),
        })?)
    }
}
