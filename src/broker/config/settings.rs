//! The values of a configuration, whatever its source.

use std::path::PathBuf;

use super::{BackendSettings, Login, Offering, PasswordSource, StoreKey, StoreUrl, TlsFiles};

/// Everything that `bindery broker` needs.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The offered services.
    pub services: ServiceSettings,
    /// How the broker runs.
    pub settings: BrokerSettings,
}

/// The offered services with their plans, and the backends of those plans.
#[derive(Clone, Debug, Default)]
pub struct ServiceSettings {
    /// The services; names and ids are unique.
    pub offerings: Vec<Offering>,
    /// The backends that plans name; names are unique.
    pub backends: Vec<BackendSettings>,
}

/// How the broker runs: its callers and its store.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// The callers of the broker. Never empty.
    pub auth: Vec<Login>,
    /// The store of the records.
    pub store: StoreUrl,
    /// The store's password, if it needs one that is not in its address.
    pub store_password: Option<PasswordSource>,
    /// The key that encrypts the records.
    pub store_key: StoreKey,
    /// Files with former keys, which still decrypt older records.
    pub former_store_keys: Vec<PathBuf>,
    /// The broker's TLS files; without them, it serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The mark of everything that this installation creates. If absent, the store generates one and keeps it.
    pub installation: Option<String>,
}

/// The settings of [`BrokerSettings`] that one source provides; the caller adds the rest.
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

/// A configuration as its source provides it, before the caller adds its values.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The offered services.
    pub services: ServiceSettings,
    /// The source's settings for running the broker.
    pub stated: PartialSettings,
    /// Whether an unconfigured key is kept beside the store, with `.key` added, and created with the store.
    pub key_beside_store: bool,
}
