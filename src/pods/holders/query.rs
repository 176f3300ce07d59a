//! Finds, for each pod of a namespace, which Secrets and ConfigMaps it holds through its references, and which ones it
//! asks for but lacks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::{
    Holder, State,
    references::{Reference, Way, done, references, running},
    revision::{Life, in_files, in_variables},
};
use crate::{
    bindings::state::SeenBinding,
    contract::env_secret_name,
    injection::{Demand, InjectSettings, NamespaceDefaults, Object, ObjectKind, Source, Variables},
    k8s::explain,
    pods::{
        bindings::BindingsOf,
        diagnosis::diagnose,
        pod::{AskingPod, Coverage},
    },
};

/// A pod that has not ended, and its references. A pod that is being deleted counts, because it runs until it is gone.
pub(super) struct SeenPod {
    pub(super) name: String,
    pub(super) created: Option<Timestamp>,
    /// The pod's demands; `None` if it has none or is being deleted.
    pub(super) asking: Option<AskingPod>,
    references: BTreeSet<Reference>,
    running: Vec<(String, Timestamp)>,
    done: Vec<String>,
}

impl SeenPod {
    pub(super) fn read(
        object: &DynamicObject,
        defaults: Option<&NamespaceDefaults>,
        settings: &InjectSettings,
    ) -> Option<Self> {
        let phase = object.data.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        (!matches!(phase, "Succeeded" | "Failed")).then(|| Self {
            name: object.name_any(),
            created: object.creation_timestamp().map(|time| time.0),
            asking: AskingPod::read(object, defaults, settings),
            references: references(&object.data),
            running: running(&object.data),
            done: done(&object.data),
        })
    }

    fn demands(&self) -> &[Demand] {
        self.asking.as_ref().map_or(&[], |pod| &pod.demands)
    }

    fn started(&self, container: &str) -> Option<Timestamp> {
        self.running.iter().find(|(name, _)| name == container).map(|(_, since)| *since)
    }
}

pub(super) fn unclear(pod: &AskingPod) -> Option<&str> {
    if let Coverage::Unclear { field } = &pod.coverage { Some(field) } else { None }
}

/// Why a pod waits for an object, by the object's kind and name.
pub(super) type Waits = BTreeMap<(ObjectKind, String), String>;

/// The query, and the known objects from which it is answered.
pub(super) struct Query<'a> {
    name: Option<&'a str>,
    pub(super) bindings: BindingsOf,
    /// The bindings that pods ask for, by the names of their Secrets.
    asked_for: BTreeMap<String, String>,
    /// The plain Secrets and ConfigMaps that pods ask for.
    plain: BTreeSet<(ObjectKind, String)>,
    /// Whether Secrets without a binding exist.
    pub(super) exist: BTreeMap<String, bool>,
}

impl<'a> Query<'a> {
    pub(super) fn new(name: Option<&'a str>, pods: &[SeenPod], bindings: BindingsOf) -> Self {
        let (mut asked_for, mut plain) = (BTreeMap::new(), BTreeSet::new());
        let demanded = pods.iter().flat_map(SeenPod::demands).map(|demand| (demand.source, &*demand.name));
        // The named object may be deleted while pods still hold it.
        for (source, name) in demanded.chain(name.map(Source::split)) {
            if source == Source::ServiceBinding {
                for secret in [name.to_owned(), env_secret_name(name)] {
                    asked_for.insert(secret, name.to_owned());
                }
            } else {
                plain.insert((source.holder(), name.to_owned()));
            }
        }
        Self { name, bindings, asked_for, plain, exist: BTreeMap::new() }
    }

    /// The label of an object in the result, and its binding if there is one: a Secret of a binding counts as the
    /// binding, whatever way the pod refers to it. `None` if the object is not part of the query.
    fn named(&self, object: Object<'_>) -> Option<(String, Option<&SeenBinding>)> {
        let Object { kind, name } = object;
        if kind == ObjectKind::Secret {
            if let Some(binding) = self.bindings.found().find(|binding| binding.has_secret(name)) {
                return Some((binding.name_any(), Some(binding)));
            }
            if let Some(binding) = self.asked_for.get(name) {
                return Some((binding.clone(), None));
            }
        }
        self.plain.contains(&(kind, name.to_owned())).then(|| (plain_label(object), None))
    }

    /// Whether the query includes the object with this label.
    fn is_about(&self, label: &str, object: Object<'_>) -> bool {
        self.name.is_none_or(|name| name == label || name == plain_label(object))
    }

    /// The Secrets and ConfigMaps that the pod waits for, and why.
    pub(super) async fn waits(&self, client: &Client, namespace: &str, pod: &SeenPod) -> Waits {
        let mut waits = Waits::new();
        for demand in pod.asking.iter().filter(|pod| pod.may_wait()).flat_map(|pod| &pod.demands) {
            if !self.is_about(&demand.label(), object_of(demand)) {
                continue;
            }
            if let Some(cause) = self::waits(client, namespace, demand, &self.bindings).await {
                let kind = demand.source.holder();
                for name in demand.env_secret().into_iter().chain([demand.name.clone()]) {
                    waits.insert((kind, name), cause.clone());
                }
            }
        }
        waits
    }

    /// Looks up whether Secrets without a binding exist. A missing one was revoked with its binding.
    pub(super) async fn look_up_lost(&mut self, client: &Client, namespace: &str, pod: &SeenPod) {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for object in pod.references.iter().map(Reference::object) {
            let Some((label, None)) = self.named(object) else { continue };
            let is_known = !self.bindings.are_known() || self.exist.contains_key(object.name);
            let is_plain = self.plain.contains(&(object.kind, object.name.to_owned()));
            if is_known || is_plain || !self.is_about(&label, object) {
                continue;
            }
            // Without permission to read the Secret its state is unknown, so it does not count as missing.
            let exists = !matches!(api.get_metadata_opt(object.name).await, Ok(None));
            self.exist.insert(object.name.to_owned(), exists);
        }
    }

    /// The ways in which a pod's containers hold credentials, or lack those that the pod asks for.
    pub(super) fn holders(&self, pod: &SeenPod, waits: &Waits, now: Timestamp) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        for reference in pod.references.iter().filter(|reference| !pod.done.contains(&reference.container)) {
            let object = reference.object();
            let Some((label, binding)) = self.named(object) else { continue };
            if !self.is_about(&label, object) {
                continue;
            }
            let started = pod.started(&reference.container);
            let mut holder = Holder::new(label, pod, &reference.container, reference.way.name());
            holder.since = started.or(pod.created);
            if let Some(cause) = waits.get(&(object.kind, object.name.to_owned())) {
                (holder.state, holder.detail) = (State::Waiting, Some(cause.clone()));
            } else if let Some(started) = started {
                self.hold(&mut holder, reference, binding, started, now);
            }
            // `secretKeyRef`s and the variables of the binding count as one way.
            if !holders.contains(&holder) {
                holders.push(holder);
            }
        }
        holders.extend(self.missing(pod, &holders));
        holders
    }

    fn hold(
        &self,
        holder: &mut Holder,
        reference: &Reference,
        binding: Option<&SeenBinding>,
        started: Timestamp,
        now: Timestamp,
    ) {
        let Some(binding) = binding else {
            let object = reference.object();
            if object.kind == ObjectKind::Secret && self.exist.get(object.name) == Some(&false) {
                let detail = "there is no ServiceBinding of this name any more".to_owned();
                (holder.state, holder.detail) = (State::Revoked, Some(detail));
            } else {
                holder.state = State::Unknown;
            }
            return;
        };
        let life = binding.life();
        let held = match reference.way {
            Way::Files => in_files(life, started, now),
            _ => in_variables(life, started, reference.optional),
        };
        holder.hold(&held);
    }

    /// The demands of the pod that its containers lack.
    fn missing(&self, pod: &SeenPod, holders: &[Holder]) -> Vec<Holder> {
        let Some(asking) = &pod.asking else { return Vec::new() };
        let mut missing = Vec::new();
        for demand in &asking.demands {
            let label = demand.label();
            if !self.is_about(&label, object_of(demand)) {
                continue;
            }
            let ways = [(Way::Env, demand.variables != Variables::None), (Way::Files, demand.files)];
            for container in demand.containers.iter().filter(|container| is_lacking(asking, container)) {
                for (way, _) in ways.into_iter().filter(|(_, is_wanted)| *is_wanted) {
                    let is_it = |holder: &Holder| {
                        holder.binding == label && holder.container == *container && holder.how == way.name()
                    };
                    if !holders.iter().any(is_it) {
                        let mut holder = Holder::new(label.clone(), pod, container, way.name());
                        holder.state = State::Missed;
                        missing.push(holder);
                    }
                }
            }
        }
        missing
    }
}

impl SeenBinding {
    /// The history of the binding's credentials.
    fn life(&self) -> Life<'_> {
        let created = self.creation_timestamp().map(|time| time.0);
        Life { created, revisions: self.revisions() }
    }
}

/// Why a pod waits for an object that it asks for; `None` if it does not wait.
async fn waits(client: &Client, namespace: &str, demand: &Demand, bindings: &BindingsOf) -> Option<String> {
    match diagnose(client, namespace, std::slice::from_ref(demand), bindings).await {
        Ok(causes) => causes.into_iter().next().map(|cause| cause.text),
        Err(error) => Some(format!("perhaps: what it needs cannot be looked up: {}", explain(&error))),
    }
}

fn object_of(demand: &Demand) -> Object<'_> {
    Object { kind: demand.source.holder(), name: &demand.name }
}

/// The label of an object without a binding.
fn plain_label(object: Object<'_>) -> String {
    let source = match object.kind {
        ObjectKind::Secret => Source::Secret,
        ObjectKind::ConfigMap => Source::ConfigMap,
    };
    format!("{}{}", source.prefix(), object.name)
}

fn is_lacking(pod: &AskingPod, container: &str) -> bool {
    match &pod.coverage {
        Coverage::Full => false,
        Coverage::Lacking { containers } => containers.iter().any(|lacking| lacking == container),
        Coverage::Unclear { .. } => true,
    }
}
