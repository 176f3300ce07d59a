//! `ExternalResource`: what a broker was asked to hold. Written before the first request for an id and removed once the broker
//! has confirmed the deletion, so that nothing is forgotten when the object it was made for disappears.

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::servicecatalog::{
    AuthInfo, BrokerUrl, ClusterServiceBrokerSpec, UsesSecrets, broker::SecretReference,
};

/// What is held, where, for whom.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "ExternalResource",
    shortname = "extres",
    status = "ExternalResourceStatus",
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
pub struct ExternalResourceSpec {
    /// The broker, as it was when it was asked.
    pub broker: ExternalResourceBroker,
    /// The kind of object that it is held for.
    pub kind: ExternalResourceKind,
    /// The object's namespace.
    #[schemars(schema_with = "super::super::servicecatalog::label_name")]
    pub namespace: String,
    /// The namespace's uid: another namespace of the same name inherits nothing.
    #[serde(default, rename = "namespaceUID", skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
    /// The uid that the broker was told, where it is that of an earlier namespace.
    #[serde(default, rename = "spaceGUID", skip_serializing_if = "Option::is_none")]
    pub space_guid: Option<String>,
    /// The object's name.
    #[schemars(schema_with = "super::super::servicecatalog::object_name")]
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
pub struct ExternalResourceBroker {
    /// The name of the ClusterServiceBroker.
    pub name: String,
    /// Its address, without user name and password.
    pub url: BrokerUrl,
    /// Accepts any certificate.
    #[serde(default, rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::super::servicecatalog::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Where the credentials lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_info: Option<AuthInfo>,
    /// The webhook's proof that an author of the ClusterServiceBroker may get the Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl ExternalResourceBroker {
    /// What is remembered of a broker: all but the credentials in its URL.
    #[must_use]
    pub fn of(name: &str, spec: &ClusterServiceBrokerSpec, approval: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            url: spec.url.shown().as_str().into(),
            insecure_skip_tls_verify: spec.insecure_skip_tls_verify,
            ca_bundle: spec.ca_bundle.clone(),
            auth_info: spec.auth_info.clone(),
            approval: approval.map(str::to_owned),
        }
    }
}

/// Who gets the credentials decides, so address and authorities belong to what is approved. What the URL itself carries
/// does not: it comes from the author.
impl UsesSecrets for ExternalResourceBroker {
    fn secrets(&self) -> Vec<&SecretReference> {
        let auth = self.auth_info.iter();
        auth.flat_map(|auth| [&auth.basic, &auth.bearer]).flatten().map(|auth| &auth.secret_ref).collect()
    }

    fn checked(&self) -> String {
        let url = self.url.shown();
        json!([
            "ClusterServiceBroker",
            self.name,
            url,
            self.insecure_skip_tls_verify,
            self.ca_bundle,
            self.auth_info
        ])
        .to_string()
    }
}

/// The kind of object that something is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalResourceKind {
    /// An instance.
    ServiceInstance,
    /// A binding.
    ServiceBinding,
}

/// What is done about an external resource whose object is gone. Empty while the object exists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalResourceStatus {
    /// `Releasing` once the object is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ExternalResourceState>,
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

/// Whether an external resource's object still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalResourceState {
    /// It does not, and the broker is asked to delete.
    Releasing,
}
