//! Plans, `ClusterServicePlan` and `ServicePlan`: the plans of a broker's services as objects. bindery writes them; users
//! may set only `defaultProvisionParameters`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NameReference, class::CatalogStatus};
use crate::osb::Object;

/// A plan of a service: what both kinds of plans share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonServicePlanSpec {
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
    /// Whether the broker replaces the credentials of a binding on request (bindery's addition).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_rotatable: Option<bool>,
    /// How many seconds bindery polls an asynchronous operation before it gives up (bindery's addition).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub maximum_polling_duration: Option<i64>,
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
    /// The JSON Schema of the credentials of a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub service_binding_create_response_schema: Option<Value>,
    /// Default parameters of every new instance of the plan. The instance's own override them. Users may set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub default_provision_parameters: Option<Object>,
}

/// A plan of a service that a ClusterServiceBroker offers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ClusterServicePlan",
    plural = "clusterserviceplans",
    status = "CatalogStatus",
    derive = "PartialEq",
    doc = "A plan of a service; written by bindery",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    selectable = ".spec.externalName",
    selectable = ".spec.externalID",
    selectable = ".spec.clusterServiceBrokerName",
    selectable = ".spec.clusterServiceClassRef.name",
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.clusterServiceBrokerName"}"#,
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".spec.clusterServiceClassRef.name"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterServicePlanSpec {
    /// What both kinds of plans share.
    #[serde(flatten)]
    pub common: CommonServicePlanSpec,
    /// The ClusterServiceBroker that offers the plan.
    pub cluster_service_broker_name: String,
    /// The class of the plan.
    pub cluster_service_class_ref: NameReference,
}

/// A plan of a service that a ServiceBroker offers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ServicePlan",
    plural = "serviceplans",
    namespaced,
    status = "CatalogStatus",
    derive = "PartialEq",
    doc = "A plan of a service of the namespace; written by bindery",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    selectable = ".spec.externalName",
    selectable = ".spec.externalID",
    selectable = ".spec.serviceBrokerName",
    selectable = ".spec.serviceClassRef.name",
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.serviceBrokerName"}"#,
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".spec.serviceClassRef.name"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlanSpec {
    /// What both kinds of plans share.
    #[serde(flatten)]
    pub common: CommonServicePlanSpec,
    /// The ServiceBroker that offers the plan.
    pub service_broker_name: String,
    /// The class of the plan.
    pub service_class_ref: NameReference,
}
