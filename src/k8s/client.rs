//! The client for the API server, with time limits that kube does not set itself, and with answers that no object can
//! make unreadable. All parts of bindery use this client.

use std::{error::Error as _, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InferConfigError, KubeconfigError},
};
use serde_saphyr::{RenderOptions, SnippetMode, UserMessageFormatter};
use tokio::time::timeout;
#[cfg(test)]
use tower::Layer;

use super::{answers::SafeAnswers, request_limit::RequestLimit};

const CONNECT: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(30);
/// A watch may be silent for almost five minutes, kube's limit for a watch; a connection that is silent for longer is
/// dead.
const READ: Duration = Duration::from_secs(330);

/// There is no access to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a pod's service account nor a kubeconfig was found.
    #[error("no access to Kubernetes: run in a pod, or set KUBECONFIG")]
    NoAccess(#[source] Box<InferConfigError>),
    /// The kubeconfig is invalid.
    #[error("no access to Kubernetes: the kubeconfig cannot be read: {0}; correct it, or set KUBECONFIG")]
    Kubeconfig(String),
    /// The configuration cannot be used.
    #[error("the access to Kubernetes cannot be used; check the kubeconfig's certificates and addresses")]
    Unusable(#[source] Box<kube::Error>),
}

/// A client from `KUBECONFIG` or, in a pod, from its service account.
///
/// # Errors
/// When neither gives access to a cluster.
pub async fn client() -> Result<Client, ClientError> {
    client_with(Config::infer().await.map_err(no_access)?)
}

/// The same with this access.
///
/// # Errors
/// When the access cannot be used.
pub fn client_with(mut config: Config) -> Result<Client, ClientError> {
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(READ);
    let builder = ClientBuilder::try_from(config).map_err(|error| ClientError::Unusable(Box::new(error)))?;
    Ok(builder.with_layer(&RequestLimit).with_layer(&SafeAnswers).build())
}

/// A client for this service, for tests that simulate the API server.
#[cfg(test)]
pub(crate) fn asking(router: axum::Router) -> Client {
    Client::new(SafeAnswers.layer(router), "default")
}

fn no_access(error: InferConfigError) -> ClientError {
    match yaml_error(&error) {
        Some(error) => ClientError::Kubeconfig(error),
        None => ClientError::NoAccess(Box::new(error)),
    }
}

/// The YAML error, if that is the cause. The parser's own message is for programmers and shows the surrounding lines,
/// which contain credentials.
fn yaml_error(error: &InferConfigError) -> Option<String> {
    let KubeconfigError::Parse(yaml) = error.source()?.downcast_ref()? else { return None };
    let mut options = RenderOptions::new(&UserMessageFormatter);
    options.snippets = SnippetMode::Off;
    Some(yaml.render_with_options(options))
}

/// Limits the time of a request to the API server. The client's own limits are those of a watch.
///
/// # Errors
/// The error of `request`, or [`kube::Error::Service`] when the time is over.
pub async fn with_timeout<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> kube::Result<T> {
    timeout(limit, request).await.unwrap_or_else(|_| Err(timeout_error()))
}

/// The error of an API server that does not answer in time.
#[must_use]
pub fn timeout_error() -> kube::Error {
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer").into())
}
