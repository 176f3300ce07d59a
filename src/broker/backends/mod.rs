//! What can be provisioned. A [`Provider`] makes, changes and removes instances and bindings on one backend; it keeps no
//! records of its own and derives every name from the ids, so that the engine can call it again after any interruption.
//! How to write one is told in `docs/write-a-service.md`.

mod backend;
#[cfg(any(test, feature = "fake-backend"))]
pub mod fake;
mod outcome;
mod registry;
mod resource;
mod sql;
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

/// An instance as somebody wants it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Its id, which the platform chose. What the backend calls it is derived from this alone.
    pub id: InstanceId,
    /// Its service.
    pub service_id: ServiceId,
    /// Its plan.
    pub plan_id: PlanId,
    /// The cluster's id on Kubernetes.
    pub organization_guid: String,
    /// The namespace's uid on Kubernetes.
    pub space_guid: String,
    /// What the user asks for; fits the plan's schema.
    pub parameters: Object,
    /// Where on the platform it belongs (profile.md, "Context Object").
    pub context: Object,
    /// The version of the plan's `maintenance_info` that it has or is to have.
    pub maintenance_version: Option<String>,
    /// What [`Provider::settled`] made of the parameters that the user left out.
    #[serde(default)]
    pub settled: Object,
}

/// What an instance was before.
#[derive(Clone, Copy, Debug)]
pub enum Past<'a> {
    /// It is made now.
    None,
    /// It was this, and is updated.
    Known(&'a InstanceSpec),
    /// It was made earlier, and nobody knows with which parameters.
    Unknown,
}

/// A binding as somebody wants it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingSpec {
    /// Its id, which the platform chose.
    pub id: BindingId,
    /// What the user asks for; fits the plan's schema.
    pub parameters: Object,
    /// Where on the platform it belongs.
    pub context: Object,
    /// What is bound: an application or a route.
    pub bind_resource: Object,
}

impl BindingSpec {
    /// The folder in which pods find the keys as files: the default one, if the platform names the binding as bindery's
    /// catalog does.
    pub(crate) fn mounted_at(&self) -> Option<String> {
        let name = self.context.get("binding_name")?.as_str()?;
        Some(format!("{DEFAULT_MOUNT_ROOT}/{name}"))
    }
}

/// Whether a backend does its work within the time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionMode {
    /// Within the time of a request, as a rule.
    Synchronous,
    /// Longer: platforms must accept asynchronous operations.
    Asynchronous,
}

/// A backend that holds instances and their bindings.
///
/// Every call may be repeated, also after it was cut off at any point, and then ends in the same state. Removing what
/// is not there succeeds. What does not carry this installation's mark is never changed, and its removal is answered with
/// [`ServiceError::foreign`]. The engine makes one call at a
/// time for each instance, gives up on a call that lasts too long by dropping it, and calls again after
/// [`Progress::Pending`] until the answer is [`Progress::Done`] or an error.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Whether a verb on instances or bindings of this plan is done within the time of a request. Platforms must poll for the
    /// verbs that are [`ExecutionMode::Asynchronous`], and only for these.
    fn execution_mode(&self, _plan: &PlanId, _verb: Verb) -> ExecutionMode {
        ExecutionMode::Synchronous
    }

    /// The limits of the work on this backend, which the engine keeps to; none unless the backend sets some. No IO.
    fn limits(&self) -> BackendLimits {
        BackendLimits::default()
    }

    /// The Schemas Object of a plan whose configuration gives none (spec.md, "Schemas Object"); no IO.
    fn schemas(&self, _plan: &PlanId) -> Option<Value> {
        None
    }

    /// The environment variables that bindings of this plan give unless the configuration names others: the name of each,
    /// and the key of the credentials that is its value. The catalog publishes them as `metadata.bindery.env`; no IO.
    fn variables(&self, _plan: &PlanId) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether an instance can be had so. Called before anything is recorded or changed; no IO.
    ///
    /// # Errors
    /// Names the parameter and the remedy.
    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable>;

    /// Whether an instance can become so. Called before anything is recorded or changed; no IO. Only the plan, parameters
    /// and version may differ; both plans live on this backend.
    ///
    /// # Errors
    /// Names what cannot be changed and the remedy.
    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        outcome::refuse_changes(from, to)
    }

    /// Values of parameters that the user left out and that must not change by themselves later, neither with the plan's
    /// configuration nor with a change of plan, such as what becomes of the data in the end. They are recorded with the
    /// instance and come back as [`InstanceSpec::settled`]; what the user asks for goes before. No IO.
    fn settled(&self, _past: Past<'_>, _wanted: &InstanceSpec) -> Object {
        Object::new()
    }

    /// Whether a binding can be had so. Called before anything is recorded or changed; no IO.
    ///
    /// # Errors
    /// Names the parameter and the remedy.
    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable>;

    /// What is told of an instance, already while it is made; no IO.
    fn described(&self, _instance: &InstanceSpec) -> Described {
        Described::default()
    }

    /// Makes the instance.
    ///
    /// # Errors
    /// The platform is told, and deletes the instance or asks again.
    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError>;

    /// Changes the instance. After an error the engine calls this with `from` and `to` exchanged, until that succeeds.
    ///
    /// # Errors
    /// The platform is told.
    async fn update(&self, _from: &InstanceSpec, _to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        Ok(Progress::Done(()))
    }

    /// Removes the instance and whatever bindings are left on it. What is there under its name and does not carry the
    /// installation's mark is an error ([`ServiceError::foreign`]): a removal that did not happen is not reported as one.
    ///
    /// # Errors
    /// The engine tries again until it succeeds.
    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError>;

    /// Makes the binding's own credentials. Called again, it may answer with others; then only the last ones work.
    ///
    /// # Errors
    /// The platform is told, and deletes the binding or asks again.
    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError>;

    /// Revokes the binding's credentials and ends the sessions that use them; for what does not carry the installation's mark,
    /// see [`Provider::deprovision`].
    ///
    /// # Errors
    /// The engine tries again until it succeeds.
    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError>;

    /// Whether an instance, and a binding of it, is on the backend as it was made. Called when a request for one that is there
    /// is repeated, and would be answered from the records; it asks the backend one cheap question.
    ///
    /// # Errors
    /// When the backend cannot be asked: then the records count.
    async fn confirm(
        &self,
        _on: &InstanceSpec,
        _binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        Ok(Confirmed::There)
    }

    /// Locks out whoever is past the time that [`Bound::expires_at`] told, and ends their sessions. Called every few
    /// seconds, by every broker of the installation, beside any other call; a binding that is made anew in between counts
    /// with its new time.
    ///
    /// # Errors
    /// It is called again.
    async fn expire(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    /// Tries to complete removals that succeeded although something was left on the backend: without rights, and kept there
    /// by what another user did. Called every few minutes, by every broker of the installation, beside any other call.
    ///
    /// # Errors
    /// It is called again.
    async fn settle(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    /// What the backend holds that looks like an instance or a binding, whosever it is, in the order in which leftovers are to be
    /// removed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    async fn resources(&self) -> Result<Vec<Resource>, ServiceError>;

    /// The names under which an instance and its bindings appear among [`Provider::resources`], all of them.
    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String>;

    /// The names of what an instance may have beside, and has at times.
    fn other_names(&self, _instance: &InstanceId) -> Vec<String> {
        Vec::new()
    }

    /// Removes a resource that carries this installation's mark.
    ///
    /// # Errors
    /// When it is still there.
    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError>;

    /// Gives the administrator that it logs in as another password.
    ///
    /// # Errors
    /// The password may be either one then.
    async fn change_password(&self, _next: &SecretString) -> Result<(), ServiceError> {
        Err(ServiceError::new("of this kind", "has no password that bindery can change"))
    }

    /// Connects, and checks that the administrator may do what is needed; answers what the backend is.
    ///
    /// # Errors
    /// Names what is missing.
    async fn check(&self) -> Result<String, ServiceError>;
}
