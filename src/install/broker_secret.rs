//! The secrets of bindery's own broker, which are created once: its password, the key of its store, and the
//! installation's id. They are in a Secret that Helm does not own.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};
use rand::{
    Rng,
    distr::{Alphanumeric, SampleString},
};
use secrecy::SecretString;

use crate::k8s::{explain, own};

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const STORE_KEY: &str = "storeKey";
const INSTALLATION: &str = "installation";

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

/// Why the broker's secrets are not available.
#[derive(Debug, thiserror::Error)]
pub enum BrokerSecretError {
    /// The API server refused.
    #[error("Secret {namespace}/{name}: {}; bindery needs get and create on it", explain(source))]
    Api {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// A key is missing. bindery does not replace it, because a new store key could not read the store.
    #[error(
        "Secret {name} has no usable key {key:?}; restore the Secret from your backup, because the broker's \
        store depends on it"
    )]
    Incomplete {
        /// The Secret's name.
        name: String,
        /// The missing key.
        key: &'static str,
    },
}

impl BrokerSecret {
    /// Reads the existing Secret.
    pub async fn get(client: Client, namespace: &str, name: &str) -> Result<Self, BrokerSecretError> {
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        match secrets.get(name).await {
            Ok(secret) => Self::read(name, &secret),
            Err(source) => Err(BrokerSecretError::Api {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    /// Reads the Secret, or creates it if there is none. Replicas that race end with the same Secret.
    pub async fn get_or_create(
        client: Client,
        namespace: &str,
        name: &str,
    ) -> Result<Self, BrokerSecretError> {
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let failed = |source| BrokerSecretError::Api {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        };
        if let Some(secret) = secrets.get_opt(name).await.map_err(failed)? {
            return Self::read(name, &secret);
        }
        match secrets.create(&PostParams::default(), &generate(name)).await {
            Ok(secret) => Self::read(name, &secret),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Self::read(name, &secrets.get(name).await.map_err(failed)?)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(name: &str, secret: &Secret) -> Result<Self, BrokerSecretError> {
        let text = |key: &'static str| {
            secret
                .data
                .as_ref()
                .and_then(|data| data.get(key))
                .and_then(|value| String::from_utf8(value.0.clone()).ok())
                .filter(|value| !value.is_empty())
                .ok_or_else(|| BrokerSecretError::Incomplete { name: name.to_owned(), key })
        };
        Ok(Self {
            username: text(USERNAME)?,
            password: text(PASSWORD)?.into(),
            store_key: text(STORE_KEY)?.into(),
            installation: text(INSTALLATION)?,
        })
    }
}

fn generate(name: &str) -> Secret {
    let mut random = rand::rng();
    let mut key = [0_u8; 32];
    random.fill_bytes(&mut key);
    let data = [
        (USERNAME, "bindery".to_owned()),
        (PASSWORD, Alphanumeric.sample_string(&mut random, 32)),
        (STORE_KEY, STANDARD.encode(key)),
        (INSTALLATION, uuid::Uuid::new_v4().to_string()),
    ];
    Secret {
        metadata: own(name),
        type_: Some("Opaque".to_owned()),
        data: Some(
            data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect(),
        ),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_generated_secret_can_be_read_back() {
        let read = BrokerSecret::read("bindery-broker", &generate("bindery-broker")).unwrap();
        assert_eq!(read.username, "bindery");
        assert_eq!(read.password.expose_secret().len(), 32);
        assert_eq!(STANDARD.decode(read.store_key.expose_secret()).unwrap().len(), 32);
        assert!(!format!("{read:?}").contains(read.password.expose_secret()));
    }

    #[test]
    fn a_missing_key_is_named() {
        let mut secret = generate("bindery-broker");
        secret.data.as_mut().unwrap().remove(STORE_KEY);
        let message = BrokerSecret::read("bindery-broker", &secret).unwrap_err().to_string();
        assert!(message.contains("storeKey") && message.contains("backup"), "{message}");
    }
}
