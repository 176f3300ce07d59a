//! The containers of a pod, and the objects to which each is bound.

use std::collections::HashMap;

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};

use super::{
    InjectSettings,
    entries::Bound,
    error::{InjectError, Problem, listed, shown},
    fields::{list, text},
    names::nearest,
    request::{Request, is_bound},
    source::Object,
};
use crate::contract::pod;

/// The maximum number of entries that are added to one pod: more exceed the size limit of the API server's store.
const MOST_ADDITIONS: usize = 20_000;

/// The maximum number of comparisons of entries for one pod, which take some hundredths of a second. A pod that fits
/// into the store needs far fewer, but the API server calls the webhook before it checks the size.
const MOST_COMPARISONS: usize = 5_000_000;

/// A container or init container of the pod.
pub(super) struct Container<'a> {
    /// `containers` or `initContainers`.
    kind: &'static str,
    index: usize,
    pub(super) name: &'a str,
    fields: &'a Map<String, Value>,
    /// Whether the container gets the objects that are bound for all containers.
    pub(super) is_chosen: bool,
    /// The objects to which the container is bound, the winner first.
    pub(super) bound: Vec<Bound<'a>>,
}

impl<'a> Container<'a> {
    pub(super) fn is_bound_to(&self, object: Object<'_>) -> bool {
        is_bound(&self.bound, object)
    }

    fn field(&self, name: &str) -> String {
        format!("spec.{}[{}].{name}", self.kind, self.index)
    }

    pub(super) fn pointer(&self, name: &str) -> PointerBuf {
        let mut pointer = PointerBuf::from_tokens(["spec", self.kind]);
        pointer.push_back(self.index);
        pointer.push_back(name);
        pointer
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, InjectError> {
        list(self.fields, name, || self.field(name))
    }

    /// The container's volume mounts and devices, with their paths.
    pub(super) fn mounts(&self) -> Result<Vec<(&'a str, &'a Value)>, InjectError> {
        let mut mounts = Vec::new();
        for (list, field) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
            let entries = self.list(list)?.unwrap_or_default();
            mounts.extend(entries.iter().filter_map(|entry| Some((text(entry, &[field])?, entry))));
        }
        Ok(mounts)
    }
}

/// The containers that are bound to anything. Init containers come first, and native sidecars with them.
pub(super) fn bound_containers<'a>(
    spec: &'a Map<String, Value>,
    request: &Request<'a>,
    settings: &InjectSettings,
) -> Result<Vec<Container<'a>>, InjectError> {
    let mut containers = containers(spec)?;
    for own in &request.own {
        refuse_unknown(own.container, &format!("{}{}", pod::BIND_CONTAINER, own.container), &containers)?;
    }
    for name in request.containers.iter().flatten() {
        refuse_unknown(name, pod::CONTAINERS, &containers)?;
    }
    for container in &mut containers {
        container.is_chosen = match &request.containers {
            Some(named) => named.contains(&container.name),
            None => !settings.excludes(container.name),
        };
    }
    refuse_endless_work(spec, &containers, request)?;
    for container in &mut containers {
        container.bound = request.bound_to(container.name, container.is_chosen);
    }
    containers.retain(|container| !container.bound.is_empty());
    Ok(containers)
}

/// All containers and init containers. Ephemeral containers are added later through a subresource, and are not injected
/// (P6).
fn containers(spec: &Map<String, Value>) -> Result<Vec<Container<'_>>, InjectError> {
    let mut containers = Vec::new();
    for kind in ["initContainers", "containers"] {
        let entries = list(spec, kind, || format!("spec.{kind}"))?.unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            let (Some(fields), Some(name)) = (entry.as_object(), text(entry, &["name"])) else {
                let shape = Problem::Shape("an object with a name");
                return Err(InjectError::new(format!("spec.{kind}[{index}]"), shape));
            };
            let (is_chosen, bound) = (false, Vec::new());
            containers.push(Container { kind, index, name, fields, is_chosen, bound });
        }
    }
    Ok(containers)
}

/// Refuses a request that would take too much time, before any of the work is done.
fn refuse_endless_work(
    spec: &Map<String, Value>,
    containers: &[Container<'_>],
    request: &Request<'_>,
) -> Result<(), InjectError> {
    let own: HashMap<&str, usize> = request.own.iter().map(|own| (own.container, own.bound.len())).collect();
    let volumes = length(spec, "volumes");
    let (mut additions, mut comparisons) = (0, 0);
    for container in containers {
        let for_all = if container.is_chosen { request.bound.len() } else { 0 };
        let bound = for_all + own.get(container.name).unwrap_or(&0);
        let named = if bound == 0 { 0 } else { request.named() };
        let length = |list| length(container.fields, list);
        let mounts = length("volumeMounts") + length("volumeDevices");
        additions += 2 * bound + named;
        comparisons +=
            bound * (mounts + volumes + length("envFrom")) + named * (length("env") + length("envFrom"));
    }
    if additions <= MOST_ADDITIONS && comparisons <= MOST_COMPARISONS {
        return Ok(());
    }
    Err(InjectError::annotation(pod::BIND, Problem::TooMuch))
}

fn length(object: &Map<String, Value>, list: &str) -> usize {
    object.get(list).and_then(Value::as_array).map_or(0, Vec::len)
}

fn refuse_unknown(name: &str, annotation: &str, containers: &[Container<'_>]) -> Result<(), InjectError> {
    if containers.iter().any(|container| container.name == name) {
        return Ok(());
    }
    let present: Vec<&str> = containers.iter().map(|container| container.name).collect();
    let problem = Problem::NoContainer {
        name: shown(name),
        nearest: nearest(name, &present).map(str::to_owned),
        present: listed(&present),
    };
    Err(InjectError::annotation(annotation, problem))
}
