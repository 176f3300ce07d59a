//! Executes the steps of a diff at the API server. Objects are created, never applied: an apply would take over somebody
//! else's object of the same name. Changes and deletions carry the uid of the object that was observed.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, ObjectReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::{debug, info};

use super::diff::{Change, Problem, Step, owner};
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    contract::{FIELD_MANAGER, binding},
    k8s::{delete_by_uid, events::Recorder, explain, is_for_terminating_namespace},
};

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(
        "{kind} {name} already exists and was not created for the NamespaceBinding {rule}; delete it, or set bindingName"
    )]
    NameTaken { kind: String, name: String, rule: String },
    #[error("Kubernetes: {}", explain(.0))]
    Cluster(#[from] kube::Error),
}

impl StepError {
    /// The problem for the status of the NamespaceBinding.
    pub(super) fn problem(&self) -> Problem {
        // The API server answers 400 when a webhook refuses without a code.
        let is_refused = |code| matches!(code, 400 | 403 | 413 | 422);
        let (reason, is_failure) = match self {
            Self::NameTaken { .. } => ("NameTaken", true),
            Self::Cluster(kube::Error::Api(status)) if is_refused(status.code) => ("Refused", true),
            Self::Cluster(_) => ("Retrying", false),
        };
        Problem { reason, message: self.to_string(), is_failure }
    }

    /// Whether a retry fails until somebody changes something that bindery does not watch.
    pub(super) fn is_refusal(&self) -> bool {
        self.problem().is_failure
    }
}

/// Executes steps.
pub(super) struct StepRunner {
    client: Client,
    recorder: Recorder,
}

trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

impl StepRunner {
    pub(super) fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }

    /// Executes a step. A terminating namespace refuses new objects, which is not an error.
    pub(super) async fn run(&self, namespace: &str, step: &Step) -> Result<(), StepError> {
        match self.change(namespace, step).await {
            Err(StepError::Cluster(kube::Error::Api(status))) if is_going(&status) => {
                debug!(namespace, "the namespace is terminating, so nothing is created in it");
                Ok(())
            }
            other => other,
        }
    }

    async fn change(&self, namespace: &str, step: &Step) -> Result<(), StepError> {
        match &step.change {
            Change::CreateInstance(instance) => {
                self.create(namespace, &step.rule, instance.as_ref()).await?;
                info!(namespace, rule = step.rule, "created the instance of a NamespaceBinding");
            }
            Change::CreateBinding(binding) => self.create(namespace, &step.rule, binding.as_ref()).await?,
            Change::AnnotateInstance { instance, annotation, value, event } => {
                self.annotate(namespace, instance.as_ref(), annotation, value.as_deref()).await?;
                if let Some(event) = event {
                    self.recorder.record(&instance.as_ref().object_ref(&()), event).await;
                }
            }
            Change::SetBindingEnv { binding, env } => {
                self.annotate(namespace, binding.as_ref(), binding::ENV, env.as_deref()).await?;
            }
            Change::Delete { instance, binding, event } => {
                if let Some(binding) = binding {
                    self.delete::<ServiceBinding>(namespace, binding).await?;
                }
                if let Some(instance) = instance {
                    self.recorder.record(&instance.object_ref(&()), event).await;
                    self.delete::<ServiceInstance>(namespace, instance).await?;
                    info!(
                        namespace,
                        rule = step.rule,
                        reason = %event.reason,
                        "deleted the instance of a NamespaceBinding"
                    );
                }
            }
        }
        Ok(())
    }

    async fn create<K: Kind>(&self, namespace: &str, rule: &str, object: &K) -> Result<(), StepError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let name = object.name_any();
                match api.get_opt(&name).await? {
                    Some(found) if owner(&found) != rule => {
                        let kind = K::kind(&()).into_owned();
                        Err(StepError::NameTaken { kind, name, rule: rule.to_owned() })
                    }
                    // Created a moment ago and not in the cache yet, or deleted meanwhile.
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn annotate<K: Kind>(
        &self,
        namespace: &str,
        object: &K,
        annotation: &str,
        value: Option<&str>,
    ) -> kube::Result<()> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"metadata": {"uid": object.meta().uid, "annotations": {annotation: value}}});
        unless_gone(api.patch(&object.name_any(), &parameters(), &Patch::Merge(patch)).await)
    }

    async fn delete<K: Kind>(&self, namespace: &str, object: &K) -> kube::Result<()> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        delete_by_uid::delete(&api, &object.name_any(), object.uid()).await
    }

    /// Patches the metadata of a Namespace, if it is still the version that was observed.
    pub(super) async fn patch_namespace(
        &self,
        namespace: &impl ResourceExt,
        mut metadata: Value,
    ) -> kube::Result<()> {
        metadata["uid"] = json!(namespace.uid());
        metadata["resourceVersion"] = json!(namespace.resource_version());
        let api: Api<Namespace> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": metadata}));
        unless_gone(api.patch_metadata(&namespace.name_any(), &parameters(), &patch).await)
    }
}

/// A reference to a Namespace for events. Its events are in the namespace itself, where its users look.
pub(super) fn reference(namespace: &impl ResourceExt) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: Some(namespace.name_any()),
        namespace: Some(namespace.name_any()),
        uid: namespace.uid(),
        ..ObjectReference::default()
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// An object that is gone or was replaced needs no change: the watch reports both soon.
fn unless_gone<T>(done: kube::Result<T>) -> kube::Result<()> {
    match done {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

fn is_going(status: &kube::core::Status) -> bool {
    status.is_not_found() || is_for_terminating_namespace(status)
}
