//! Access to the API server, with time limits that kube does not set by itself.

use std::time::Duration;

use kube::{Client, Config, config::InferConfigError};
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(30);
/// A watch may be silent for almost five minutes, kube's limit for one; a connection that is silent for longer is dead.
const READ: Duration = Duration::from_secs(330);

/// There is no access to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a pod's service account nor a kubeconfig was found.
    #[error("no access to Kubernetes: run in a pod, or set KUBECONFIG")]
    NoAccess(#[source] Box<InferConfigError>),
    /// What was found cannot be used.
    #[error("the access to Kubernetes cannot be used; check the kubeconfig's certificates and addresses")]
    Unusable(#[source] Box<kube::Error>),
}

/// A client from `KUBECONFIG` or, in a pod, from its service account.
///
/// # Errors
/// When neither gives access to a cluster.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await.map_err(|error| ClientError::NoAccess(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(READ);
    Client::try_from(config).map_err(|error| ClientError::Unusable(Box::new(error)))
}

/// Waits this long for the API server's answers and no longer: a client's own limits are those of a watch.
///
/// # Errors
/// Those of `asking`, and [`kube::Error::Service`] when the time is over.
pub async fn in_time<T>(limit: Duration, asking: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    timeout(limit, asking).await.unwrap_or_else(|_| Err(no_answer()))
}

/// The error of an API server that does not answer in time.
#[must_use]
pub fn no_answer() -> kube::Error {
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer").into())
}
