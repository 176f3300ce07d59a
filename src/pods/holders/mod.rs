//! Finds which pods hold which credentials: the answer of `bindery who`, looked up with the permissions of its user.
//! `cli` prints it.

mod query;
mod references;
mod revision;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde::Serialize;

use self::{
    query::{Query, SeenPod, unclear},
    revision::Held,
};
use super::bindings::BindingsOf;
use crate::{
    bindings::state::{BindingState, SeenBinding},
    injection::{InjectSettings, NamespaceDefaults, nearest},
    k8s::{explain, guarded::Guarded, list::list},
};

/// The holders cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhoError {
    #[error("the pods of namespace {namespace} cannot be listed: {reason}")]
    Pods { namespace: String, reason: String },
    #[error(
        "no ServiceBinding named {name:?} in namespace {namespace}, and no pod there asks for one or has its Secrets{guess}"
    )]
    Nobody { name: String, namespace: String, guess: String },
}

/// The result of `bindery who`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) holders: Vec<Holder>,
    /// What could not be looked up, and what is missing from the result therefore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// One way in which a container holds a Secret of a binding or a ConfigMap, or lacks one that the pod asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    /// The name of the binding, or `secret/NAME` or `configmap/NAME`.
    pub(crate) binding: String,
    pub(crate) pod: String,
    pub(crate) container: String,
    /// `env`, `files`, `subPath` (files that are never refreshed after the container's start), `volume` (read by a
    /// volume's driver) or `image pull`.
    pub(crate) how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<i64>,
    pub(crate) state: State,
    /// The start of the container, or else the creation of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Details of `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// Whether a container holds the credentials that the pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The container holds the newest credentials.
    Held,
    /// The container holds older credentials.
    Outdated,
    /// The container holds revoked credentials of a deleted binding of the same name.
    Revoked,
    /// The container started without the credentials, which are optional.
    Without,
    /// The container holds credentials of an unknown revision.
    Unknown,
    /// The container is not running.
    Stopped,
    /// The container waits for a Secret or ConfigMap.
    Waiting,
    /// The pod was created without the credentials.
    Missed,
}

impl State {
    /// Whether the user has to act.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(self, Self::Outdated | Self::Revoked | Self::Waiting | Self::Missed)
    }
}

/// The holders in a namespace; only those of one binding if `name` is given.
///
/// # Errors
/// Fails when pods cannot be listed, or the named binding is unknown.
pub(crate) async fn answer(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
    settings: &InjectSettings,
) -> Result<Answer, WhoError> {
    let mut answer = Answer::default();
    let defaults = answer.defaults(client, namespace).await;
    let bindings = answer.bindings(client, namespace).await;
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<Guarded<DynamicObject>> = Api::namespaced_with(client.clone(), namespace, &resource);
    let objects = list(&api, ListParams::default())
        .await
        .map_err(|error| WhoError::Pods { namespace: namespace.to_owned(), reason: explain(&error) })?;
    let now = Timestamp::now();
    answer.notes.extend(objects.unread.iter().map(|unread| format!("pod {unread} and is left out")));
    let seen = |object| SeenPod::read(object, defaults.as_ref(), settings);
    let pods: Vec<SeenPod> = objects.items.iter().filter_map(seen).collect();
    let mut query = Query::new(name, &pods, bindings);
    for pod in &pods {
        if let Some(field) = pod.asking.as_ref().and_then(unclear) {
            let pod = &pod.name;
            answer
                .notes
                .push(format!("pod {pod}: {field} cannot be carried out, so what it asks for is not known"));
        }
        let waits = query.waits(client, namespace, pod).await;
        query.look_up_lost(client, namespace, pod).await;
        answer.holders.extend(query.holders(pod, &waits, now));
    }
    if let Some(name) = name.filter(|_| answer.holders.is_empty()) {
        query.bindings.expect(name, namespace)?;
    }
    answer.holders.sort_by(|one, other| {
        let order = |holder: &Holder| (holder.binding.clone(), holder.pod.clone());
        order(one).cmp(&order(other))
    });
    Ok(answer)
}

impl Answer {
    async fn defaults(&mut self, client: &Client, namespace: &str) -> Option<NamespaceDefaults> {
        match Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
            Ok(found) => NamespaceDefaults::read(namespace, found.labels(), found.annotations()),
            Err(error) => {
                let note = format!(
                    "Namespace {namespace} cannot be read, so pods that it binds are left out: {}",
                    explain(&error)
                );
                self.notes.push(note);
                None
            }
        }
    }

    async fn bindings(&mut self, client: &Client, namespace: &str) -> BindingsOf {
        match list::<SeenBinding>(&Api::namespaced(client.clone(), namespace), ListParams::default()).await {
            Ok(bindings) => {
                self.notes.extend(bindings.unread.iter().map(|unread| {
                    format!("ServiceBinding {unread}, so its revisions are not known; correct it")
                }));
                BindingsOf::all(Some(bindings.items.into_iter().map(Arc::new).collect()))
            }
            Err(error) => {
                let note = format!(
                    "ServiceBindings cannot be listed, so revisions are not known: {}",
                    explain(&error)
                );
                self.notes.push(note);
                BindingsOf::all(None)
            }
        }
    }
}

impl BindingsOf {
    /// Fails unless the binding is known to exist. Called when no pod asks for it.
    fn expect(&self, name: &str, namespace: &str) -> Result<(), WhoError> {
        if self.state(name).is_some_and(|state| state != BindingState::Missing) {
            return Ok(());
        }
        let guess =
            nearest(name, &self.names()).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        Err(WhoError::Nobody { name: name.to_owned(), namespace: namespace.to_owned(), guess })
    }
}

impl Holder {
    /// A holder that is not running.
    fn new(binding: String, pod: &SeenPod, container: &str, how: &'static str) -> Self {
        Self {
            binding,
            pod: pod.name.clone(),
            container: container.to_owned(),
            how,
            revision: None,
            state: State::Stopped,
            since: pod.created,
            detail: None,
        }
    }

    fn hold(&mut self, held: &Held) {
        (self.revision, self.state, self.detail) = match *held {
            Held::Newest(n) => (Some(n), State::Held, None),
            Held::Outdated(n, since) => (Some(n), State::Outdated, Some(format!("since {since}"))),
            Held::Revoked(since) => (None, State::Revoked, Some(format!("since {since}"))),
            Held::Nothing => (None, State::Without, None),
            Held::Unknown => (None, State::Unknown, None),
        };
    }
}

#[cfg(test)]
mod tests;
