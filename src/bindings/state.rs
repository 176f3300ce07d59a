//! The state of a ServiceBinding as pods see it, and the fields of a ServiceBinding from which it follows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::{
    apis::servicecatalog::{ConditionType, Conditions, NameReference, ServiceBinding, binding::Revision},
    contract::env_secret_name,
};

/// The state of a binding as pods see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingState {
    /// No ServiceBinding of this name exists.
    Missing,
    /// The Secrets have not been written yet, or the binding is being deleted and its Secrets with it.
    NotReady,
    /// Pods can use the binding.
    Ready {
        /// The Secrets that have been written for the binding.
        secrets: Vec<String>,
        /// When the credentials expire, if they do.
        expires_at: Option<Timestamp>,
    },
}

impl BindingState {
    /// The state of a binding; `None` if it does not exist.
    pub(crate) fn of(binding: Option<&SeenBinding>) -> Self {
        binding.map_or(Self::Missing, SeenBinding::state)
    }

    /// Whether pods can use the binding.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

/// The fields of a ServiceBinding that matter to pods.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[resource(inherit = "ServiceBinding")]
pub(crate) struct SeenBinding {
    metadata: ObjectMeta,
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    instance_ref: NameReference,
    secret_name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    conditions: Conditions,
    secrets: Vec<Named>,
    expires_at: Option<Time>,
    revisions: Vec<Revision>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Named {
    name: String,
}

/// `null` counts as absent, as in Kubernetes.
fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl SeenBinding {
    pub(crate) fn state(&self) -> BindingState {
        let Status { secrets, expires_at, .. } = &self.status;
        if self.is_ending() || secrets.is_empty() {
            return BindingState::NotReady;
        }
        BindingState::Ready {
            secrets: secrets.iter().map(|secret| secret.name.clone()).collect(),
            expires_at: expires_at.as_ref().map(|at| at.0),
        }
    }

    /// Whether the binding is being deleted, and its Secrets with it.
    pub(crate) fn is_ending(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the Secrets match the current spec. A binding with Secrets may fail to get new ones.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.status.conditions.is_true(ConditionType::Ready)
    }

    /// The reason and message of the binding's condition, if it has one.
    pub(crate) fn condition(&self) -> Option<(&str, &str)> {
        let ready = self.status.conditions.get(ConditionType::Ready)?;
        Some((&ready.reason, &ready.message))
    }

    /// The revisions of the credentials, the newest last.
    pub(crate) fn revisions(&self) -> &[Revision] {
        &self.status.revisions
    }

    /// The name of the binding's instance.
    pub(crate) fn instance(&self) -> &str {
        &self.spec.instance_ref.name
    }

    /// Whether a Secret of this name belongs to the binding.
    pub(crate) fn has_secret(&self, secret: &str) -> bool {
        let name = self.name_any();
        name == secret || env_secret_name(&name) == secret || self.spec.secret_name.as_deref() == Some(secret)
    }

    /// Drops the fields that only `bindery who` reads, so that ten thousand cached bindings take little memory.
    pub(crate) fn shrink(&mut self) {
        let ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, .. } =
            std::mem::take(&mut self.metadata);
        self.metadata = ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            deletion_timestamp,
            ..ObjectMeta::default()
        };
        self.status.revisions = Vec::new();
        self.spec.secret_name = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(changes: &Value) -> BindingState {
        let mut binding = json!({
            "metadata": {"name": "b", "namespace": "shop"}, "spec": {"instanceRef": {"name": "db"}},
            "status": {"conditions": [], "secrets": [
                {"name": "b-env", "uid": "u", "resourceVersion": "1"}, {"name": "b", "uid": "v", "resourceVersion": "1"},
            ]},
        });
        json_patch::merge(&mut binding, changes);
        let mut binding: SeenBinding = serde_json::from_value(binding).unwrap();
        let state = BindingState::of(Some(&binding));
        binding.shrink();
        assert_eq!(binding.state(), state, "a store keeps enough");
        state
    }

    #[test]
    fn a_binding_is_ready_as_long_as_it_keeps_the_secrets_that_were_written() {
        let secrets = vec!["b-env".to_owned(), "b".to_owned()];
        assert_eq!(state(&json!({})), BindingState::Ready { secrets: secrets.clone(), expires_at: None });
        let ends = state(&json!({"status": {"expiresAt": "2026-12-01T00:00:00Z"}}));
        let expires_at = Some("2026-12-01T00:00:00Z".parse().unwrap());
        assert_eq!(ends, BindingState::Ready { secrets, expires_at });
        for changes in [
            json!({"status": null}),
            json!({"status": {"secrets": null}}),
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ] {
            assert_eq!(state(&changes), BindingState::NotReady, "{changes}");
        }
        assert_eq!(BindingState::of(None), BindingState::Missing);
    }
}
