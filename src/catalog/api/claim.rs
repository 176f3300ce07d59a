//! `Claim`: what a broker was asked to hold. Written before the first request for an id and removed once the broker
//! has confirmed the deletion, so that nothing is forgotten when the object it was made for disappears.

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthInfo, BrokerUrl};

/// What is held, where, for whom.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "Claim",
    status = "ClaimStatus",
    derive = "PartialEq",
    doc = "What a broker was asked to hold; written by bindery. Deleting one gives up on deleting at the broker",
    category = "bindery",
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.broker.name"}"#,
    printcolumn = r#"{"name": "Kind", "type": "string", "jsonPath": ".spec.kind"}"#,
    printcolumn = r#"{"name": "Namespace", "type": "string", "jsonPath": ".spec.namespace"}"#,
    printcolumn = r#"{"name": "Name", "type": "string", "jsonPath": ".spec.name"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.reason"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSpec {
    /// The broker, as it was when it was asked.
    pub broker: ClaimBroker,
    /// The kind of object that it is held for.
    pub kind: ClaimKind,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// The instance's id at the broker.
    #[serde(rename = "instanceID")]
    pub instance_id: String,
    /// The binding's id at the broker, for a binding.
    #[serde(default, rename = "bindingID", skip_serializing_if = "Option::is_none")]
    pub binding_id: Option<String>,
    /// The service's id in the catalog.
    #[serde(rename = "serviceID")]
    pub service_id: String,
    /// The plan's id in the catalog.
    #[serde(rename = "planID")]
    pub plan_id: String,
}

/// How to reach the broker when its ClusterServiceBroker is gone. Holds no credentials, only where they lie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimBroker {
    /// The name of the ClusterServiceBroker.
    pub name: String,
    /// Its address, without user name and password.
    pub url: BrokerUrl,
    /// Accepts any certificate.
    #[serde(default, rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Where the credentials lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_info: Option<AuthInfo>,
}

/// The kind of object that something is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimKind {
    /// An instance.
    ServiceInstance,
    /// A binding.
    ServiceBinding,
}

/// What is done about a claim whose object is gone. Empty while the object exists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    /// `Releasing` once the object is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ClaimState>,
    /// Why it is still there, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is still there, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when it is being deleted at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What the broker calls the deletion in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// Whether a claim's object still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimState {
    /// It does not, and the broker is asked to delete.
    Releasing,
}
