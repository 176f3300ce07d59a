//! A pod that asks for bindings, and what is to be known of it: what it asks for, whether it got it, and how far it is.
//! Pure; little enough is kept that ten thousand of them are no burden.

use json_patch::PatchOperation;
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, core::DynamicObject};
use serde_json::{Value, json};

use crate::{
    contract::{self, pod::GATE},
    injection::{
        Demand, InjectError, InjectSettings, Injection, NamespaceDefaults, ObjectKind, Source, demands,
        inject, inject_defaults, takes_defaults,
    },
};

/// How many warnings are kept of a pod.
const MOST_WARNINGS: usize = 10;

/// A pod that asks for bindings and neither ends nor has ended. Stores hold it as the kind that it is.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = "Pod")]
pub(crate) struct AskingPod {
    /// Its names, times, version and owner.
    metadata: ObjectMeta,
    /// What it asks for.
    pub(crate) demands: Vec<Demand>,
    /// Whether the Namespace asks for it.
    pub(crate) is_by_namespace: bool,
    /// Whether it got it.
    pub(crate) share: Share,
    /// How far it is.
    pub(crate) stage: Stage,
    /// Whether it is ready.
    pub(crate) is_ready: bool,
    /// Whether its containers start again whenever they end, so that somebody wants it for ever.
    pub(super) runs_for_ever: bool,
    /// Its scheduling gates.
    pub(crate) gates: Vec<String>,
    /// What the webhook warns of, or would have.
    pub(super) warnings: Vec<String>,
    /// Of each container that gets all keys of several objects that it asks for: these, the winner last.
    pub(super) variable_sources: Vec<Vec<VariableSource>>,
}

/// An object all keys of which become variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VariableSource {
    pub(super) prefix: String,
    pub(super) kind: ObjectKind,
    pub(super) name: String,
}

/// Whether a pod got what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// It has all of it.
    Full,
    /// It was created without it, or without some of it.
    Lacking {
        /// The containers that lack something.
        containers: Vec<String>,
    },
    /// It could not be given it; the webhook would have refused the pod.
    Unclear {
        /// The field that cannot be understood, or is in the way.
        field: String,
    },
}

/// How far a pod is, as far as Secrets matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No node yet.
    Unscheduled,
    /// On a node, and a container that ought to run has not been started. It may wait for a Secret, or for an image.
    Starting,
    /// As far as it gets by itself.
    Started,
}

impl AskingPod {
    /// What is to be known of a pod; `None` when it asks for nothing, ends, or has ended.
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
            // Somebody has to open its gate, even if its Namespace has changed its mind since.
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
            share: Share::of(&pod, injected),
            warnings,
            stage: Stage::of(&object.data),
            is_ready: has_condition(&object.data, "Ready"),
            runs_for_ever: runs_for_ever(&object.data),
            gates,
        })
    }

    /// The same of a pod in a namespace that the webhook leaves alone. It gets nothing, so it asks for nothing whatever it
    /// says; but if it has bindery's gate from before, it is to be let go.
    pub(super) fn read_left_alone(object: &DynamicObject) -> Option<Self> {
        if !names_in(&object.data, "/spec/schedulingGates").iter().any(|gate| gate == GATE) {
            return None;
        }
        let mut silent = object.clone();
        silent.metadata.annotations = None;
        Self::read(&silent, None, &InjectSettings::default())
    }

    /// Whether it was created without something that it asks for.
    pub(crate) fn is_missed(&self) -> bool {
        self.share != Share::Full
    }

    /// Whether it may be waiting for a Secret: it has a place for it, and is held back or has not started everything.
    pub(crate) fn may_wait(&self) -> bool {
        let is_held_back = || self.gates.iter().any(|gate| gate == contract::pod::GATE);
        !self.is_missed()
            && match self.stage {
                Stage::Unscheduled => is_held_back(),
                Stage::Starting => true,
                Stage::Started => false,
            }
    }

    /// The object that made it and would make another in its place.
    pub(crate) fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }

    /// Whether it asks for this binding.
    pub(crate) fn asks_for(&self, binding: &str) -> bool {
        self.demands.iter().any(|demand| demand.is_binding(binding))
    }
}

impl AskingPod {
    /// Whether it waits behind bindery's gate.
    pub(super) fn is_gated(&self) -> bool {
        self.gates.iter().any(|gate| gate == GATE)
    }

    /// The Secrets of its bindings without which it cannot start.
    pub(super) fn needed_secrets(&self) -> Vec<String> {
        self.demands
            .iter()
            .filter(|demand| demand.source == Source::ServiceBinding)
            .flat_map(|demand| demand.needs.clone())
            .collect()
    }
}

impl Share {
    fn of(pod: &Value, injected: Result<Injection, InjectError>) -> Self {
        match injected {
            Ok(injection) if injection.is_empty() => Self::Full,
            Ok(injection) => Self::Lacking { containers: lacking(pod, &injection) },
            Err(error) => Self::Unclear { field: error.field().to_owned() },
        }
    }
}

/// What the webhook would do to the pod.
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

/// The objects all keys of which single containers get as variables, where there are several.
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

/// The containers that an injection would add something to.
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
        // The kubelet's word for a container whose variables cannot be had.
        let is_held = |status: &Value| {
            status
                .pointer("/state/waiting/reason")
                .is_some_and(|reason| reason == "CreateContainerConfigError")
        };
        // Volumes come before the first container, so one that was started has them all.
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

/// Of the metadata what is asked for.
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
