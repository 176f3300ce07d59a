//! What is judged: a pod or the pod template of a workload, with its surroundings.

use serde_json::Value;

use super::{namespace::Namespace, ways::Root};
use crate::contract;

/// A pod or pod template that asks to be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The object's name or its `generateName`.
    pub name: &'a str,
    /// The object's namespace.
    pub namespace: &'a Namespace,
    /// The pod, or the pod template of a workload. `null` for an object that is not a pod.
    pub template: &'a Value,
    /// Whether only the ephemeral containers are new, as with `kubectl debug`. The rest of the pod was judged when it was
    /// created, and may be older than the policy.
    pub only_ephemeral: bool,
}

/// The lists of containers in a pod spec.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

impl<'a> Subject<'a> {
    fn spec_field(&self, name: &str) -> Option<&'a Value> {
        self.template.get("spec")?.get(name)
    }

    fn list(&self, name: &str) -> &'a [Value] {
        self.spec_field(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The pod's service account; empty for an object that is not a pod.
    pub(super) fn service_account(&self) -> &'a str {
        if self.template.is_null() {
            return "";
        }
        // `serviceAccount` is the deprecated name of the same field.
        let named = |field| self.spec_field(field).and_then(Value::as_str).filter(|name| !name.is_empty());
        named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("default")
    }

    /// The images of all containers.
    pub(super) fn images(&self) -> impl Iterator<Item = &'a str> {
        let containers = CONTAINERS.into_iter().flat_map(|field| self.list(field));
        containers.filter_map(|container| container.get("image")?.as_str())
    }

    /// The values in which ways of this root begin, each with its place.
    pub(super) fn roots(&self, root: Root) -> Vec<(String, &'a Value)> {
        let named = |field: &'static str| {
            self.list(field).iter().enumerate().map(move |(index, item)| {
                let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
                let label = if name.is_empty() { index.to_string() } else { name.to_owned() };
                (format!("spec.{field}[{label}]"), item)
            })
        };
        match root {
            Root::Container if self.only_ephemeral => named("ephemeralContainers").collect(),
            Root::Container => CONTAINERS.into_iter().flat_map(named).collect(),
            Root::Volume | Root::Template if self.only_ephemeral => Vec::new(),
            Root::Volume => named("volumes").collect(),
            Root::Template => vec![(String::new(), self.template)],
        }
    }

    /// The values of the pod's annotations that bind it, or else of its Namespace's.
    fn binds(&self) -> Vec<&'a str> {
        let annotations = self.template.pointer("/metadata/annotations").and_then(Value::as_object);
        let own = annotations.into_iter().flatten().filter(|(name, _)| is_bind(name));
        let own: Vec<_> = own.map(|(_, value)| value.as_str().unwrap_or_default()).collect();
        if own.is_empty() { self.namespace.default_bind().into_iter().collect() } else { own }
    }

    /// The entries of these annotations.
    pub(super) fn bound(&self) -> impl Iterator<Item = &'a str> {
        let names = self.binds().into_iter().flat_map(|bind| bind.split(',')).map(str::trim);
        names.filter(|name| !name.is_empty())
    }

    /// Whether a Secret of this name belongs to a binding to which the pod is bound.
    pub(super) fn is_of_binding(&self, secret: &str) -> bool {
        self.bound().any(|name| secret == name || secret == contract::env_secret_name(name))
    }
}

/// Whether an annotation of this name binds a pod.
pub(super) fn is_bind(annotation: &str) -> bool {
    annotation == contract::pod::BIND || annotation.starts_with(contract::pod::BIND_CONTAINER)
}
