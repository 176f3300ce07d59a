//! `ServiceInstance`: a service that a user requested.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, condition::Conditions};
use crate::osb::Object;

/// The class, the plan and the parameters. Three kinds of name can identify class and plan.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ServiceInstance",
    namespaced,
    status = "ServiceInstanceStatus",
    derive = "PartialEq",
    doc = "A service that a user requested, such as a database",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".status.userSpecifiedClassName"}"#,
    printcolumn = r#"{"name": "Plan", "type": "string", "jsonPath": ".status.userSpecifiedPlanName"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.lastConditionState"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.clusterServiceClassExternalName), has(self.clusterServiceClassExternalID), has(self.clusterServiceClassName)].filter(given, given).size() == 1")
        .message("name the class by exactly one of clusterServiceClassExternalName, clusterServiceClassExternalID and clusterServiceClassName"),
    validation = Rule::new("(!has(self.clusterServicePlanExternalName) || has(self.clusterServiceClassExternalName)) && (!has(self.clusterServicePlanExternalID) || has(self.clusterServiceClassExternalID)) && (!has(self.clusterServicePlanName) || has(self.clusterServiceClassName))")
        .message("name the plan the same way as the class: clusterServicePlanExternalName beside clusterServiceClassExternalName, and so on"),
    validation = Rule::new("!has(oldSelf.externalID) || (has(self.externalID) && self.externalID == oldSelf.externalID)")
        .message("externalID cannot change, because the broker identifies the instance by it; restore the former \
            value")
)]
pub struct ServiceInstanceSpec {
    /// The class by its name in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_class_external_name: Option<String>,
    /// The plan by its name in the catalog. Optional if the class has one plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_plan_external_name: Option<String>,
    /// The class by its id in the catalog.
    #[serde(default, rename = "clusterServiceClassExternalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_class_external_id: Option<String>,
    /// The plan by its id in the catalog.
    #[serde(default, rename = "clusterServicePlanExternalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_plan_external_id: Option<String>,
    /// The class by the name of its object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster_service_class_name: Option<String>,
    /// The plan by the name of its object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster_service_plan_name: Option<String>,
    /// The class that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_service_class_ref: Option<LocalReference>,
    /// The plan that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_service_plan_ref: Option<LocalReference>,
    /// The parameters of the instance, according to the plan's schema. Do not put passwords here: anyone who may read
    /// the instance can read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// The instance's id at the broker. Default: a random UUID.
    #[serde(default, rename = "externalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("externalID cannot be . or .. because it becomes part of a path"))]
    pub external_id: Option<String>,
}

/// The state of the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceInstanceStatus {
    /// `Current`, `Ready`, `Failed`.
    pub conditions: Conditions,
    /// Whether an asynchronous operation of the broker is in progress.
    pub async_op_in_progress: bool,
    /// Whether bindery is deleting the remains of a failed creation.
    pub orphan_mitigation_in_progress: bool,
    /// The broker's name of the operation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
    /// The web page for managing the instance.
    #[serde(rename = "dashboardURL", skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// The operation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_operation: Option<InstanceOperation>,
    /// The generation of the spec that the broker has applied.
    pub reconciled_generation: i64,
    /// The generation of the spec that bindery last read.
    pub observed_generation: i64,
    /// When the operation began or was first tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_start_time: Option<Time>,
    /// What the broker was told about the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_properties: Option<InstanceProperties>,
    /// Whether the broker holds the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provision_status: Option<ProvisionStatus>,
    /// The progress of the deletion at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprovision_status: Option<ReleaseStatus>,
    /// The word that `kubectl get` shows.
    pub last_condition_state: String,
    /// The class as the user named it, `ClusterServiceClass/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_specified_class_name: Option<String>,
    /// The plan as the user named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_specified_plan_name: Option<String>,
}

/// The operation at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceOperation {
    /// Creating.
    Provision,
    /// Deleting.
    Deprovision,
}

/// What the broker was told when the instance was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceProperties {
    /// The plan's name.
    pub cluster_service_plan_external_name: String,
    /// The plan's id.
    #[serde(rename = "clusterServicePlanExternalID")]
    pub cluster_service_plan_external_id: String,
    /// SHA-256 of the parameters, under the name of the old API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_checksum: Option<String>,
}

/// Whether the broker holds the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProvisionStatus {
    /// Yes.
    Provisioned,
    /// The broker does not hold the instance, or not yet.
    NotProvisioned,
}

/// Whether bindery must delete something at the broker, and the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseStatus {
    /// The broker was never asked to create anything.
    NotRequired,
    /// The broker was asked to create, so bindery must ask it to delete.
    Required,
    /// The broker has confirmed the deletion.
    Succeeded,
    /// The deletion failed.
    Failed,
}
