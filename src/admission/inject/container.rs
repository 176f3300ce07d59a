//! The containers of a pod, and which of them are bound to what.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};

use super::{
    InjectSettings,
    annotations::{Ask, Bound},
    error::{InjectError, Problem, shown},
    fields::{list, text},
    names::nearest,
};
use crate::contract::pod;

/// A container or init container of the pod.
pub(super) struct Container<'a> {
    /// `containers` or `initContainers`.
    kind: &'static str,
    index: usize,
    pub(super) name: &'a str,
    fields: &'a Map<String, Value>,
    /// Whether it gets what is for all containers.
    pub(super) is_chosen: bool,
    /// What it is bound to, the winner first.
    pub(super) bound: Vec<Bound<'a>>,
}

impl<'a> Container<'a> {
    pub(super) fn is_bound_to(&self, secret: &str) -> bool {
        self.bound.iter().any(|bound| bound.secret == secret)
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

    /// The volume that is mounted, or attached as a device, at this path. Kubernetes refuses a second one.
    pub(super) fn user_of(
        &self,
        is_same_path: impl Fn(&str) -> bool,
    ) -> Result<Option<&'a str>, InjectError> {
        for (list, field) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
            for entry in self.list(list)?.unwrap_or_default() {
                if text(entry, &[field]).is_some_and(&is_same_path) {
                    return Ok(Some(text(entry, &["name"]).unwrap_or_default()));
                }
            }
        }
        Ok(None)
    }
}

/// The containers that are bound to anything, init containers and with them native sidecars first.
pub(super) fn bound_containers<'a>(
    spec: &'a Map<String, Value>,
    ask: &Ask<'a>,
    settings: &InjectSettings,
) -> Result<Vec<Container<'a>>, InjectError> {
    let mut containers = containers(spec)?;
    for own in &ask.own {
        refuse_unknown(own.container, &format!("{}{}", pod::BIND_CONTAINER, own.container), &containers)?;
    }
    for name in ask.containers.iter().flatten() {
        refuse_unknown(name, pod::CONTAINERS, &containers)?;
    }
    for container in &mut containers {
        container.is_chosen = match &ask.containers {
            Some(named) => named.contains(&container.name),
            None => !settings.exclude_containers.iter().any(|name| name == container.name),
        };
        container.bound = ask.bound_to(container.name, container.is_chosen);
    }
    containers.retain(|container| !container.bound.is_empty());
    Ok(containers)
}

/// All containers and init containers; ephemeral ones come later and by themselves, and are left alone (P6).
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

fn refuse_unknown(name: &str, annotation: &str, containers: &[Container<'_>]) -> Result<(), InjectError> {
    if containers.iter().any(|container| container.name == name) {
        return Ok(());
    }
    let present: Vec<&str> = containers.iter().map(|container| container.name).collect();
    let problem = Problem::NoContainer {
        name: shown(name),
        nearest: nearest(name, &present).map(str::to_owned),
        present: present.join(", "),
    };
    Err(InjectError::annotation(annotation, problem))
}
