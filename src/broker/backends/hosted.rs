//! Servers that a backend of a cloud has made for an instance, such as a database of Amazon RDS. The cloud's backend knows
//! the address of the server and its administrator. A [`HostedServer`] makes the users of the bindings.

use async_trait::async_trait;

use super::{BindingSpec, Bound, Confirmed, InstanceSpec, Progress, ServiceError, access::Access};

/// A server with users of bindings. The calls have the meaning and the errors of those of
/// [`Provider`](super::Provider).
#[async_trait]
pub(super) trait HostedServer: Send + Sync {
    /// Prepares the server for users.
    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError>;

    /// Creates the binding's user, with this access.
    async fn bind(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        access: Access,
    ) -> Result<Progress<Bound>, ServiceError>;

    /// Removes the binding's user and ends its sessions.
    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError>;

    /// Whether the binding's user still exists.
    async fn confirm(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Confirmed, ServiceError>;
}
