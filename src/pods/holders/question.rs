//! What is asked of the pods of a namespace, and what each of them answers: what it has by its references to Secrets, and what it lacks
//! of what it asks for.

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
    contract::env_secret_name,
    injection::{Demand, InjectSettings, NamespaceDefaults, Variables},
    k8s::explain,
    pods::{
        bindings::SeenBinding,
        diagnosis::{BindingsOf, whys},
        pod::{AskingPod, Share},
    },
};

/// What is written before the name of a plain Secret.
const PLAIN_SECRET: &str = "secret/";

/// A pod that has not ended, and what it has. One that is being deleted counts: it works until it is gone.
pub(super) struct SeenPod {
    pub(super) name: String,
    pub(super) created: Option<Timestamp>,
    /// What it asks for, if anything; nothing of a pod that ends.
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
    if let Share::Unclear { field } = &pod.share { Some(field) } else { None }
}

/// What is asked, and what is known to answer it.
pub(super) struct Question<'a> {
    name: Option<&'a str>,
    pub(super) bindings: BindingsOf,
    /// Bindings that pods ask for, by the names of their Secrets.
    asked_for: BTreeMap<String, String>,
    /// Plain Secrets that pods ask for.
    plain: BTreeSet<String>,
    /// Of Secrets without a binding, whether they exist.
    pub(super) exist: BTreeMap<String, bool>,
}

impl<'a> Question<'a> {
    pub(super) fn new(name: Option<&'a str>, pods: &[SeenPod], bindings: BindingsOf) -> Self {
        let (mut asked_for, mut plain) = (BTreeMap::new(), BTreeSet::new());
        for demand in pods.iter().flat_map(SeenPod::demands) {
            if demand.is_binding {
                for secret in [demand.secret.clone(), env_secret_name(&demand.secret)] {
                    asked_for.insert(secret, demand.secret.clone());
                }
            } else {
                plain.insert(demand.secret.clone());
            }
        }
        match name.map(|name| (name, name.strip_prefix(PLAIN_SECRET))) {
            Some((_, Some(secret))) => drop(plain.insert(secret.to_owned())),
            // It may be gone, and its pods not.
            Some((name, None)) => {
                for secret in [name.to_owned(), env_secret_name(name)] {
                    asked_for.insert(secret, name.to_owned());
                }
            }
            None => {}
        }
        Self { name, bindings, asked_for, plain, exist: BTreeMap::new() }
    }

    /// What users call a Secret, and its binding if there is one: that of a binding is its own, however a pod came by it.
    /// Nothing if nobody has asked about the Secret.
    fn named(&self, secret: &str) -> Option<(String, Option<&SeenBinding>)> {
        if let Some(binding) = self.bindings.0.iter().flatten().find(|binding| binding.has_secret(secret)) {
            return Some((binding.name_any(), Some(binding)));
        }
        if let Some(binding) = self.asked_for.get(secret) {
            return Some((binding.clone(), None));
        }
        self.plain.contains(secret).then(|| (format!("{PLAIN_SECRET}{secret}"), None))
    }

    /// Whether the answer is to be about a Secret that users call so.
    fn is_about(&self, label: &str, secret: &str) -> bool {
        self.name.is_none_or(|name| name == label || name.strip_prefix(PLAIN_SECRET) == Some(secret))
    }

    /// For which of its Secrets the pod waits, and why.
    pub(super) async fn waits(
        &self,
        client: &Client,
        namespace: &str,
        pod: &SeenPod,
    ) -> BTreeMap<String, String> {
        let mut waits = BTreeMap::new();
        for demand in pod.asking.iter().filter(|pod| pod.may_wait()).flat_map(|pod| &pod.demands) {
            if !self.is_about(&label(demand), &demand.secret) {
                continue;
            }
            if let Some(why) = self::waits(client, namespace, demand, &self.bindings).await {
                waits.insert(env_secret_name(&demand.secret), why.clone());
                waits.insert(demand.secret.clone(), why);
            }
        }
        waits
    }

    /// Looks whether Secrets are there that have no binding. One that is not was revoked with its binding.
    pub(super) async fn look_up_lost(&mut self, client: &Client, namespace: &str, pod: &SeenPod) {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for reference in &pod.references {
            let secret = &reference.secret;
            let Some((label, None)) = self.named(secret) else { continue };
            let is_known = self.bindings.0.is_none() || self.exist.contains_key(secret);
            if is_known || self.plain.contains(secret) || !self.is_about(&label, secret) {
                continue;
            }
            // Whoever may not see it cannot tell.
            let exists = !matches!(api.get_metadata_opt(secret).await, Ok(None));
            self.exist.insert(secret.clone(), exists);
        }
    }

    /// A pod's containers, and how each has what it has or lacks what it asks for.
    pub(super) fn holders(
        &self,
        pod: &SeenPod,
        waits: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        for reference in pod.references.iter().filter(|reference| !pod.done.contains(&reference.container)) {
            let Some((label, binding)) = self.named(&reference.secret) else { continue };
            if !self.is_about(&label, &reference.secret) {
                continue;
            }
            let started = pod.started(&reference.container);
            let mut holder = Holder::new(label, pod, &reference.container, reference.way.name());
            holder.since = started.or(pod.created);
            if let Some(why) = waits.get(&reference.secret) {
                (holder.state, holder.detail) = (State::Waiting, Some(why.clone()));
            } else if let Some(started) = started {
                self.hold(&mut holder, reference, binding, started, now);
            }
            // `secretKeyRef`s and the variables of the binding are one way.
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
            if self.exist.get(&reference.secret) == Some(&false) {
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

    /// What the pod asks for and its containers do not have.
    fn missing(&self, pod: &SeenPod, holders: &[Holder]) -> Vec<Holder> {
        let Some(asking) = &pod.asking else { return Vec::new() };
        let mut missing = Vec::new();
        for demand in &asking.demands {
            let label = label(demand);
            if !self.is_about(&label, &demand.secret) {
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
    /// Whether a Secret of this name is one of its own.
    fn has_secret(&self, secret: &str) -> bool {
        let name = self.name_any();
        name == secret || env_secret_name(&name) == secret || self.secret_name() == Some(secret)
    }

    fn life(&self) -> Life<'_> {
        let created = self.creation_timestamp().map(|time| time.0);
        Life { created, revisions: self.revisions() }
    }
}

/// Why a pod waits for what it asks for; nothing if it does not.
async fn waits(client: &Client, namespace: &str, demand: &Demand, bindings: &BindingsOf) -> Option<String> {
    match whys(client, namespace, std::slice::from_ref(demand), bindings).await {
        Ok(whys) => whys.into_iter().next().map(|why| why.text),
        Err(error) => Some(format!("perhaps, for its Secret cannot be looked up: {}", explain(&error))),
    }
}

/// What users call what is asked for.
fn label(demand: &Demand) -> String {
    if demand.is_binding { demand.secret.clone() } else { format!("{PLAIN_SECRET}{}", demand.secret) }
}

fn is_lacking(pod: &AskingPod, container: &str) -> bool {
    match &pod.share {
        Share::Full => false,
        Share::Lacking { containers } => containers.iter().any(|lacking| lacking == container),
        Share::Unclear { .. } => true,
    }
}
