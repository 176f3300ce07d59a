//! Clients for brokers, built from a broker object or from an ExternalResource's copy of its settings, with
//! credentials from Secrets. Clients are cached for a while, so that connections are reused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    runtime::reflector::{ObjectRef, Store},
};

use super::approved_secrets::{ApprovedSecrets, Holder, SecretError};
use super::client::{BrokerClient, ClientError, Credentials, Endpoint, Queue};
use crate::apis::{
    bindery::external_resource::ExternalResourceBroker,
    servicecatalog::{
        AuthInfo, ExternalResource, UsesSecrets as _,
        broker::SecretReference,
        scope::{BrokerKey, BrokerObject},
    },
};
use crate::{install::secret_approvals::Approvals, k8s::namespaces::NamespaceMeta};

/// How long a client is used before the Secret with its credentials is read again.
const KEPT: Duration = Duration::from_mins(1);

/// How long an unused client is remembered, for a namespace that is being deleted.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Why bindery cannot call a broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokerError {
    #[error("{0}")]
    Credentials(String),
    /// The webhook has not approved the reference to the Secret with the credentials, so the Secret must not be read.
    #[error("{0}")]
    NotApproved(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl BrokerError {
    pub(super) fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Credentials(_) | Self::NotApproved(_) => None,
        }
    }
}

/// The cached clients, by the settings from which they were built.
pub(super) struct Connections {
    secrets: ApprovedSecrets,
    namespaces: Store<NamespaceMeta>,
    made: Mutex<HashMap<BrokerKey, Made>>,
    /// One queue for each broker, shared by its clients.
    queues: Mutex<HashMap<BrokerKey, Arc<Queue>>>,
}

struct Made {
    from: ExternalResourceBroker,
    at: Instant,
    /// Whether the credentials must be read again.
    is_stale: bool,
    client: Arc<BrokerClient>,
}

impl Connections {
    pub(super) fn new(cluster: Client, approvals: Approvals, namespaces: Store<NamespaceMeta>) -> Self {
        let secrets = ApprovedSecrets::new(cluster, approvals);
        Self { secrets, namespaces, made: Mutex::default(), queues: Mutex::default() }
    }

    /// Returns the client of a registered broker.
    pub(super) async fn of(&self, broker: &dyn BrokerObject) -> Result<Arc<BrokerClient>, BrokerError> {
        let with_credentials =
            ExternalResourceBroker { url: broker.common().url.clone(), ..ExternalResourceBroker::of(broker) };
        self.connect(with_credentials).await
    }

    /// Returns the client for the broker of an ExternalResource: with the broker's present registration, or else with
    /// the settings in the ExternalResource.
    pub(super) async fn of_external_resource(
        &self,
        external_resource: &ExternalResource,
        registered: Option<&dyn BrokerObject>,
    ) -> Result<Arc<BrokerClient>, BrokerError> {
        match registered {
            Some(broker) => self.of(broker).await,
            None => self.connect(external_resource.spec.broker.clone()).await,
        }
    }

    /// Whether the Secret with a broker's credentials may be read; true if there is none.
    pub(super) async fn is_approved(&self, broker: &dyn BrokerObject) -> bool {
        self.approved(&ExternalResourceBroker::of(broker)).await.is_ok()
    }

    /// bindery may read every Secret, so it reads only Secrets that the author of the broker object may read as well.
    async fn approved(&self, from: &ExternalResourceBroker) -> Result<(), BrokerError> {
        let key = from.key();
        let approval = from.approval.as_deref().unwrap_or_default();
        let holder =
            Holder { kind: key.kind(), namespace: key.namespace.as_deref(), name: &key.name, approval };
        self.secrets.verify(from, &holder).await.map_err(|error| match error {
            SecretError::NotApproved(about) => {
                BrokerError::NotApproved(format!("{about}; if the {} is gone, create it again", holder.kind))
            }
            error => BrokerError::Credentials(error.to_string()),
        })
    }

    /// Makes the next use read the credentials again, because the broker refused them.
    pub(super) fn forget(&self, broker: &BrokerKey) {
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get_mut(broker) {
            made.is_stale = true;
        }
    }

    async fn connect(&self, from: ExternalResourceBroker) -> Result<Arc<BrokerClient>, BrokerError> {
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&from.key())
            && made.from == from
            && !made.is_stale
            && made.at.elapsed() < KEPT
        {
            return Ok(made.client.clone());
        }
        let credentials = match &from.auth_info {
            Some(auth) => {
                self.approved(&from).await?;
                match self.credentials(auth).await {
                    Ok(credentials) => Some(credentials),
                    Err(error) => return self.of_terminating_namespace(&from).ok_or(error),
                }
            }
            None => None,
        };
        let client = BrokerClient::new(&Endpoint {
            url: from.url.clone(),
            insecure_skip_tls_verify: from.insecure_skip_tls_verify,
            ca_bundle: from.ca_bundle.clone(),
            credentials,
        })?;
        let client = Arc::new(client.in_queue(self.queue(&from.key())));
        let made = Made { client: client.clone(), at: Instant::now(), is_stale: false, from };
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, made| made.at.elapsed() < REMEMBERED);
        all.insert(made.from.key(), made);
        Ok(client)
    }

    /// The last client of a broker whose Secret is in a terminating namespace. Kubernetes may delete the Secret before the
    /// instances of the namespace, and the broker must still be asked to delete them.
    fn of_terminating_namespace(&self, from: &ExternalResourceBroker) -> Option<Arc<BrokerClient>> {
        let is_terminating = |secret: &SecretReference| {
            let namespace = self.namespaces.get(&ObjectRef::new(&secret.namespace));
            namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
        };
        if !from.secrets().iter().all(is_terminating) {
            return None;
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.get(&from.key()).filter(|made| made.from.checked() == from.checked())?;
        Some(known.client.clone())
    }

    fn queue(&self, broker: &BrokerKey) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        queues.entry(broker.clone()).or_default().clone()
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
        let read = self.secrets.read(reference, "spec.authInfo of the broker").await;
        read.map_err(|error| BrokerError::Credentials(error.to_string()))
    }
}

fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    // A trailing newline comes from `--from-file` by accident and is never part of a password.
    Some(String::from_utf8_lossy(&bytes.0).trim_end_matches(['\r', '\n']).to_owned())
}

fn missing(reference: &SecretReference, keys: &str) -> BrokerError {
    let SecretReference { namespace, name } = reference;
    BrokerError::Credentials(format!(
        "Secret {namespace}/{name}, which spec.authInfo of the broker names, lacks {keys}; add it"
    ))
}
