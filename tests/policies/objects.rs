//! Policies and exceptions for tests.

use bindery::apis::bindery::{
    credential_policy::{CredentialPolicy, Mode},
    credential_policy_exception::CredentialPolicyException,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::Patch;
use serde_json::{Value, json};

pub(crate) fn policy(name: &str, spec: Value) -> CredentialPolicy {
    let mut object = json!({"metadata": {"name": name}});
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

/// A policy for one namespace.
pub(crate) fn policy_of(name: &str, namespace: &str, mode: Mode, rules: &Value) -> CredentialPolicy {
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    policy(name, json!({"mode": mode, "scope": {"namespaceSelector": selector}, "rules": rules}))
}

/// A change that ends an exception in a moment, once it was seen to count. An end that is set at creation can pass on a busy
/// machine before the exception counts.
pub(crate) fn ending_soon() -> Patch<Value> {
    let end = Timestamp::now() + SignedDuration::from_secs(2);
    Patch::Merge(json!({"spec": {"expiresAt": end.to_string()}}))
}

pub(crate) fn exception(name: &str, mut spec: Value) -> CredentialPolicyException {
    spec["reason"] = json!("tests");
    spec["owner"] = json!("tests");
    let mut object = json!({"metadata": {"name": name}});
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}
