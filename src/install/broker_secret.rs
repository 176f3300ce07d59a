//! The Secret of bindery's own broker: its username and password, the encryption key of its store, and the id of the
//! installation.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use rand::{
    Rng,
    distr::{Alphanumeric, SampleString},
};
use secrecy::SecretString;

use super::own_secret::{OwnSecret, OwnSecretError};

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const STORE_KEY: &str = "storeKey";
const INSTALLATION: &str = "installation";
/// What to do when a key is missing. bindery generates no replacement: a new store key could not decrypt the store.
const REMEDY: &str = "restore the Secret from your backup, the broker's store depends on it";

/// The secrets of bindery's own broker. `Debug` shows none of them.
#[derive(Clone, Debug)]
pub struct BrokerSecret {
    /// The user name with which the catalog authenticates.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
    /// The key of the broker's store: 32 bytes, base64.
    pub store_key: SecretString,
    /// The installation's id, which marks everything that the installation creates in a database.
    pub installation: String,
}

impl BrokerSecret {
    /// Reads the existing Secret.
    ///
    /// # Errors
    /// When it does not, a key is missing, or the API server refuses.
    pub async fn get(client: Client, namespace: &str, name: &str) -> Result<Self, OwnSecretError> {
        let own = OwnSecret::new(client, namespace, name);
        Self::decode(&own, &own.get().await?)
    }

    /// Reads the Secret, or creates it if there is none.
    ///
    /// # Errors
    /// When a key is missing, or the API server refuses.
    pub async fn get_or_create(client: Client, namespace: &str, name: &str) -> Result<Self, OwnSecretError> {
        let own = OwnSecret::new(client, namespace, name);
        Self::decode(&own, &own.get_or_create(generate).await?)
    }

    fn decode(own: &OwnSecret, secret: &Secret) -> Result<Self, OwnSecretError> {
        let text = |key: &'static str| {
            own.value(secret, key, REMEDY, |value| {
                String::from_utf8(value.to_vec()).ok().filter(|value| !value.is_empty())
            })
        };
        Ok(Self {
            username: text(USERNAME)?,
            password: text(PASSWORD)?.into(),
            store_key: text(STORE_KEY)?.into(),
            installation: text(INSTALLATION)?,
        })
    }
}

fn generate() -> [(&'static str, Vec<u8>); 4] {
    let mut random = rand::rng();
    let mut key = [0_u8; 32];
    random.fill_bytes(&mut key);
    [
        (USERNAME, "bindery".to_owned()),
        (PASSWORD, Alphanumeric.sample_string(&mut random, 32)),
        (STORE_KEY, STANDARD.encode(key)),
        (INSTALLATION, uuid::Uuid::new_v4().to_string()),
    ]
    .map(|(key, value)| (key, value.into_bytes()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::install::own_secret::manifest;

    fn own() -> OwnSecret {
        let client = crate::k8s::asking(axum::Router::new());
        OwnSecret::new(client, "bindery", "bindery-broker")
    }

    #[tokio::test]
    async fn a_generated_secret_reads_back_whole() {
        let read = BrokerSecret::decode(&own(), &manifest("bindery-broker", generate())).unwrap();
        assert_eq!(read.username, "bindery");
        assert_eq!(read.password.expose_secret().len(), 32);
        assert_eq!(STANDARD.decode(read.store_key.expose_secret()).unwrap().len(), 32);
        assert!(!format!("{read:?}").contains(read.password.expose_secret()));
    }

    #[tokio::test]
    async fn a_missing_key_is_named() {
        let mut secret = manifest("bindery-broker", generate());
        secret.data.as_mut().unwrap().remove(STORE_KEY);
        let message = BrokerSecret::decode(&own(), &secret).unwrap_err().to_string();
        assert!(message.contains("storeKey") && message.contains("backup"), "{message}");
    }
}
