//! Where the broker's configuration comes from. `bindery broker` reads a file or the environment; in Kubernetes the
//! services come from a file and the rest from the Secret that bindery maintains.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    broker::{
        check_services,
        config::{
            BrokerConfig, ConfigError, LoadedConfig, Login, PartialSettings, PasswordSource, StoreKey,
            StoreUrl,
        },
    },
    install::broker_secret::BrokerSecret,
};

/// The paths at which the chart mounts the configuration and the volume.
const CONFIG_IN_KUBERNETES: &str = "/etc/bindery/bindery.yaml";
const STORE_IN_KUBERNETES: &str = "sqlite:/var/lib/bindery/broker.db";

/// The broker settings of the command line.
#[derive(Debug, clap::Args)]
pub(super) struct BrokerSource {
    /// The backends and services to offer. In Kubernetes the default is /etc/bindery/bindery.yaml; elsewhere the
    /// environment is used when no file is given.
    #[arg(long, env = "BINDERY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store of the broker's records: `sqlite:/var/lib/bindery/broker.db` (the default in Kubernetes),
    /// `postgres://USER@HOST:PORT/DATABASE` or `dynamodb:TABLE?region=REGION`. Overrides the configuration file.
    #[arg(long, env = "BINDERY_STORE", hide_env_values = true, value_name = "URL")]
    store: Option<SecretString>,
    /// A file with the password for a store in PostgreSQL or CockroachDB.
    #[arg(long, env = "BINDERY_STORE_PASSWORD_FILE", value_name = "FILE")]
    store_password_file: Option<PathBuf>,
    /// A file with the encryption key of the store, 32 bytes in base64. The default in Kubernetes is the key in the
    /// Secret NAME-broker.
    #[arg(long, env = "BINDERY_STORE_KEY_FILE", value_name = "FILE")]
    store_key_file: Option<PathBuf>,
    /// A file with a former encryption key of the store. Repeat the option for each key.
    #[arg(
        long = "former-store-key-file",
        env = "BINDERY_FORMER_STORE_KEY_FILES",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    former_store_key_files: Vec<PathBuf>,
    /// The installation's id, which marks every database and user that the installation makes. The default in
    /// Kubernetes is the id in the Secret NAME-broker.
    #[arg(long, env = "BINDERY_INSTALLATION", value_name = "ID")]
    installation: Option<String>,
}

impl BrokerSource {
    /// An empty environment variable counts as unset.
    fn installation(&self) -> Option<String> {
        self.installation.clone().filter(|name| !name.is_empty())
    }

    /// The configuration of a broker without Kubernetes.
    pub(super) fn standalone(&self) -> anyhow::Result<BrokerConfig> {
        let loaded = match &self.config {
            Some(file) => from_file(file)?,
            None => LoadedConfig::from_env(&|name| std::env::var(name).ok())
                .context("--config is missing, and the environment holds no complete configuration")?,
        };
        Ok(loaded.complete(PartialSettings {
            store: self.store()?,
            store_key: self.store_key_file.clone().map(StoreKey::File),
            installation: self.installation(),
            ..self.stated()
        })?)
    }

    /// The configuration of the role `broker`.
    pub(super) fn in_kubernetes(&self, secret: BrokerSecret) -> anyhow::Result<BrokerConfig> {
        let file = self.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_IN_KUBERNETES));
        let loaded = from_file(&file)?;
        ensure!(
            loaded.stated.tls.is_none(),
            "{}: tls applies only to `bindery broker`; in Kubernetes bindery makes the certificate itself. \
            Remove tls",
            file.display()
        );
        let store = match (self.store()?, &loaded.stated.store) {
            (Some(store), _) => Some(store),
            (None, Some(_)) => None,
            (None, None) => Some(STORE_IN_KUBERNETES.parse()?),
        };
        let login =
            Login::Basic { username: secret.username, password: PasswordSource::Given(secret.password) };
        Ok(loaded.complete(PartialSettings {
            auth: vec![login],
            store,
            store_key: Some(
                self.store_key_file.clone().map_or(StoreKey::Given(secret.store_key), StoreKey::File),
            ),
            installation: Some(self.installation().unwrap_or(secret.installation)),
            ..self.stated()
        })?)
    }

    fn store(&self) -> anyhow::Result<Option<StoreUrl>> {
        Ok(self.store.as_ref().map(|url| url.expose_secret().parse()).transpose()?)
    }

    /// The settings that both ways share.
    fn stated(&self) -> PartialSettings {
        PartialSettings {
            store_password: self.store_password_file.clone().map(PasswordSource::File),
            former_store_keys: self.former_store_key_files.clone(),
            ..PartialSettings::default()
        }
    }
}

/// Reads a configuration file, the settings of its backends included.
///
/// # Errors
/// Names the file and the field.
pub(super) fn from_file(file: &Path) -> Result<LoadedConfig, ConfigError> {
    let loaded = LoadedConfig::from_file(file)?;
    check_services(&loaded.services).map_err(|error| error.in_file(file))?;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        source: BrokerSource,
    }

    fn secret() -> BrokerSecret {
        BrokerSecret {
            username: "catalog".to_owned(),
            password: "p".to_owned().into(),
            store_key: "k".to_owned().into(),
            installation: "i".to_owned(),
        }
    }

    /// A sweep in the broker's pod gets no options and must find the store that the broker uses.
    #[rstest::rstest]
    #[case::nobody_says("", &[], "sqlite:/var/lib/bindery/broker.db")]
    #[case::the_file_says("store: dynamodb:bindery", &[], "dynamodb:bindery")]
    #[case::the_command_line_wins("store: dynamodb:bindery", &["--store", "sqlite:a.db"], "sqlite:a.db")]
    fn in_kubernetes_options_override_the_file_and_the_file_overrides_the_default_store(
        #[case] file: &str,
        #[case] options: &[&str],
        #[case] wanted: &str,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bindery.yaml");
        std::fs::write(&path, format!("services: []\n{file}\n")).unwrap();
        let fixed = ["bindery", "--config", path.to_str().unwrap()];
        let source = Command::try_parse_from(fixed.iter().chain(options)).unwrap().source;
        let config = source.in_kubernetes(secret()).unwrap();
        assert_eq!(config.settings.store.to_string(), wanted);
    }
}
