//! `ExternalResource`: records what a broker was asked to hold. bindery writes it before the first request for an id
//! and removes it once the broker has confirmed the deletion, so nothing is forgotten when the ServiceInstance or
//! ServiceBinding disappears.

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::servicecatalog::{
    AuthInfo, BrokerUrl, CommonServiceBrokerSpec, UsesSecrets,
    broker::SecretReference,
    scope::{BrokerKey, BrokerObject},
};
use crate::contract::approval;

/// What the broker was asked to hold, at which broker, for which object.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "ExternalResource",
    shortname = "extres",
    status = "ExternalResourceStatus",
    derive = "PartialEq",
    doc = "Records what a broker was asked to hold; written by bindery. If you delete an ExternalResource, \
        bindery stops trying to delete at the broker",
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
    /// The broker as it was registered at the first request.
    pub broker: ExternalResourceBroker,
    /// The kind of the object for which the broker holds something. `Stack` is a stack of CloudFormation for an object of
    /// service-operator.aws, whose kind is in `serviceID`.
    #[schemars(schema_with = "kinds")]
    pub kind: ExternalResourceKind,
    /// The object's namespace.
    #[schemars(schema_with = "super::super::servicecatalog::label_name")]
    pub namespace: String,
    /// The namespace's uid. Another namespace of the same name inherits nothing.
    #[serde(default, rename = "namespaceUID", skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
    /// The namespace uid that the broker was told, if it is that of an earlier namespace.
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
    /// The binding whose credentials this binding replaces, which every request for these credentials names.
    #[serde(default, rename = "predecessorID", skip_serializing_if = "Option::is_none")]
    pub predecessor_id: Option<String>,
    /// The service's id in the catalog.
    #[serde(rename = "serviceID")]
    pub service_id: String,
    /// The plan's id in the catalog.
    #[serde(rename = "planID")]
    pub plan_id: String,
    /// The plan to which an update has been asked to change the instance. The broker may already use it.
    #[serde(default, rename = "newPlanID", skip_serializing_if = "Option::is_none")]
    pub new_plan_id: Option<String>,
    /// Whether the instance was provisioned once, so that users may keep data in it. bindery never deletes such an
    /// instance as the remains of a failed creation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisioned: bool,
}

/// `Stack` has a type of its own, [`StackRecord`](super::stack_record::StackRecord).
fn kinds(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": ["ServiceInstance", "ServiceBinding", "Stack"]})
}

/// How to reach the broker if its ClusterServiceBroker is gone. Refers to credentials but holds none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalResourceBroker {
    /// The namespace of a ServiceBroker; absent for a ClusterServiceBroker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of the ClusterServiceBroker or ServiceBroker.
    pub name: String,
    /// The broker's address, without user name and password.
    pub url: BrokerUrl,
    /// Accept any certificate.
    #[serde(default, rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::super::servicecatalog::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// The reference to the Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_info: Option<AuthInfo>,
    /// The webhook's approval: an author of the ClusterServiceBroker may get the Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl ExternalResourceBroker {
    /// Copies the broker's settings, except credentials in its URL.
    #[must_use]
    pub fn of(broker: &dyn BrokerObject) -> Self {
        let approval = broker.annotation(approval::APPROVAL);
        Self::new(broker.key(), broker.common(), broker.auth_info(), approval)
    }

    /// The parts of a broker object that decide where requests and credentials go.
    #[must_use]
    pub fn new(
        key: BrokerKey,
        common: &CommonServiceBrokerSpec,
        auth_info: Option<AuthInfo>,
        approval: Option<&str>,
    ) -> Self {
        Self {
            namespace: key.namespace,
            name: key.name,
            url: common.url.shown().as_str().into(),
            insecure_skip_tls_verify: common.insecure_skip_tls_verify,
            ca_bundle: common.ca_bundle.clone(),
            auth_info,
            approval: approval.map(str::to_owned),
        }
    }

    /// The broker object.
    #[must_use]
    pub fn key(&self) -> BrokerKey {
        BrokerKey { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The address and the certificate authorities decide who receives the credentials, so they are part of the approval.
/// Credentials in the URL are not: they come from the author.
impl UsesSecrets for ExternalResourceBroker {
    fn secrets(&self) -> Vec<SecretReference> {
        let auth = self.auth_info.iter();
        let named = auth.flat_map(|auth| [&auth.basic, &auth.bearer]).flatten();
        named.map(|auth| auth.secret_ref.clone()).collect()
    }

    fn checked(&self) -> String {
        let (kind, url) = (self.key().kind(), self.url.shown());
        let checked =
            json!([kind, self.name, url, self.insecure_skip_tls_verify, self.ca_bundle, self.auth_info]);
        match &self.namespace {
            Some(namespace) => json!([checked, namespace]).to_string(),
            None => checked.to_string(),
        }
    }
}

/// The kind of object for which a broker holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalResourceKind {
    /// An instance.
    ServiceInstance,
    /// A binding.
    ServiceBinding,
}

/// The progress of deleting at the broker what a missing object left. Empty while the object exists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalResourceStatus {
    /// `Releasing` once the object is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ExternalResourceState>,
    /// Why the ExternalResource still exists, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the ExternalResource still exists, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When bindery began to delete at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The broker's name of the running deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// Whether the object of an ExternalResource still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalResourceState {
    /// The object is gone, and bindery deletes at the broker.
    Releasing,
}
