//! Policies and exceptions for tests.

use bindery::apis::bindery::{
    credential_policy::{CredentialPolicy, Mode},
    credential_policy_exception::CredentialPolicyException,
};
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

pub(crate) fn exception(name: &str, mut spec: Value) -> CredentialPolicyException {
    spec["reason"] = json!("tests");
    spec["owner"] = json!("tests");
    let mut object = json!({"metadata": {"name": name}});
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}
