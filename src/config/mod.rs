//! What the broker offers and how it runs, as plain values: [`ServiceSettings`] (services, plans and the servers behind
//! them) and [`BrokerSettings`] (who may call, where records are kept). They come from bindery's own YAML file
//! (`file`), from the environment of the CockroachDB broker that bindery replaces (`environment`), or from the caller.
//! Parsing is pure; the files named here are read where they are used.

mod environment;
mod error;
mod file;
mod offering;
mod server;

use std::path::{Path, PathBuf};

use secrecy::SecretString;

pub use error::ConfigError;
pub use offering::{Offering, ServiceKind, plan_id};
pub use server::{PasswordSource, ServerName, ServerSettings, SslMode};

/// Everything `bindery broker` needs.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// What is offered.
    pub services: ServiceSettings,
    /// How the broker runs.
    pub settings: BrokerSettings,
}

/// What is offered: services with their plans, and the database servers they live on.
#[derive(Clone, Debug, Default)]
pub struct ServiceSettings {
    /// The services; names and ids are unique.
    pub offerings: Vec<Offering>,
    /// The servers that plans name; names are unique.
    pub servers: Vec<ServerSettings>,
}

/// How the broker runs: who may call it and where it keeps its records.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Who may call; any of them. Never empty.
    pub auth: Vec<Login>,
    /// Where records are kept.
    pub store: StoreUrl,
    /// What credentials at rest are encrypted with.
    pub store_key: StoreKey,
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
    /// See [`BrokerSettings::store_key`].
    pub store_key: Option<StoreKey>,
    /// See [`BrokerSettings::installation`].
    pub installation: Option<String>,
}

/// A configuration as its source states it, before the caller's values are added.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// What is offered.
    pub services: ServiceSettings,
    /// What the source says about running the broker.
    pub stated: PartialSettings,
    /// Whether a key that nobody names is kept beside the store, with `.key` added, and made with it.
    pub key_beside_store: bool,
}

/// A user of the broker (HTTP basic authentication).
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password, given or in a file that is read when the broker opens.
    pub password: PasswordSource,
}

/// Where the key for credentials at rest comes from: 32 bytes in base64.
#[derive(Clone, Debug)]
pub enum StoreKey {
    /// A file that must exist.
    File(PathBuf),
    /// A file that is made, readable by its owner only, when neither it nor the store exists yet.
    FileOrNew(PathBuf),
    /// The key itself, as a caller holds it.
    Given(SecretString),
}

/// Where the broker keeps its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: an embedded database in a file.
    Sqlite(PathBuf),
}

impl StoreUrl {
    fn key_beside(&self) -> StoreKey {
        let Self::Sqlite(path) = self;
        let mut key = path.clone().into_os_string();
        key.push(".key");
        StoreKey::FileOrNew(key.into())
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(ConfigError::invalid(
                "store",
                "is not a known address of a store; write it as `sqlite:/path/to/file`",
            )),
        }
    }
}

impl LoadedConfig {
    /// Reads bindery's own configuration file.
    ///
    /// # Errors
    /// When the file cannot be read or says something that cannot be done; the error names the field.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::from_yaml(&text).map_err(|error| error.in_file(path))
    }

    /// Parses the text of bindery's own configuration file.
    ///
    /// # Errors
    /// When it says something that cannot be done; the error names the field.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        file::parse(text)
    }

    /// Reads the environment variables of the CockroachDB broker that bindery replaces, and `BINDERY_STORE`,
    /// `BINDERY_STORE_KEY_FILE`, `BINDERY_INSTALLATION` beside them. `variable` looks one up.
    ///
    /// # Errors
    /// When a variable is missing or says something that cannot be done; the error names it.
    pub fn from_env(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        environment::parse(variable)
    }

    /// Adds what the caller knows: its values win over those of the source.
    ///
    /// # Errors
    /// When neither says who may call or where records are kept.
    pub fn complete(self, caller: PartialSettings) -> Result<BrokerConfig, ConfigError> {
        let stated = self.stated;
        let auth = if caller.auth.is_empty() { stated.auth } else { caller.auth };
        if auth.is_empty() {
            return Err(ConfigError::missing("auth", "name at least one `username` with its `passwordFile`"));
        }
        let store = caller
            .store
            .or(stated.store)
            .ok_or_else(|| ConfigError::missing("store", "name a file, such as `sqlite:/data/broker.db`"))?;
        let beside = self.key_beside_store.then(|| store.key_beside());
        let store_key = caller.store_key.or(stated.store_key).or(beside).ok_or_else(|| {
            ConfigError::missing(
                "storeKeyFile",
                "name a file with 32 random bytes in base64 (`openssl rand -base64 32`)",
            )
        })?;
        let settings = BrokerSettings {
            auth,
            store,
            store_key,
            installation: caller.installation.or(stated.installation),
        };
        Ok(BrokerConfig { services: self.services, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> LoadedConfig {
        LoadedConfig::from_yaml("services: []").unwrap()
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let message = empty().complete(PartialSettings::default()).unwrap_err().to_string();
        assert!(message.contains("auth") && message.contains("passwordFile"), "{message}");
    }

    #[test]
    fn the_callers_values_win() {
        let mut loaded = empty();
        loaded.stated.installation = Some("file".into());
        loaded.stated.store = Some(StoreUrl::Sqlite("a".into()));
        let login = Login { username: "u".into(), password: PasswordSource::Given("p".into()) };
        let caller = PartialSettings {
            auth: vec![login],
            store_key: Some(StoreKey::File("k".into())),
            installation: Some("caller".into()),
            ..PartialSettings::default()
        };
        let config = loaded.complete(caller).unwrap();
        assert_eq!(config.settings.installation.as_deref(), Some("caller"));
        assert_eq!(config.settings.store, StoreUrl::Sqlite("a".into()));
    }

    #[test]
    fn other_stores_are_refused() {
        for text in ["", "sqlite:", "mongodb://x", "/path"] {
            let message = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(message.contains("sqlite:/"), "{text}: {message}");
        }
    }
}
