//! Classes, `ClusterServiceClass` and `ServiceClass`: the services of a broker's catalog as objects. bindery writes them;
//! users may set only `defaultProvisionParameters`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::osb::Object;

/// A service that a broker offers: what both kinds of classes share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonServiceClassSpec {
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
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::names::default_if_null"
    )]
    #[schemars(extend("nullable" = true))]
    pub tags: Vec<String>,
    /// Permissions that the service needs from the platform.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::names::default_if_null"
    )]
    #[schemars(extend("nullable" = true))]
    pub requires: Vec<String>,
    /// Default parameters of every new instance. Those of the plan and the instance's own override them. Users may set
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub default_provision_parameters: Option<Object>,
}

/// A service that a ClusterServiceBroker offers.
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
    selectable = ".spec.externalName",
    selectable = ".spec.externalID",
    selectable = ".spec.clusterServiceBrokerName",
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.clusterServiceBrokerName"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterServiceClassSpec {
    /// What both kinds of classes share.
    #[serde(flatten)]
    pub common: CommonServiceClassSpec,
    /// The ClusterServiceBroker that offers the service.
    pub cluster_service_broker_name: String,
}

/// A service that a ServiceBroker offers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ServiceClass",
    plural = "serviceclasses",
    namespaced,
    status = "CatalogStatus",
    derive = "PartialEq",
    doc = "A service that a broker of the namespace offers; written by bindery",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    selectable = ".spec.externalName",
    selectable = ".spec.externalID",
    selectable = ".spec.serviceBrokerName",
    printcolumn = r#"{"name": "External-Name", "type": "string", "jsonPath": ".spec.externalName"}"#,
    printcolumn = r#"{"name": "Broker", "type": "string", "jsonPath": ".spec.serviceBrokerName"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceClassSpec {
    /// What both kinds of classes share.
    #[serde(flatten)]
    pub common: CommonServiceClassSpec,
    /// The ServiceBroker that offers the service.
    pub service_broker_name: String,
}

/// Whether the broker still offers a class or plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CatalogStatus {
    /// The broker's catalog no longer lists the entry. Existing instances continue; new instances are refused.
    pub removed_from_broker_catalog: bool,
}
