//! Clients of the brokers, made from a ClusterServiceBroker or from what a claim remembers of one, with the
//! credentials of their Secrets. They are kept for a while, so that connections are used again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::{
    api::{AuthInfo, Claim, ClusterServiceBroker, broker::SecretReference, claim::ClaimBroker},
    client::{BrokerClient, ClientError, Credentials, Endpoint, Queue},
};

/// How long a client is used before the Secret with its credentials is read again.
const KEPT: Duration = Duration::from_mins(1);

/// A broker cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokerError {
    #[error("{0}")]
    Credentials(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl BrokerError {
    pub(super) fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Credentials(_) => None,
        }
    }
}

/// The clients by what they were made from.
pub(super) struct Connections {
    cluster: Client,
    made: Mutex<HashMap<String, Made>>,
    /// Each broker's, whichever client it is asked by. Nobody has so many brokers that they would have to be removed.
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

struct Made {
    from: ClaimBroker,
    at: Instant,
    client: Arc<BrokerClient>,
}

impl Connections {
    pub(super) fn new(cluster: Client) -> Self {
        Self { cluster, made: Mutex::default(), queues: Mutex::default() }
    }

    /// The client of a registered broker.
    pub(super) async fn of(&self, broker: &ClusterServiceBroker) -> Result<Arc<BrokerClient>, BrokerError> {
        let with_credentials = ClaimBroker { url: broker.spec.url.clone(), ..remembered(broker) };
        self.connect(with_credentials).await
    }

    /// The client of the broker that a claim is held by: as it is registered now, else as it was.
    pub(super) async fn of_claim(
        &self,
        claim: &Claim,
        registered: Option<&ClusterServiceBroker>,
    ) -> Result<Arc<BrokerClient>, BrokerError> {
        match registered {
            Some(broker) => self.of(broker).await,
            None => self.connect(claim.spec.broker.clone()).await,
        }
    }

    /// Has the credentials read again at the next use, for they were refused.
    pub(super) fn forget(&self, name: &str) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn connect(&self, from: ClaimBroker) -> Result<Arc<BrokerClient>, BrokerError> {
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&from.name)
            && made.from == from
            && made.at.elapsed() < KEPT
        {
            return Ok(made.client.clone());
        }
        let credentials = match &from.auth_info {
            Some(auth) => Some(self.credentials(auth).await?),
            None => None,
        };
        let client = BrokerClient::new(&Endpoint {
            url: from.url.clone(),
            insecure_skip_tls_verify: from.insecure_skip_tls_verify,
            ca_bundle: from.ca_bundle.clone(),
            credentials,
        })?;
        let client = Arc::new(client.in_queue(self.queue(&from.name)));
        let made = Made { client: client.clone(), at: Instant::now(), from };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(made.from.name.clone(), made);
        Ok(client)
    }

    fn queue(&self, broker: &str) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(broker.to_owned()).or_default().clone()
    }

    async fn credentials(&self, auth: &AuthInfo) -> Result<Credentials, BrokerError> {
        match auth {
            AuthInfo { basic: Some(basic), .. } => {
                let secret = self.secret(&basic.secret_ref).await?;
                let (username, password) = (value(&secret, "username"), value(&secret, "password"));
                if username.is_none() && password.is_none() {
                    return Err(missing(&basic.secret_ref, "username and password"));
                }
                Ok(Credentials::Basic {
                    username: username.unwrap_or_default(),
                    password: password.unwrap_or_default().into(),
                })
            }
            AuthInfo { bearer: Some(bearer), .. } => {
                let secret = self.secret(&bearer.secret_ref).await?;
                let token = value(&secret, "token").ok_or_else(|| missing(&bearer.secret_ref, "token"))?;
                Ok(Credentials::Bearer(token.into()))
            }
            AuthInfo { basic: None, bearer: None } => Err(BrokerError::Credentials(
                "spec.authInfo of the broker is empty; name basic or bearer".to_owned(),
            )),
        }
    }

    async fn secret(&self, reference: &SecretReference) -> Result<Secret, BrokerError> {
        let SecretReference { namespace, name } = reference;
        let api: Api<Secret> = Api::namespaced(self.cluster.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(BrokerError::Credentials(format!(
                "Secret {namespace}/{name}, which spec.authInfo of the broker names, does not exist; create it"
            ))),
            Err(error) => Err(BrokerError::Credentials(format!(
                "Secret {namespace}/{name}, which spec.authInfo of the broker names, cannot be read: {error}"
            ))),
        }
    }
}

/// What a claim remembers of a broker: all but the credentials in its URL.
pub(super) fn remembered(broker: &ClusterServiceBroker) -> ClaimBroker {
    ClaimBroker {
        name: broker.name_any(),
        url: broker.spec.url.shown().as_str().into(),
        insecure_skip_tls_verify: broker.spec.insecure_skip_tls_verify,
        ca_bundle: broker.spec.ca_bundle.clone(),
        auth_info: broker.spec.auth_info.clone(),
    }
}

fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    // A newline at the end is an accident of `--from-file`, never part of a password.
    Some(String::from_utf8_lossy(&bytes.0).trim_end_matches(['\r', '\n']).to_owned())
}

fn missing(reference: &SecretReference, keys: &str) -> BrokerError {
    let SecretReference { namespace, name } = reference;
    BrokerError::Credentials(format!(
        "Secret {namespace}/{name}, which spec.authInfo of the broker names, lacks {keys}; add it"
    ))
}
