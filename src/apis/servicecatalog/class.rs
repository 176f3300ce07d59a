//! `ClusterServiceClass` and `ClusterServicePlan`: a broker's catalog as objects. bindery writes them, users read them.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LocalReference;
use crate::osb::Object;

/// A service that a broker offers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ClusterServiceClass",
    plural = "clusterserviceclasses",
    status = "CatalogStatus",
    derive = "PartialEq",
    doc = "A service that a broker offers; written by bindery",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.clusterServiceBrokerName"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterServiceClassSpec {
    /// The service's name in the catalog.
    pub external_name: String,
    /// The service's id in the catalog.
    #[serde(rename = "externalID")]
    pub external_id: String,
    /// The description for users.
    pub description: String,
    /// Whether instances can be bound, unless the plan says otherwise.
    pub bindable: bool,
    /// Whether the broker returns a binding's credentials again on request.
    #[serde(default)]
    pub binding_retrievable: bool,
    /// Whether instances can change their plan.
    #[serde(default)]
    pub plan_updatable: bool,
    /// The service's `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub external_metadata: Option<Object>,
    /// Words to find the service by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Permissions that the service needs from the platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// The broker that offers the service.
    pub cluster_service_broker_name: String,
}

/// A plan of a service.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ClusterServicePlan",
    status = "CatalogStatus",
    derive = "PartialEq",
    doc = "A plan of a service; written by bindery",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.clusterServiceBrokerName"}"#,
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".spec.clusterServiceClassRef.name"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterServicePlanSpec {
    /// The plan's name in the catalog.
    pub external_name: String,
    /// The plan's id in the catalog.
    #[serde(rename = "externalID")]
    pub external_id: String,
    /// The description for users.
    pub description: String,
    /// Overrides the class's `bindable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindable: Option<bool>,
    /// Whether instances cost nothing.
    pub free: bool,
    /// The plan's `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub external_metadata: Option<Object>,
    /// The JSON Schema of the parameters of an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub instance_create_parameter_schema: Option<Value>,
    /// The JSON Schema of the parameters of an instance's update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub instance_update_parameter_schema: Option<Value>,
    /// The JSON Schema of the parameters of a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub service_binding_create_parameter_schema: Option<Value>,
    /// The broker that offers the plan.
    pub cluster_service_broker_name: String,
    /// The class of the plan.
    pub cluster_service_class_ref: LocalReference,
}

/// Whether the broker still offers a class or plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CatalogStatus {
    /// The broker's catalog no longer lists the entry. Existing instances continue; new instances are refused.
    pub removed_from_broker_catalog: bool,
}

impl ClusterServiceClass {
    /// Whether the broker has stopped offering it.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.removed_from_broker_catalog)
    }
}

impl ClusterServicePlan {
    /// Whether the broker has stopped offering it.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.removed_from_broker_catalog)
    }
}
