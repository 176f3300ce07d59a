//! The interface to what can be provisioned. A [`Provider`] creates, changes and removes instances and bindings on one
//! backend. It keeps no records and derives every name from ids, so that the engine can repeat a call after any
//! interruption. `docs/write-a-service.md` shows how to write one.

mod access;
mod alibaba;
mod aws;
mod backend;
mod choice;
mod cloud_error;
#[cfg(any(test, feature = "fake-backend"))]
pub mod fake;
mod hosted;
mod mounted;
mod outcome;
mod password;
mod rabbitmq;
mod registry;
mod resource;
mod service_account;
mod sql;
mod validity;
mod verb;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::outcome::reference;
pub use self::{
    backend::{Administrator, Backend, PlanSettings},
    outcome::{Bound, Confirmed, Described, Pending, Progress, ServiceError, Unacceptable},
    registry::{Backends, Limits, Providers, Registry},
    resource::Resource,
    verb::Verb,
};
pub use crate::broker::config::BackendLimits;
use crate::{
    contract::pod::DEFAULT_MOUNT_ROOT,
    osb::{BindingId, InstanceId, Object, PlanId, ServiceId},
};

/// The desired state of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// The instance's id, chosen by the platform. Names on the backend derive from this id alone.
    pub id: InstanceId,
    /// The id of the instance's service.
    pub service_id: ServiceId,
    /// The id of the instance's plan.
    pub plan_id: PlanId,
    /// The cluster's id on Kubernetes.
    pub organization_guid: String,
    /// The namespace's uid on Kubernetes.
    pub space_guid: String,
    /// The user's parameters; valid against the plan's schema.
    pub parameters: Object,
    /// The platform's context (profile.md, "Context Object").
    pub context: Object,
    /// The desired version of the plan's `maintenance_info`.
    pub maintenance_version: Option<String>,
    /// The values that [`Provider::settled`] chose for parameters that the user omitted.
    #[serde(default)]
    pub settled: Object,
}

/// What is known about an instance before a change.
#[derive(Clone, Copy, Debug)]
pub enum Past<'a> {
    /// The instance is being created.
    None,
    /// The instance had this specification and is being updated.
    Known(&'a InstanceSpec),
    /// The instance exists, but its parameters are unknown.
    Unknown,
}

/// The desired state of a binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingSpec {
    /// The binding's id, chosen by the platform.
    pub id: BindingId,
    /// The user's parameters; valid against the plan's schema.
    pub parameters: Object,
    /// The platform's context.
    pub context: Object,
    /// The resource that the binding is for: an application or a route.
    pub bind_resource: Object,
}

impl BindingSpec {
    /// The folder where pods find the credentials as files: the default folder, if the platform names the binding as
    /// the catalog of bindery does.
    pub(crate) fn mounted_at(&self) -> Option<String> {
        let name = self.context.get("binding_name")?.as_str()?;
        Some(format!("{DEFAULT_MOUNT_ROOT}/{name}"))
    }
}

/// Whether a backend usually completes an operation within one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionMode {
    /// Usually completes within one request.
    Synchronous,
    /// Takes longer than a request: the platform must accept asynchronous operations and poll.
    Asynchronous,
}

/// A backend that holds instances and their bindings.
///
/// Every call must be idempotent: the engine may repeat a call that was cut off at any point, and the result must be
/// the same. Removing something that does not exist succeeds. A provider never changes a resource without this
/// installation's mark; removing such a resource returns [`ServiceError::foreign`]. The engine makes one call at a
/// time per instance, cancels a call that takes too long by dropping it, and repeats a call that returned
/// [`Progress::Pending`] until the call returns [`Progress::Done`] or an error.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Whether operations of this verb on this plan complete within one request. Platforms must poll for
    /// [`ExecutionMode::Asynchronous`] operations, and only for these.
    fn execution_mode(&self, _plan: &PlanId, _verb: Verb) -> ExecutionMode {
        ExecutionMode::Synchronous
    }

    /// The concurrency and rate limits of this backend, enforced by the engine. The default is no limit. No IO.
    fn limits(&self) -> BackendLimits {
        BackendLimits::default()
    }

    /// The Schemas Object of a plan without configured schemas (spec.md, "Schemas Object"). No IO.
    fn schemas(&self, _plan: &PlanId) -> Option<Value> {
        None
    }

    /// The environment variables of this plan's bindings, unless the configuration names others: pairs of a variable
    /// and the credentials key that holds its value. The catalog publishes them as `metadata.bindery.env`. No IO.
    fn variables(&self, _plan: &PlanId) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Checks whether this backend can provide the instance, before anything is recorded or changed. No IO.
    ///
    /// # Errors
    /// Names the parameter and the remedy.
    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable>;

    /// Checks whether this backend can perform the update, before anything is recorded or changed. Only the plan, the
    /// parameters and the version may differ; both plans are on this backend. No IO.
    ///
    /// # Errors
    /// Names what cannot be changed and the remedy.
    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        outcome::refuse_changes(from, to)
    }

    /// Fixes parameters that the user omitted and that must stay the same when the plan's configuration or the
    /// instance's plan changes, such as the reclaim policy. The engine records them with the instance and passes them
    /// as [`InstanceSpec::settled`]. The user's own parameters take precedence. No IO.
    fn settled(&self, _past: Past<'_>, _wanted: &InstanceSpec) -> Object {
        Object::new()
    }

    /// Checks whether this backend can provide the binding, before anything is recorded or changed. No IO.
    ///
    /// # Errors
    /// Names the parameter and the remedy.
    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable>;

    /// The dashboard URL and metadata of an instance, available while the instance is still being created. No IO.
    fn described(&self, _instance: &InstanceSpec) -> Described {
        Described::default()
    }

    /// Creates the instance.
    ///
    /// # Errors
    /// The platform receives the error, and deletes the instance or repeats the request.
    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError>;

    /// Updates the instance. After an error the engine reverts: it calls this with `from` and `to` exchanged until the
    /// call succeeds.
    ///
    /// # Errors
    /// The platform receives the error.
    async fn update(&self, _from: &InstanceSpec, _to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        Ok(Progress::Done(()))
    }

    /// Removes the instance and any bindings left on it. If the instance's name belongs to a resource without the
    /// installation's mark, this fails with [`ServiceError::foreign`]: nothing was removed, so nothing may be reported
    /// as removed.
    ///
    /// # Errors
    /// The engine retries until the call succeeds.
    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError>;

    /// Creates the binding's own credentials. A repeated call may return different credentials; then only the last are
    /// valid.
    ///
    /// # Errors
    /// The platform receives the error, and deletes the binding or repeats the request.
    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError>;

    /// Revokes the binding's credentials and ends the sessions that use them. Treats resources without the
    /// installation's mark as [`Provider::deprovision`] does.
    ///
    /// # Errors
    /// The engine retries until the call succeeds.
    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError>;

    /// Checks with one cheap query whether the instance, and optionally a binding of it, still exists on the backend
    /// as it was created. The engine calls this before it answers a repeated request from its records.
    ///
    /// # Errors
    /// When the backend cannot be queried; the engine then trusts its records.
    async fn confirm(
        &self,
        _on: &InstanceSpec,
        _binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        Ok(Confirmed::There)
    }

    /// Locks out logins whose [`Bound::expires_at`] has passed and ends their sessions. Every broker of the
    /// installation calls this every few seconds, concurrently with any other call. A binding that is re-created
    /// meanwhile counts with its new expiry.
    ///
    /// # Errors
    /// The engine calls this again later.
    async fn expire(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    /// Retries removals that succeeded but left something on the backend: a resource without rights that another
    /// user's objects kept from being dropped. Every broker of the installation calls this every few minutes,
    /// concurrently with any other call.
    ///
    /// # Errors
    /// The engine calls this again later.
    async fn settle(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    /// Lists every resource on the backend that looks like an instance or a binding, no matter who owns it, in the order in
    /// which leftovers must be removed.
    ///
    /// # Errors
    /// When the backend cannot be read.
    async fn resources(&self) -> Result<Vec<Resource>, ServiceError>;

    /// The names that [`Provider::resources`] always lists for an instance and its bindings.
    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String>;

    /// The names of resources that an instance has only at times.
    fn other_names(&self, _instance: &InstanceId) -> Vec<String> {
        Vec::new()
    }

    /// Removes a resource that carries this installation's mark.
    ///
    /// # Errors
    /// When the resource still exists.
    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError>;

    /// Changes the password of the administrator that this backend logs in as.
    ///
    /// # Errors
    /// Afterwards either password may be valid.
    async fn change_password(&self, _next: &SecretString) -> Result<(), ServiceError> {
        Err(ServiceError::new("of this kind", "has no password that bindery can change"))
    }

    /// Connects and checks the administrator's rights. Returns the engine and version of the backend.
    ///
    /// # Errors
    /// Names what is missing.
    async fn check(&self) -> Result<String, ServiceError>;
}
