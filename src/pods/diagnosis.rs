//! Explains why a pod waits for its credentials. One part looks up which objects exist, and a pure function derives the
//! cause. The text contains names of keys, never a value.

use std::collections::HashSet;

use kube::{Api, Client};

use super::{bindings::BindingsOf, objects};
use crate::{
    apis::servicecatalog::{ConditionType, ServiceInstance, reasons},
    bindings::state::{BindingState, SeenBinding},
    contract::{binding, env_secret_name, pod},
    injection::{Demand, ObjectKind, Source, Variables, nearest},
};

/// The maximum number of missing and of present keys in an explanation. Users decide how many keys a pod names and an
/// object has: each pair that is compared takes time.
const MOST_LISTED: usize = 20;
/// The maximum number of causes of one wait. An event has no room for more.
const MOST_CAUSES: usize = 20;

/// The cause of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The reason as one CamelCase word.
    pub(crate) reason: &'static str,
    /// The explanation and its remedy, in a sentence.
    pub(crate) text: String,
    /// The binding, if it is ready and its Secret is missing: the catalog recreates the Secret after a report.
    pub(crate) lost: Option<String>,
}

impl Cause {
    fn new(reason: &'static str, text: String) -> Self {
        Self { reason, text, lost: None }
    }
}

/// Which of the objects that a demand needs exist.
#[derive(Debug, PartialEq, Eq)]
struct Facts<'a> {
    /// The Secret or ConfigMap that contains the keys.
    holder: Found,
    /// Whether the Secret with the binding's variables exists, or is not needed.
    own_variables: bool,
    binding: Binding<'a>,
}

/// The state of a Secret or ConfigMap.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Missing,
    /// The object exists; its keys do not matter.
    Present,
    /// The object exists and has these keys.
    Keys(Vec<String>),
}

/// The state of a ServiceBinding.
#[derive(Debug, PartialEq, Eq)]
enum Binding<'a> {
    /// The state cannot be read.
    Unknown,
    Missing {
        /// An existing binding with a similar name.
        near: Option<&'a str>,
    },
    NotReady {
        /// The reason and message of the condition, if it is set.
        condition: Option<(&'a str, &'a str)>,
        /// The instance's name, reason and message, if the binding waits for its instance.
        instance: Option<[String; 3]>,
    },
    /// The binding is being deleted, and its Secrets with it.
    Ending,
    Ready,
}

/// Why these demands are not met; empty when they are. Names at most [`MOST_CAUSES`] causes.
pub(crate) async fn diagnose(
    client: &Client,
    namespace: &str,
    demands: &[Demand],
    bindings: &BindingsOf,
) -> kube::Result<Vec<Cause>> {
    let mut causes = Vec::new();
    for demand in demands.iter().filter(|demand| !demand.is_optional) {
        let facts = look_up(client, namespace, demand, bindings).await?;
        causes.extend(cause(demand, &facts));
        if causes.len() == MOST_CAUSES {
            break;
        }
    }
    Ok(causes)
}

async fn look_up<'a>(
    client: &Client,
    namespace: &str,
    demand: &Demand,
    bindings: &'a BindingsOf,
) -> kube::Result<Facts<'a>> {
    let kind = demand.source.holder();
    let holder = if demand.keys.is_empty() {
        let exists = objects::exists(client, namespace, kind, &demand.name).await?;
        if exists { Found::Present } else { Found::Missing }
    } else {
        objects::keys(client, namespace, kind, &demand.name).await?.map_or(Found::Missing, Found::Keys)
    };
    let own_variables = demand.variables != Variables::Own
        || objects::exists(client, namespace, ObjectKind::Secret, &env_secret_name(&demand.name)).await?;
    if demand.source != Source::ServiceBinding || (holder != Found::Missing && own_variables) {
        return Ok(Facts { holder, own_variables, binding: Binding::Unknown });
    }
    let binding = match Binding::find(&demand.name, bindings) {
        Binding::NotReady { condition: Some(condition), .. }
            if condition.0 == reasons::ERROR_INSTANCE_NOT_READY =>
        {
            let of = bindings.get(&demand.name).map(SeenBinding::instance).unwrap_or_default();
            Binding::NotReady { condition: Some(condition), instance: instance(client, namespace, of).await }
        }
        found => found,
    };
    Ok(Facts { holder, own_variables, binding })
}

/// Why an instance is not ready. `None` if it cannot be read.
async fn instance(client: &Client, namespace: &str, name: &str) -> Option<[String; 3]> {
    let api: Api<ServiceInstance> = Api::namespaced(client.clone(), namespace);
    let instance = api.get_opt(name).await.ok()??;
    let status = instance.status?;
    let ready = status.conditions.get(ConditionType::Ready)?;
    Some([name.to_owned(), ready.reason.clone(), ready.message.clone()])
}

impl<'a> Binding<'a> {
    fn find(name: &str, bindings: &'a BindingsOf) -> Self {
        let (Some(state), binding) = (bindings.state(name), bindings.get(name)) else { return Self::Unknown };
        match (state, binding) {
            (BindingState::Missing, _) | (_, None) => {
                Self::Missing { near: nearest(name, &bindings.names()) }
            }
            (BindingState::NotReady, Some(binding)) if binding.is_ending() => Self::Ending,
            (BindingState::Ready { .. }, Some(binding)) if binding.is_up_to_date() => Self::Ready,
            // A binding that lost its Secrets and cannot get new ones has a condition with the cause, too.
            (_, Some(binding)) => Self::NotReady { condition: binding.condition(), instance: None },
        }
    }
}

fn cause(demand: &Demand, facts: &Facts<'_>) -> Option<Cause> {
    let name = &demand.name;
    let kind = demand.source.holder();
    match (&facts.holder, facts.own_variables) {
        (Found::Missing, _) | (_, false) if demand.source == Source::ServiceBinding => {
            let missing = if facts.holder == Found::Missing { name.clone() } else { env_secret_name(name) };
            Some(of_binding(name, &missing, &facts.binding))
        }
        (Found::Missing, _) => {
            let reason = match kind {
                ObjectKind::Secret => "SecretMissing",
                ObjectKind::ConfigMap => "ConfigMapMissing",
            };
            let text = format!(
                "no {} named {name:?} in this namespace; create it, or correct {}",
                kind.name(),
                pod::BIND
            );
            Some(Cause::new(reason, text))
        }
        (Found::Keys(present), _) => missing_keys(kind, name, &demand.keys, present),
        (Found::Present, _) => None,
    }
}

fn of_binding(name: &str, secret: &str, binding: &Binding<'_>) -> Cause {
    match binding {
        Binding::Missing { near: Some(near) } => Cause::new(
            "BindingMissing",
            format!("no ServiceBinding named {name:?} in this namespace; did you mean {near:?}?"),
        ),
        Binding::Missing { near: None } => Cause::new(
            "BindingMissing",
            format!(
                "no ServiceBinding named {name:?} in this namespace; create it, or correct {}",
                pod::BIND
            ),
        ),
        Binding::NotReady { condition: None, .. } => Cause::new(
            "BindingNotReady",
            format!("ServiceBinding {name:?} is new and has not been looked at yet"),
        ),
        Binding::NotReady { condition: Some((reason, message)), instance } => {
            let instance = instance.as_ref().map(|[name, reason, message]| {
                format!("; ServiceInstance {name:?} is not ready: {reason}: {message}")
            });
            let text = format!(
                "ServiceBinding {name:?} is not ready: {reason}: {message}{}",
                instance.unwrap_or_default()
            );
            Cause::new("BindingNotReady", text)
        }
        Binding::Ending => Cause::new(
            "BindingNotReady",
            format!(
                "ServiceBinding {name:?} is being deleted; create it again once it is gone, or correct {}",
                pod::BIND
            ),
        ),
        Binding::Ready => {
            let text = format!(
                "ServiceBinding {name:?} is ready, but its Secret {secret:?} is gone; bindery writes it again once it sees a pod \
                 wait for it, and at once after: kubectl annotate servicebinding {name} {}=now --overwrite",
                binding::RECONCILE
            );
            Cause { lost: Some(name.to_owned()), ..Cause::new("SecretMissing", text) }
        }
        Binding::Unknown => Cause::new(
            "SecretMissing",
            format!("no Secret named {secret:?} in this namespace, and its ServiceBinding cannot be read"),
        ),
    }
}

/// How many of `count` names a text leaves out.
fn not_listed(count: usize) -> String {
    match count.saturating_sub(MOST_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn missing_keys(kind: ObjectKind, name: &str, wanted: &[String], present: &[String]) -> Option<Cause> {
    let known: HashSet<&str> = present.iter().map(String::as_str).collect();
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|key| !known.contains(key)).collect();
    if missing.is_empty() {
        return None;
    }
    let present: Vec<&str> = present.iter().map(String::as_str).collect();
    let described = missing.iter().take(MOST_LISTED).map(|key| match nearest(key, &present) {
        Some(near) => format!("no key {key:?} (did you mean {near:?}?)"),
        None => format!("no key {key:?}"),
    });
    let text = format!(
        "{} {name:?} has {}{}; it has: {}{}. Correct {} or {}",
        kind.name(),
        described.collect::<Vec<_>>().join(" and "),
        not_listed(missing.len()),
        present.iter().take(MOST_LISTED).copied().collect::<Vec<_>>().join(", "),
        not_listed(present.len()),
        pod::ENV,
        pod::FILES
    );
    let reason = match kind {
        ObjectKind::Secret => "SecretKeyMissing",
        ObjectKind::ConfigMap => "ConfigMapKeyMissing",
    };
    Some(Cause::new(reason, text))
}

#[cfg(test)]
mod tests;
