//! `ServiceBinding`: one set of credentials for an instance, kept in a Secret.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NameReference,
    condition::Conditions,
    instance::ReleaseStatus,
    names::{absent_if_empty, default_if_null},
    parameters::{ParametersFromSource, UserInfo},
    secret_transform::SecretTransform,
};
use crate::osb::Object;

/// Which instance to bind, and where to write the credentials.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ServiceBinding",
    namespaced,
    status = "ServiceBindingStatus",
    derive = "PartialEq",
    doc = "One set of credentials for a service instance, kept in a Secret",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    selectable = ".spec.externalID",
    selectable = ".spec.instanceRef.name",
    selectable = ".spec.secretName",
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    validation = Rule::new("self.metadata.name.size() <= 249").message(
        "the name of a ServiceBinding may have at most 249 characters, because the name of its second Secret \
        adds -env"
    ),
    printcolumn = r#"{"name": "Service-Instance", "type": "string", "jsonPath": ".spec.instanceRef.name"}"#,
    printcolumn = r#"{"name": "Secret-Name", "type": "string", "jsonPath": ".spec.secretName"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.lastConditionState"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBindingSpec {
    /// The instance, in the same namespace.
    pub instance_ref: NameReference,
    /// The parameters of the binding, according to the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// Parameters from Secrets of the namespace. No parameter may have two sources. The author of the spec must be
    /// allowed to get the Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "default_if_null")]
    #[schemars(length(max = 32), extend("nullable" = true))]
    pub parameters_from: Vec<ParametersFromSource>,
    /// The Secret with the credentials. Default: the binding's name. Pods always use the Secret named after the
    /// binding.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_object_name")]
    pub secret_name: Option<String>,
    /// Changes of the credentials before the Secret is written, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "default_if_null")]
    #[schemars(length(max = 64), extend("nullable" = true))]
    pub secret_transforms: Vec<SecretTransform>,
    /// The binding's id at the broker. Default: a random UUID.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(length(max = 255))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("externalID cannot be . or .. because it becomes part of a path"))]
    pub external_id: Option<String>,
    /// The user who created the binding; written by the webhook, and sent to the broker as the originating identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
}

/// The state of the binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceBindingStatus {
    /// The conditions `Ready` and `Failed`.
    pub conditions: Conditions,
    /// Whether an asynchronous operation of the broker is in progress.
    pub async_op_in_progress: bool,
    /// The broker's name of the operation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
    /// The operation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_operation: Option<BindingOperation>,
    /// The generation of the spec that the broker has applied.
    pub reconciled_generation: i64,
    /// When the operation was first tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_start_time: Option<Time>,
    /// When the broker accepted the asynchronous operation, from which the plan's `maximumPollingDuration` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_start_time: Option<Time>,
    /// What the operation in progress asks of the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress_properties: Option<BindingProperties>,
    /// What the broker was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_properties: Option<BindingProperties>,
    /// Whether bindery is deleting the remains of a failed bind.
    pub orphan_mitigation_in_progress: bool,
    /// The progress of the deletion at the broker.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::instance::release_status")]
    pub unbind_status: Option<ReleaseStatus>,
    /// The state in one word, for the column `Status` of `kubectl get`.
    pub last_condition_state: String,
    /// When the credentials expire, if the broker set a time limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the credentials should be replaced, if the broker says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Time>,
    /// The id of the credentials at the broker, if a rotation has replaced those of `spec.externalID`.
    #[serde(
        rename = "externalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    pub external_id: Option<String>,
    /// The rotation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The value of the annotation `bindery.dev/rotate` that bindery has acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_request: Option<String>,
    /// The value of the annotation `bindery.dev/reconcile` that bindery has acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_request: Option<String>,
    /// When the last rotation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_failed_at: Option<Time>,
    /// The credentials that bindery has written, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
    /// The versions of the Secrets that bindery wrote. Any other version is a change by another client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WrittenSecret>,
    /// A checksum of each field of the spec from which the credentials were made. A change of the spec since then is not
    /// applied.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spec_checksums: BTreeMap<String, String>,
    /// SHA-256 of the annotation, or of the catalog's metadata, that names the variables, for noticing a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables_checksum: Option<String>,
}

/// A rotation: the broker is asked for new credentials, the Secrets get them, and the former ones are deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The id of the new credentials.
    #[serde(rename = "externalID")]
    pub external_id: String,
    /// The id of the former credentials.
    #[serde(rename = "predecessorID")]
    pub predecessor_id: String,
    /// Whether the annotation asked for the rotation; otherwise the broker advised it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested: bool,
    /// When the rotation began.
    pub start_time: Time,
    /// When the broker accepted the asynchronous operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling_start_time: Option<Time>,
    /// Whether an asynchronous operation of the broker is in progress.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub async_op_in_progress: bool,
    /// The broker's name of the operation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
    /// Whether the new credentials are being deleted because the rotation has failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphan_mitigation_in_progress: bool,
    /// Why the rotation has failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When the former credentials are deleted. Set once the Secrets hold the new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_at: Option<Time>,
}

impl ServiceBinding {
    /// The id of the credentials in force at the broker. Users may write a status, so only the ExternalResource proves that
    /// the id is the binding's.
    #[must_use]
    pub fn broker_id(&self) -> Option<&str> {
        let rotated = self.status.as_ref().and_then(|status| status.external_id.as_deref());
        rotated.or(self.spec.external_id.as_deref())
    }

    /// All ids under which a broker may hold something for the binding, as far as spec and status tell; each once.
    #[must_use]
    pub fn broker_ids(&self) -> Vec<&str> {
        let status = self.status.as_ref();
        let rotation = status.and_then(|status| status.rotation.as_ref());
        let of_rotation =
            rotation.map(|rotation| [rotation.external_id.as_str(), rotation.predecessor_id.as_str()]);
        let rotated = status.and_then(|status| status.external_id.as_deref());
        let mut ids = Vec::new();
        for id in of_rotation.into_iter().flatten().chain(rotated).chain(self.spec.external_id.as_deref()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

/// The operation at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingOperation {
    /// Creating.
    Bind,
    /// Deleting.
    Unbind,
}

/// What the broker is asked for, or was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingProperties {
    /// The parameters; those from Secrets are `<redacted>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// SHA-256 of the parameters, under the name of the old API.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    pub parameter_checksum: Option<String>,
    /// The user whose binding it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
}

/// One set of credentials of a binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The number of the credentials, counted from 1.
    pub n: i64,
    /// When the Secret was written.
    pub written_at: Time,
    /// The user of these credentials, if the service has users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A Secret as bindery wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrittenSecret {
    /// Its name.
    #[schemars(schema_with = "super::object_name")]
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Its `metadata.resourceVersion`.
    pub resource_version: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rotation_adds_ids_and_replaces_the_one_in_force() {
        let binding = |status: serde_json::Value| -> ServiceBinding {
            let spec = json!({"instanceRef": {"name": "i"}, "externalID": "a"});
            serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec, "status": status}))
                .unwrap()
        };
        let fresh = binding(json!({}));
        assert_eq!((fresh.broker_id(), fresh.broker_ids()), (Some("a"), vec!["a"]));
        let rotation = json!({"externalID": "b", "predecessorID": "a", "startTime": "2026-01-01T00:00:00Z"});
        let begun = binding(json!({"rotation": rotation}));
        assert_eq!((begun.broker_id(), begun.broker_ids()), (Some("a"), vec!["b", "a"]));
        let rotated = binding(json!({"rotation": rotation, "externalID": "b"}));
        assert_eq!((rotated.broker_id(), rotated.broker_ids()), (Some("b"), vec!["b", "a"]));
        let done = binding(json!({"externalID": "b"}));
        assert_eq!((done.broker_id(), done.broker_ids()), (Some("b"), vec!["b", "a"]));
    }
}
