//! How old the credentials of bindings are, for the rule about their age. The time of the last rotation stands in the status of
//! the `ServiceBinding`.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    binders::{annotated, secrets},
    subject::Subject,
};
use crate::{apis::bindery::credential_policy::MaxAge, contract};

/// The bindings whose credentials have a known age.
#[derive(Clone, Debug, Default)]
pub struct Ages(Vec<Binding>);

/// A binding with credentials.
#[derive(Clone, Debug)]
struct Binding {
    namespace: String,
    name: String,
    /// The Secret that the binding names, beside those that are named after it.
    secret: String,
    written: Timestamp,
}

impl Ages {
    /// The bindings among these objects that have credentials. Objects of other kinds are ignored.
    #[must_use]
    pub fn read<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        Self(objects.into_iter().filter_map(Binding::read).collect())
    }

    /// The bindings of the pod whose credentials are too old.
    pub(super) fn too_old(&self, rule: &MaxAge, subject: &Subject<'_>, now: Timestamp) -> Vec<&str> {
        let of_namespace = self.0.iter().filter(|binding| binding.namespace == subject.namespace.name());
        let old: Vec<_> = of_namespace.filter(|binding| end(binding.written, rule) < now).collect();
        if old.is_empty() {
            return Vec::new();
        }
        let (annotated, secrets) = (annotated(subject), secrets(subject));
        let is_used = |binding: &&Binding| {
            annotated.contains(&binding.name.as_str())
                || secrets.iter().any(|secret| binding.has_secret(secret))
        };
        old.into_iter().filter(is_used).map(|binding| binding.name.as_str()).collect()
    }
}

impl Binding {
    fn read(object: &Value) -> Option<Self> {
        let written = written(object)?;
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            secret: text("/spec/secretName"),
            written,
        })
    }

    fn has_secret(&self, name: &str) -> bool {
        name == self.name
            || name == contract::env_secret_name(&self.name)
            || !self.secret.is_empty() && name == self.secret
    }
}

/// When the credentials of a `ServiceBinding` were written; `None` for other objects and without credentials.
fn written(object: &Value) -> Option<Timestamp> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != "ServiceBinding" || !text("apiVersion").starts_with("servicecatalog.k8s.io/") {
        return None;
    }
    let newest = object.pointer("/status/revisions")?.as_array()?.last()?;
    newest.get("writtenAt")?.as_str()?.parse().ok()
}

/// The time from which on credentials of this time are too old.
fn end(written: Timestamp, rule: &MaxAge) -> Timestamp {
    written.checked_add(SignedDuration::from_hours(rule.days * 24)).unwrap_or(Timestamp::MAX)
}

/// When the credentials of a `ServiceBinding` become too old.
pub(super) fn end_of(binding: &Value, rule: &MaxAge) -> Option<Timestamp> {
    Some(end(written(binding)?, rule))
}

/// What is wrong with a pod that uses such a binding, for messages.
pub(super) fn refusal(binding: &str, days: i64) -> String {
    let unit = if days == 1 { "day" } else { "days" };
    format!("the credentials of the binding {binding} are older than {days} {unit}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::policy::namespace::Namespace;

    fn binding(revisions: &Value) -> Value {
        json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
            "metadata": {"name": "db", "namespace": "shop"}, "spec": {"secretName": "db-login"},
            "status": {"revisions": revisions}})
    }

    fn used_by(spec: &Value, annotations: &Value, namespace: &str, now: &str) -> bool {
        let revisions = json!([{"n": 1, "writtenAt": "2026-01-01T00:00:00Z"}, {"n": 2, "writtenAt": "2026-02-01T00:00:00Z"}]);
        let ages = Ages::read([&binding(&revisions), &binding(&json!([])), &json!({"kind": "Pod"})]);
        let template = json!({"metadata": {"annotations": annotations}, "spec": spec});
        let namespace = Namespace::new(namespace, BTreeMap::new(), BTreeMap::new());
        let subject =
            Subject { name: "web", namespace: &namespace, template: &template, only_ephemeral: false };
        let rule = MaxAge { days: 10, ..MaxAge::default() };
        !ages.too_old(&rule, &subject, now.parse().unwrap()).is_empty()
    }

    #[test]
    fn credentials_are_as_old_as_their_last_rotation() {
        let bound = json!({"bindery.dev/bind": "cache, db"});
        assert!(!used_by(&json!({}), &bound, "shop", "2026-02-11T00:00:00Z"));
        assert!(used_by(&json!({}), &bound, "shop", "2026-02-11T00:00:01Z"));
        assert!(!used_by(&json!({}), &bound, "lab", "2026-02-11T00:00:01Z"), "another namespace");
        assert!(!used_by(&json!({}), &json!({"bindery.dev/bind": "cache"}), "shop", "2027-01-01T00:00:00Z"));
    }

    #[test]
    fn every_secret_of_the_binding_counts() {
        for (secret, is_used) in
            [("db", true), ("db-env", true), ("db-login", true), ("db-login-env", false), ("db2", false)]
        {
            let spec = json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": secret}}]}]});
            assert_eq!(used_by(&spec, &json!({}), "shop", "2027-01-01T00:00:00Z"), is_used, "{secret}");
        }
    }
}
