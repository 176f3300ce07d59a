//! A pod that asks for bindings: its demands, whether they are met, and how far it has started. Pure. Only the fields
//! that controllers need are kept, so that ten thousand cached pods take little memory.

use json_patch::PatchOperation;
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, core::DynamicObject};
use serde_json::{Value, json};

use crate::{
    contract::pod::GATE,
    injection::{
        Demand, InjectError, InjectSettings, Injection, NamespaceDefaults, ObjectKind, Source, demands,
        inject, inject_defaults, takes_defaults,
    },
};

/// The maximum number of warnings that are kept of a pod.
const MOST_WARNINGS: usize = 10;

/// A pod that asks for bindings, has not ended and is not being deleted. Stores treat it as a Pod.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = "Pod")]
pub(crate) struct AskingPod {
    /// The names, times, resource version and owners of the pod.
    metadata: ObjectMeta,
    /// The objects that the pod asks for.
    pub(crate) demands: Vec<Demand>,
    /// Whether the demands come from the Namespace's annotations.
    pub(crate) is_by_namespace: bool,
    /// Whether the pod got what it asks for.
    pub(crate) coverage: Coverage,
    pub(crate) stage: Stage,
    pub(crate) is_ready: bool,
    /// Whether its containers are always restarted, so that the pod is not meant to end.
    pub(super) runs_for_ever: bool,
    pub(crate) gates: Vec<String>,
    /// The warnings that the webhook issued, or would have issued.
    pub(super) warnings: Vec<String>,
    /// For each container with all keys of several demanded objects: these objects, the winner last.
    pub(super) variable_sources: Vec<Vec<VariableSource>>,
}

/// An object all keys of which become variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct VariableSource {
    pub(super) prefix: String,
    pub(super) kind: ObjectKind,
    pub(super) name: String,
}

/// Whether a pod got what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// The pod has everything.
    Full,
    /// The pod was created without some or all of it.
    Lacking {
        /// The containers that lack something.
        containers: Vec<String>,
    },
    /// The pod cannot be injected; the webhook would have refused it.
    Unclear {
        /// The field that is invalid or conflicts.
        field: String,
    },
}

/// The stages of a pod's start that matter for Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The pod has no node yet.
    Unscheduled,
    /// The pod has a node, but none of its containers has started, or one cannot be configured. The pod may wait for a
    /// Secret, or for an image.
    Starting,
    /// A container has started, and the kubelet reports none that cannot be configured.
    Started,
}

impl AskingPod {
    /// Reads a pod; `None` if it asks for nothing, is being deleted or has ended.
    pub(crate) fn read(
        object: &DynamicObject,
        defaults: Option<&NamespaceDefaults>,
        settings: &InjectSettings,
    ) -> Option<Self> {
        let metadata = &object.metadata;
        let phase = object.data.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        if metadata.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed") {
            return None;
        }
        let annotations = metadata.annotations.as_ref();
        let pod = json!({"metadata": {"annotations": annotations}, "spec": object.data.get("spec")});
        let gates = names_in(&object.data, "/spec/schedulingGates");
        let (demands, injected) = match demands(&pod, defaults, settings) {
            // bindery must open its own gate, even if the Namespace has changed its defaults since.
            Ok(demands) if demands.is_empty() && !gates.iter().any(|gate| gate == GATE) => return None,
            Ok(demands) => (demands, injection(&pod, defaults, settings)),
            Err(error) => (Vec::new(), Err(error)),
        };
        let warnings = injected.as_ref().map(|injection| &injection.warnings[..]).unwrap_or_default();
        let warnings: Vec<String> = warnings.iter().take(MOST_WARNINGS).map(ToString::to_string).collect();
        Some(Self {
            metadata: kept(metadata),
            variable_sources: variable_sources(&pod, &demands),
            demands,
            is_by_namespace: takes_defaults(&pod),
            coverage: Coverage::of(&pod, injected),
            warnings,
            stage: Stage::of(&object.data),
            is_ready: has_condition(&object.data, "Ready"),
            runs_for_ever: runs_for_ever(&object.data),
            gates,
        })
    }

    /// Reads a pod of a namespace that the webhook excludes. Its annotations are ignored, so it has no demands. `None`
    /// unless it has bindery's gate from an earlier time, which must be opened.
    pub(super) fn read_left_alone(object: &DynamicObject) -> Option<Self> {
        if !names_in(&object.data, "/spec/schedulingGates").iter().any(|gate| gate == GATE) {
            return None;
        }
        let mut silent = object.clone();
        silent.metadata.annotations = None;
        Self::read(&silent, None, &InjectSettings::default())
    }

    /// Whether the pod was created without something that it asks for.
    pub(crate) fn is_missed(&self) -> bool {
        self.coverage != Coverage::Full
    }

    /// Whether the pod may be waiting for a Secret: it is injected, and it is gated or starting.
    pub(crate) fn may_wait(&self) -> bool {
        !self.is_missed()
            && match self.stage {
                Stage::Unscheduled => self.is_gated(),
                Stage::Starting => true,
                Stage::Started => false,
            }
    }

    /// The controller, which would replace the pod.
    pub(crate) fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }

    /// Whether the pod asks for this binding.
    pub(crate) fn asks_for(&self, binding: &str) -> bool {
        self.demands.iter().any(|demand| demand.is_binding(binding))
    }

    /// Whether the pod has bindery's gate.
    pub(super) fn is_gated(&self) -> bool {
        self.gates.iter().any(|gate| gate == GATE)
    }

    /// The Secrets of the pod's bindings without which it cannot start.
    pub(super) fn needed_secrets(&self) -> Vec<String> {
        self.demands
            .iter()
            .filter(|demand| demand.source == Source::ServiceBinding)
            .flat_map(|demand| demand.needs.clone())
            .collect()
    }
}

impl Coverage {
    fn of(pod: &Value, injected: Result<Injection, InjectError>) -> Self {
        match injected {
            Ok(injection) if injection.is_empty() => Self::Full,
            Ok(injection) => Self::Lacking { containers: lacking(pod, &injection) },
            Err(error) => Self::Unclear { field: error.field().to_owned() },
        }
    }
}

/// The injection that the webhook would compute.
fn injection(
    pod: &Value,
    defaults: Option<&NamespaceDefaults>,
    settings: &InjectSettings,
) -> Result<Injection, InjectError> {
    match defaults {
        Some(defaults) if takes_defaults(pod) => inject_defaults(pod, defaults, settings),
        _ => inject(pod, settings),
    }
}

/// For each container that gets all keys of several objects as variables: these objects.
fn variable_sources(pod: &Value, demands: &[Demand]) -> Vec<Vec<VariableSource>> {
    let source = |entry: &Value| {
        let (kind, name) = ObjectKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, entry.get(kind.env_from_field())?.get("name")?.as_str()?)))?;
        let prefix = entry.get("prefix").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_asked_for = demands.iter().any(|demand| demand.gives(kind, name));
        is_asked_for.then(|| VariableSource { prefix, kind, name: name.to_owned() })
    };
    let mut all: Vec<Vec<VariableSource>> = Vec::new();
    for kind in ["/spec/initContainers", "/spec/containers"] {
        for container in pod.pointer(kind).and_then(Value::as_array).into_iter().flatten() {
            let entries = container.get("envFrom").and_then(Value::as_array).into_iter().flatten();
            let sources: Vec<_> = entries.filter_map(source).collect();
            if sources.len() > 1 && !all.contains(&sources) {
                all.push(sources);
            }
        }
    }
    all
}

/// The containers to which an injection would add something.
fn lacking(pod: &Value, injection: &Injection) -> Vec<String> {
    let mut names = Vec::new();
    for step in injection.patch.iter() {
        let PatchOperation::Add(add) = step else { continue };
        let tokens: Vec<_> = add.path.tokens().map(|token| token.decoded().into_owned()).collect();
        let [spec, kind, index, ..] = tokens.as_slice() else { continue };
        let name = pod.pointer(&format!("/{spec}/{kind}/{index}/name")).and_then(Value::as_str);
        if let Some(name) = name.filter(|_| kind != "volumes").map(str::to_owned)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

impl Stage {
    fn of(pod: &Value) -> Self {
        if pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Self::Unscheduled;
        }
        let has_started = |status: &Value| {
            let state = |name: &str| status.pointer(&format!("/state/{name}")).is_some();
            state("running")
                || state("terminated")
                || status.get("lastState").and_then(Value::as_object).is_some_and(|last| !last.is_empty())
        };
        // The kubelet's reason for a container whose variables cannot be set.
        let is_held = |status: &Value| {
            status
                .pointer("/state/waiting/reason")
                .is_some_and(|reason| reason == "CreateContainerConfigError")
        };
        // The kubelet sets up volumes before the first container, so a started container has them all.
        if statuses(pod).any(is_held) || !statuses(pod).any(has_started) {
            Self::Starting
        } else {
            Self::Started
        }
    }
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten()
}

fn runs_for_ever(pod: &Value) -> bool {
    pod.pointer("/spec/restartPolicy").and_then(Value::as_str).is_none_or(|policy| policy == "Always")
}

fn has_condition(pod: &Value, type_: &str) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|is| is["type"] == type_ && is["status"] == "True")
}

fn names_in(pod: &Value, list: &str) -> Vec<String> {
    let entries = pod.pointer(list).and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| entry.get("name")?.as_str()).map(str::to_owned).collect()
}

/// The metadata that controllers need.
fn kept(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        creation_timestamp: metadata.creation_timestamp.clone(),
        owner_references: metadata.owner_references.clone(),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
pub(super) mod tests;
