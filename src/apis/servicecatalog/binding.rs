//! `ServiceBinding`: one set of credentials for an instance, kept in a Secret.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, condition::Conditions, instance::ReleaseStatus};
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
#[x_kube(
    validation = Rule::new("!has(oldSelf.secretName) || (has(self.secretName) && self.secretName == oldSelf.secretName)")
        .message("a binding's spec cannot change: secretName is set; delete the binding and create another"),
    validation = Rule::new("!has(oldSelf.externalID) || (has(self.externalID) && self.externalID == oldSelf.externalID)")
        .message("a binding's spec cannot change: externalID is set; delete the binding and create another"),
    validation = Rule::new("has(self.parameters) == has(oldSelf.parameters) && (!has(self.parameters) || self.parameters == oldSelf.parameters)")
        .message("a binding's spec cannot change: the broker was given its parameters; delete the binding and create another")
)]
pub struct ServiceBindingSpec {
    /// The instance, in the same namespace.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("a binding's spec cannot change: instanceRef is set; delete the binding and create another"))]
    pub instance_ref: LocalReference,
    /// The parameters of the binding, according to the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// The Secret with the credentials. Default: the binding's name. Pods always use the Secret named after the
    /// binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::object_name")]
    pub secret_name: Option<String>,
    /// The binding's id at the broker. Default: a random UUID.
    #[serde(default, rename = "externalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("externalID cannot be . or .. because it becomes part of a path"))]
    pub external_id: Option<String>,
}

/// The state of the binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceBindingStatus {
    /// `Ready`, `Failed`.
    pub conditions: Conditions,
    /// Always false: bindery waits for the broker's answer to a bind.
    pub async_op_in_progress: bool,
    /// The operation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_operation: Option<BindingOperation>,
    /// The generation of the spec that the broker has applied.
    pub reconciled_generation: i64,
    /// When the operation was first tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_start_time: Option<Time>,
    /// Always false: bindery repeats a bind under the same id instead.
    pub orphan_mitigation_in_progress: bool,
    /// The progress of the deletion at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbind_status: Option<ReleaseStatus>,
    /// The word that `kubectl get` shows.
    pub last_condition_state: String,
    /// When the credentials expire, if the broker set a time limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The credentials that bindery has written, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
    /// The versions of the Secrets that bindery wrote. Any other version is a change by another client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WrittenSecret>,
    /// SHA-256 of the annotation, or of the catalog's metadata, that names the variables, for noticing a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables_checksum: Option<String>,
}

/// The operation at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingOperation {
    /// Creating.
    Bind,
    /// Deleting.
    Unbind,
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
