//! Which bindings a pod uses, for the rule about who may bind: every Secret to which the pod refers counts as the Secret of a
//! binding of its name, because the API server sees no Secrets and the binding may be created after the pod.

use serde_json::Value;

use super::{
    allowed::is_among,
    path::walk,
    subject::Subject,
    ways::{Test, WAYS, Way},
};
use crate::{apis::bindery::credential_policy::RuleName, contract};

/// How many bindings of one pod can be checked. A check costs 350,000 units, and the API server grants 10,000,000 to a
/// `ValidatingAdmissionPolicy`.
pub(super) const MOST_BINDINGS: usize = 24;

/// The ways in which a pod names a Secret.
pub(super) fn ways() -> impl Iterator<Item = &'static Way> {
    WAYS.iter().filter(|way| way.rule == RuleName::BindingsOnly && way.test == Test::UnboundSecret)
}

/// What the annotation of the pod, or of its Namespace, binds.
pub(super) fn annotated<'a>(subject: &Subject<'a>) -> Vec<&'a str> {
    if subject.only_ephemeral { Vec::new() } else { subject.bound().collect() }
}

/// The names of the Secrets to which a pod refers, by reference or annotation.
pub(super) fn secrets(subject: &Subject<'_>) -> Vec<String> {
    let mut secrets = Vec::new();
    for way in ways() {
        for (place, root) in subject.roots(way.root) {
            walk(root, &place, way.path, &mut |_, value| {
                secrets.extend(value.as_str().map(ToOwned::to_owned));
            });
        }
    }
    let plain = annotated(subject).into_iter().filter_map(|entry| entry.strip_prefix(SECRET));
    secrets.extend(plain.map(ToOwned::to_owned));
    secrets
}

/// The names of the bindings that a pod uses by reference or annotation, without those of allowed Secrets.
pub(super) fn bindings(subject: &Subject<'_>, allowed: &[String]) -> Vec<String> {
    let is_allowed = |name: &String| is_among(name, allowed);
    let of_secrets = secrets(subject).into_iter().filter(|name| !name.is_empty() && !is_allowed(name));
    let of_secrets = of_secrets.map(|name| binding_of(&name).to_owned());
    let named = annotated(subject).into_iter().filter(|name| !name.contains('/')).map(ToOwned::to_owned);
    let mut names = Vec::new();
    for name in of_secrets.chain(named.filter(|name| !is_allowed(name))) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The prefix of plain Secrets in annotations.
pub(super) const SECRET: &str = "secret/";

/// The binding to which a Secret of this name belongs.
fn binding_of(secret: &str) -> &str {
    secret.strip_suffix(contract::env_secret_name("").as_str()).unwrap_or(secret)
}

/// What a service account may not do, for messages.
pub(super) fn refusal(account: &str, binding: &str) -> String {
    format!("the service account {account} may not bind {binding}")
}

/// What is wrong with a pod that uses too many bindings, for messages.
pub(super) fn too_many() -> String {
    format!(
        "the pod refers to more than {MOST_BINDINGS} bindings and Secrets, which the API server cannot check"
    )
}

/// Whether a value is an object of RBAC.
pub(super) fn is_of_rbac(object: &Value) -> bool {
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.starts_with("rbac.authorization.k8s.io/")
}
