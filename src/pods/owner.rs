//! Finds the owner of a pod that its user created, such as the Deployment instead of its `ReplicaSet`, and the command
//! by which the user recreates the pod.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, Resource, ResourceExt, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::pod::AskingPod;
use crate::k8s::{explain, with_timeout};

/// The maximum number of cached owners of owners.
const CACHE_SIZE: usize = 10_000;
/// The time limit of a read. The events of other pods must not wait for it.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The object that the user created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    uid: String,
}

impl Owner {
    pub(crate) fn of(owner: &OwnerReference) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }

    pub(super) fn reference(&self, namespace: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.kind.clone()),
            name: Some(self.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// The instruction to recreate a pod, so that the webhook injects it.
pub(crate) fn remedy(owner: Option<&Owner>, namespace: &str, pod: &str) -> String {
    let Some(owner) = owner else {
        return format!("delete the pod and create it again: kubectl delete pod {pod} -n {namespace}");
    };
    let (kind, name) = (&owner.kind, &owner.name);
    match (owner.group(), kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") => {
            format!("kubectl rollout restart {}/{name} -n {namespace}", kind.to_lowercase())
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            format!(
                "delete the pods, and the {kind} creates new ones: kubectl delete pod {pod} -n {namespace}"
            )
        }
        ("batch", "Job") => format!("delete the Job {name} and create it again"),
        ("batch", "CronJob") => format!("wait for the next run of the CronJob {name}, which is injected"),
        _ => format!("have the {kind} {name} recreate its pods"),
    }
}

/// Finds and caches owners of owners.
pub(super) struct Owners {
    client: Client,
    /// By the uid of the `ReplicaSet` or Job, whose owner never changes.
    known: Mutex<HashMap<String, Owner>>,
}

impl Owners {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The owner of a pod, if it has one. If the owner's own owner cannot be read, this is the direct owner.
    pub(super) async fn of(&self, pod: &AskingPod) -> Option<Owner> {
        let direct = Owner::of(pod.controller()?);
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&direct.uid) {
            return Some(known.clone());
        }
        let parent = match (direct.group(), direct.kind.as_str()) {
            ("apps", "ReplicaSet") => self.parent::<ReplicaSet>(&namespace, &direct.name).await,
            ("batch", "Job") => self.parent::<Job>(&namespace, &direct.name).await,
            _ => return Some(direct),
        };
        match parent {
            Ok(parent) => {
                let owner = parent.unwrap_or_else(|| direct.clone());
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= CACHE_SIZE {
                    known.clear();
                }
                known.insert(direct.uid, owner.clone());
                Some(owner)
            }
            Err(error) => {
                debug!(
                    namespace,
                    name = direct.name,
                    kind = direct.kind,
                    error = explain(&error),
                    "the owner of a pod's owner cannot be read"
                );
                Some(direct)
            }
        }
    }

    async fn parent<K>(&self, namespace: &str, name: &str) -> kube::Result<Option<Owner>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        PartialObjectMeta<K>: DeserializeOwned + Clone + std::fmt::Debug,
    {
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client.clone(), namespace);
        let object = with_timeout(READ_TIMEOUT, api.get(name)).await?;
        Ok(object.owner_references().iter().find(|owner| owner.controller == Some(true)).map(Owner::of))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("apps/v1", "Deployment", "kubectl rollout restart deployment/web -n shop")]
    #[case("apps/v1", "StatefulSet", "kubectl rollout restart statefulset/web -n shop")]
    #[case("apps/v1", "DaemonSet", "kubectl rollout restart daemonset/web -n shop")]
    #[case(
        "apps/v1",
        "ReplicaSet",
        "delete the pods, and the ReplicaSet creates new ones: kubectl delete pod web-1 -n shop"
    )]
    #[case(
        "v1",
        "ReplicationController",
        "delete the pods, and the ReplicationController creates new ones: kubectl delete pod web-1 -n shop"
    )]
    #[case("batch/v1", "Job", "delete the Job web and create it again")]
    #[case("batch/v1", "CronJob", "wait for the next run of the CronJob web, which is injected")]
    #[case("argoproj.io/v1alpha1", "Rollout", "have the Rollout web recreate its pods")]
    fn the_remedy_is_one_that_the_owner_has(
        #[case] version: &str,
        #[case] kind: &str,
        #[case] expected: &str,
    ) {
        let owner = Owner {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
        };
        assert_eq!(remedy(Some(&owner), "shop", "web-1"), expected);
    }

    #[test]
    fn a_bare_pod_is_made_anew_by_its_user() {
        assert_eq!(
            remedy(None, "shop", "web-1"),
            "delete the pod and create it again: kubectl delete pod web-1 -n shop"
        );
    }
}
