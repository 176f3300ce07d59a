//! `ServiceBinding`: one set of credentials for an instance, kept in a Secret.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    LocalReference,
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
    pub instance_ref: LocalReference,
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
    /// `Ready`, `Failed`.
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
    /// A checksum of each field of the spec from which the credentials were made. A change of the spec since then is not
    /// applied.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spec_checksums: BTreeMap<String, String>,
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
