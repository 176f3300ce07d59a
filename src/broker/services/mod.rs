//! What can be provisioned. A [`Provider`] makes and removes instances and bindings on one backend; it keeps no records
//! of its own and derives every name from the ids, so that the engine can call it again after any interruption.

pub(crate) mod cockroachdb;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod naming;

use std::fmt;

use async_trait::async_trait;

use crate::osb::{BindingId, Credentials, InstanceId, Object};

/// A backend that holds instances and their bindings.
///
/// Every call may be repeated, also after it was cut off at any point, and then ends in the same state. Removing what
/// is not there succeeds. What does not carry this installation's mark is never changed.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Whether the service understands these parameters. Called before anything is recorded or changed.
    fn check_parameters(&self, parameters: &Object) -> Result<(), InvalidParameters>;

    /// Makes the instance.
    async fn provision(&self, instance: &InstanceId) -> Result<(), ServiceError>;

    /// Removes the instance and whatever bindings are left on it.
    async fn deprovision(&self, instance: &InstanceId) -> Result<(), ServiceError>;

    /// Makes the binding's own credentials. Called again, it may answer with others; then only the last ones work.
    async fn bind(&self, instance: &InstanceId, binding: &BindingId) -> Result<Credentials, ServiceError>;

    /// Revokes the binding's credentials and ends the sessions that use them.
    async fn unbind(&self, instance: &InstanceId, binding: &BindingId) -> Result<(), ServiceError>;

    /// What the backend holds that looks like an instance or a binding, whosever it is.
    async fn resources(&self) -> Result<Vec<Resource>, ServiceError>;

    /// The names under which an instance and its bindings appear among [`Provider::resources`].
    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String>;

    /// Removes a resource that carries this installation's mark.
    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError>;

    /// Connects, and checks that the administrator may do what is needed; answers what the backend is.
    async fn check(&self) -> Result<String, ServiceError>;
}

/// A thing on a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// What it is; the order is that in which leftovers are removed.
    pub kind: ResourceKind,
    /// What the backend calls it.
    pub name: String,
    /// Whether it carries this installation's mark.
    pub ours: bool,
}

/// What a [`Resource`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A database.
    Database,
    /// A binding's login.
    Login,
    /// The role that owns a database.
    OwnerRole,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ResourceKind::Database => "database",
            ResourceKind::Login => "login",
            ResourceKind::OwnerRole => "owner role",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// Parameters that the service does not understand; the text is for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidParameters(pub(crate) String);

/// A backend that could not do what it was asked to. The text is for users and names the server, what failed and the
/// remedy; it holds no statement and no credential.
#[derive(Debug, thiserror::Error)]
#[error("server {server}: {problem}")]
pub struct ServiceError {
    server: String,
    problem: String,
}

impl ServiceError {
    pub(crate) fn new(server: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { server: server.to_string(), problem: problem.to_string() }
    }
}
