//! `CredentialPolicyException`: pods that may violate rules of a policy for some time. The kind is cluster-scoped, so that
//! users who may only write to a namespace cannot exempt themselves.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credential_policy::RuleName;

/// Which pods may violate which rules, until when, and why. A pod must match every field that is set.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "CredentialPolicyException",
    status = "CredentialPolicyExceptionStatus",
    derive = "PartialEq",
    shortname = "credpolex",
    category = "bindery",
    doc = "Pods that may violate rules of a CredentialPolicy until a given time",
    printcolumn = r#"{"name": "Policy", "type": "string", "jsonPath": ".spec.policy"}"#,
    printcolumn = r#"{"name": "Owner", "type": "string", "jsonPath": ".spec.owner"}"#,
    printcolumn = r#"{"name": "Expires", "type": "string", "jsonPath": ".spec.expiresAt"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Active\")].reason"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".spec.reason", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPolicyExceptionSpec {
    /// The name of the CredentialPolicy.
    #[schemars(length(min = 1, max = 63))]
    pub policy: String,
    /// The rules that the pods may violate. Default: all of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub rules: Vec<RuleName>,
    /// The names of the pods' namespaces.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Names of pods and workloads. A star at the end of a name matches any ending, such as those that controllers give
    /// their pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// Service accounts of the pods. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Vec<String>,
    /// Images: a pod matches if all its containers have such images, as the pod writes them. A star at the end matches any
    /// ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// Why the exception exists.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Who answers for the exception, such as a team or an e-mail address.
    #[schemars(length(min = 1, max = 253))]
    pub owner: String,
    /// When the exception ends, RFC 3339.
    pub expires_at: Time,
}

/// Whether the exception counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialPolicyExceptionStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: i64,
    /// `Active`: whether the exception counts.
    pub conditions: Vec<Condition>,
}

impl CredentialPolicyException {
    /// Whether the exception has not ended.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        now < self.spec.expires_at.0
    }
}
