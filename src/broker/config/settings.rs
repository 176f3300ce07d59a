//! The values that a configuration comes to, whatever its source.

use std::path::PathBuf;

use super::{BackendSettings, Login, Offering, PasswordSource, StoreKey, StoreUrl, TlsFiles};

/// Everything `bindery broker` needs.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// What is offered.
    pub services: ServiceSettings,
    /// How the broker runs.
    pub settings: BrokerSettings,
}

/// What is offered: services with their plans, and the backends that they live on.
#[derive(Clone, Debug, Default)]
pub struct ServiceSettings {
    /// The services; names and ids are unique.
    pub offerings: Vec<Offering>,
    /// The backends that plans name; names are unique.
    pub backends: Vec<BackendSettings>,
}

/// How the broker runs: who may call it and where it keeps its records.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Who may call; any of them. Never empty.
    pub auth: Vec<Login>,
    /// Where records are kept.
    pub store: StoreUrl,
    /// The password for the store, where it needs one that is not in its address.
    pub store_password: Option<PasswordSource>,
    /// What credentials at rest are encrypted with.
    pub store_key: StoreKey,
    /// Files with keys that credentials were encrypted with before; they are still read with them.
    pub former_store_keys: Vec<PathBuf>,
    /// How the broker speaks TLS by itself; without it, it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Marks everything this installation makes. Without one the store invents it once and keeps it.
    pub installation: Option<String>,
}

/// The parts of [`BrokerSettings`] that one source happens to say; a caller fills the rest.
#[derive(Clone, Debug, Default)]
pub struct PartialSettings {
    /// See [`BrokerSettings::auth`].
    pub auth: Vec<Login>,
    /// See [`BrokerSettings::store`].
    pub store: Option<StoreUrl>,
    /// See [`BrokerSettings::store_password`].
    pub store_password: Option<PasswordSource>,
    /// See [`BrokerSettings::store_key`].
    pub store_key: Option<StoreKey>,
    /// See [`BrokerSettings::former_store_keys`].
    pub former_store_keys: Vec<PathBuf>,
    /// See [`BrokerSettings::tls`].
    pub tls: Option<TlsFiles>,
    /// See [`BrokerSettings::installation`].
    pub installation: Option<String>,
}

/// A configuration as its source states it, before the caller adds its values.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// What is offered.
    pub services: ServiceSettings,
    /// What the source says about running the broker.
    pub stated: PartialSettings,
    /// Whether a key that nobody names is kept beside the store, with `.key` added, and made with it.
    pub key_beside_store: bool,
}
