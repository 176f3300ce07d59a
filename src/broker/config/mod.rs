//! The configuration of the broker as plain values: [`ServiceSettings`] (services, plans and their backends) and
//! [`BrokerSettings`] (callers and store). Its sources are bindery's own YAML file (`file`), the environment of the
//! CockroachDB broker that bindery replaces (`environment`), and the caller. Parsing is pure; the code that uses a
//! named file reads it. The settings of a backend type are kept as [`RawSettings`] for the backend to parse.
//! [`Schemas`] compiles the JSON Schemas of a plan's parameters here, because an invalid schema makes the
//! configuration invalid.

mod backend;
mod backend_limits;
mod environment;
mod error;
mod file;
mod lifetime;
mod login;
mod offering;
mod parameter_schemas;
mod password;
mod raw;
mod settings;
mod sslmode;
mod store;
mod tls;
mod words;

use std::path::Path;

pub use backend::{BackendName, BackendSettings};
pub use backend_limits::BackendLimits;
pub use error::ConfigError;
pub(crate) use lifetime::LIFETIME_PATTERN;
pub use lifetime::Lifetime;
pub use login::Login;
pub(in crate::broker) use offering::check as check_offerings;
pub use offering::{Backing, Offering, plan_id};
pub(crate) use parameter_schemas::DIALECT;
pub use parameter_schemas::{SchemaError, Schemas, Violations};
pub use password::{PasswordSource, next_to};
pub use raw::RawSettings;
pub use settings::{BrokerConfig, BrokerSettings, LoadedConfig, PartialSettings, ServiceSettings};
pub use sslmode::SslMode;
pub use store::{DynamoDbTable, PostgresUrl, StoreKey, StoreUrl};
pub use tls::TlsFiles;
pub use words::{Kinds, ReclaimPolicy};

impl LoadedConfig {
    /// Reads bindery's own configuration file.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid; the error names the field.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::from_yaml(&text).map_err(|error| error.in_file(path))
    }

    /// Parses bindery's own configuration file.
    ///
    /// # Errors
    /// When the text is invalid; the error names the field.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        file::parse(text)
    }

    /// Reads the environment variables of the CockroachDB broker that bindery replaces, and in addition
    /// `BINDERY_STORE`, `BINDERY_STORE_KEY_FILE` and `BINDERY_INSTALLATION`. `variable` looks a variable up.
    ///
    /// # Errors
    /// When a variable is missing or invalid; the error names it.
    pub fn from_env(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        environment::parse(variable)
    }

    /// Adds the caller's values, which take precedence over those of the source.
    ///
    /// # Errors
    /// When neither names the callers of the broker or the store.
    pub fn complete(self, caller: PartialSettings) -> Result<BrokerConfig, ConfigError> {
        let stated = self.stated;
        let auth = if caller.auth.is_empty() { stated.auth } else { caller.auth };
        if auth.is_empty() {
            return Err(ConfigError::missing(
                "auth",
                "name at least one `username` with its `passwordFile`, or a `tokenFile`",
            ));
        }
        let store = caller
            .store
            .or(stated.store)
            .ok_or_else(|| ConfigError::missing("store", "name a file, such as `sqlite:/data/broker.db`"))?;
        let store_password = caller.store_password.or(stated.store_password);
        check_password(&store, store_password.is_some())?;
        let beside = if self.key_beside_store { store.key_beside() } else { None };
        let store_key = caller.store_key.or(stated.store_key).or(beside).ok_or_else(|| {
            ConfigError::missing(
                "storeKeyFile",
                format!(
                    "name a file with 32 random bytes in base64 (`openssl rand -base64 32`) for the store {store}"
                ),
            )
        })?;
        let former = caller.former_store_keys;
        let settings = BrokerSettings {
            auth,
            store,
            store_password,
            store_key,
            former_store_keys: if former.is_empty() { stated.former_store_keys } else { former },
            tls: caller.tls.or(stated.tls),
            installation: named(caller.installation)?.or(named(stated.installation)?),
        };
        Ok(BrokerConfig { services: self.services, settings })
    }
}

/// A store has at most one password, and only a database server uses one.
fn check_password(store: &StoreUrl, has_file: bool) -> Result<(), ConfigError> {
    let problem = match store {
        StoreUrl::Postgres(url) if has_file && url.has_password() => {
            "is given, and `store` holds a password, too; take it out of `store`"
        }
        StoreUrl::Sqlite(_) | StoreUrl::DynamoDb(_) if has_file => {
            "is given, but only a store in PostgreSQL or CockroachDB has a password; take it out"
        }
        _ => return Ok(()),
    };
    Err(ConfigError::invalid("storePasswordFile", problem))
}

/// An empty name is invalid: every installation without a name would have the same mark.
fn named(installation: Option<String>) -> Result<Option<String>, ConfigError> {
    match installation {
        Some(name) if name.trim().is_empty() => Err(ConfigError::invalid(
            "installation",
            "is empty; name it as no other installation is named, or leave it out",
        )),
        installation => Ok(installation),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn empty() -> LoadedConfig {
        LoadedConfig::from_yaml("services: []").unwrap()
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let message = empty().complete(PartialSettings::default()).unwrap_err().to_string();
        assert!(message.contains("auth") && message.contains("passwordFile"), "{message}");
        assert!(message.contains("tokenFile"), "{message}");
    }

    #[test]
    fn an_installation_has_a_name() {
        let mut loaded = empty();
        loaded.stated.installation = Some(" ".into());
        let login = Login::Basic { username: "u".into(), password: PasswordSource::Given("p".into()) };
        let caller = PartialSettings {
            auth: vec![login],
            store: Some(StoreUrl::Sqlite("a".into())),
            store_key: Some(StoreKey::File("k".into())),
            ..PartialSettings::default()
        };
        let message = loaded.complete(caller).unwrap_err().to_string();
        assert!(message.contains("installation"), "{message}");
    }

    #[test]
    fn the_callers_values_win() {
        let mut loaded = empty();
        loaded.stated.installation = Some("file".into());
        loaded.stated.store = Some(StoreUrl::Sqlite("a".into()));
        loaded.stated.former_store_keys = vec!["a".into()];
        let caller = PartialSettings {
            installation: Some("caller".into()),
            former_store_keys: vec!["b".into()],
            ..caller()
        };
        let config = loaded.complete(caller).unwrap();
        assert_eq!(config.settings.former_store_keys, [PathBuf::from("b")]);
        assert_eq!(config.settings.installation.as_deref(), Some("caller"));
        assert_eq!(config.settings.store, StoreUrl::Sqlite("a".into()));
    }

    fn caller() -> PartialSettings {
        PartialSettings {
            auth: vec![Login::Bearer { tokens: PasswordSource::Given("t".into()) }],
            store_key: Some(StoreKey::File("k".into())),
            ..PartialSettings::default()
        }
    }

    #[test]
    fn a_store_elsewhere_needs_a_key_file() {
        for store in ["postgres://u:s3cret@h/d", "dynamodb:bindery"] {
            let loaded = LoadedConfig { key_beside_store: true, ..empty() };
            let store = Some(store.parse().unwrap());
            let caller = PartialSettings { store, store_key: None, ..caller() };
            let message = loaded.complete(caller).unwrap_err().to_string();
            assert!(message.contains("storeKeyFile") && !message.contains("s3cret"), "{message}");
        }
    }

    #[rstest::rstest]
    #[case("postgres://u@h/d", None)]
    #[case("postgres://u:s3cret@h/d", Some("take it out of `store`"))]
    #[case("sqlite:a.db", Some("only a store in PostgreSQL"))]
    #[case("dynamodb:bindery", Some("only a store in PostgreSQL"))]
    fn the_password_of_a_store_stands_in_one_place(#[case] store: &str, #[case] refused: Option<&str>) {
        let caller = PartialSettings {
            store: Some(store.parse().unwrap()),
            store_password: Some(PasswordSource::File("/pw".into())),
            ..caller()
        };
        match (empty().complete(caller), refused) {
            (Ok(config), None) => assert!(config.settings.store_password.is_some()),
            (Err(error), Some(named)) => {
                let message = error.to_string();
                assert!(message.contains("storePasswordFile") && message.contains(named), "{message}");
            }
            (outcome, _) => panic!("{store}: {outcome:?}"),
        }
    }
}
