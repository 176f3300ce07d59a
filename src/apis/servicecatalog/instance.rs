//! `ServiceInstance`: a service that a user requested.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    NameReference,
    condition::Conditions,
    names::{absent_if_empty, default_if_null, optional_word},
    parameters::{ParametersFromSource, UserInfo},
};
use crate::osb::Object;

/// The class, the plan and the parameters. Three kinds of name can identify class and plan, of a broker of the cluster or of the
/// namespace.
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
    selectable = ".spec.externalID",
    selectable = ".spec.clusterServiceClassRef.name",
    selectable = ".spec.clusterServicePlanRef.name",
    selectable = ".spec.serviceClassRef.name",
    selectable = ".spec.servicePlanRef.name",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.provisionStatus) || oldSelf.status.provisionStatus != 'Provisioned' || (((has(self.spec.clusterServiceClassExternalName) && self.spec.clusterServiceClassExternalName != '') ? self.spec.clusterServiceClassExternalName : '') == ((has(oldSelf.spec.clusterServiceClassExternalName) && oldSelf.spec.clusterServiceClassExternalName != '') ? oldSelf.spec.clusterServiceClassExternalName : '') && ((has(self.spec.clusterServiceClassExternalID) && self.spec.clusterServiceClassExternalID != '') ? self.spec.clusterServiceClassExternalID : '') == ((has(oldSelf.spec.clusterServiceClassExternalID) && oldSelf.spec.clusterServiceClassExternalID != '') ? oldSelf.spec.clusterServiceClassExternalID : '') && ((has(self.spec.clusterServiceClassName) && self.spec.clusterServiceClassName != '') ? self.spec.clusterServiceClassName : '') == ((has(oldSelf.spec.clusterServiceClassName) && oldSelf.spec.clusterServiceClassName != '') ? oldSelf.spec.clusterServiceClassName : '') && ((has(self.spec.serviceClassExternalName) && self.spec.serviceClassExternalName != '') ? self.spec.serviceClassExternalName : '') == ((has(oldSelf.spec.serviceClassExternalName) && oldSelf.spec.serviceClassExternalName != '') ? oldSelf.spec.serviceClassExternalName : '') && ((has(self.spec.serviceClassExternalID) && self.spec.serviceClassExternalID != '') ? self.spec.serviceClassExternalID : '') == ((has(oldSelf.spec.serviceClassExternalID) && oldSelf.spec.serviceClassExternalID != '') ? oldSelf.spec.serviceClassExternalID : '') && ((has(self.spec.serviceClassName) && self.spec.serviceClassName != '') ? self.spec.serviceClassName : '') == ((has(oldSelf.spec.serviceClassName) && oldSelf.spec.serviceClassName != '') ? oldSelf.spec.serviceClassName : ''))").message(
        "the class of an instance cannot change once the instance is provisioned; create another instance"
    ),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".status.userSpecifiedClassName"}"#,
    printcolumn = r#"{"name": "Plan", "type": "string", "jsonPath": ".status.userSpecifiedPlanName"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.lastConditionState"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[(has(self.clusterServiceClassExternalName) && self.clusterServiceClassExternalName != ''), (has(self.clusterServiceClassExternalID) && self.clusterServiceClassExternalID != ''), (has(self.clusterServiceClassName) && self.clusterServiceClassName != ''), (has(self.serviceClassExternalName) && self.serviceClassExternalName != ''), (has(self.serviceClassExternalID) && self.serviceClassExternalID != ''), (has(self.serviceClassName) && self.serviceClassName != '')].filter(given, given).size() == 1")
        .message("name the class by exactly one of clusterServiceClassExternalName, clusterServiceClassExternalID, clusterServiceClassName, serviceClassExternalName, serviceClassExternalID and serviceClassName"),
    validation = Rule::new("(!(has(self.clusterServicePlanExternalName) && self.clusterServicePlanExternalName != '') || (has(self.clusterServiceClassExternalName) && self.clusterServiceClassExternalName != '')) && (!(has(self.clusterServicePlanExternalID) && self.clusterServicePlanExternalID != '') || (has(self.clusterServiceClassExternalID) && self.clusterServiceClassExternalID != '')) && (!(has(self.clusterServicePlanName) && self.clusterServicePlanName != '') || (has(self.clusterServiceClassName) && self.clusterServiceClassName != '')) && (!(has(self.servicePlanExternalName) && self.servicePlanExternalName != '') || (has(self.serviceClassExternalName) && self.serviceClassExternalName != '')) && (!(has(self.servicePlanExternalID) && self.servicePlanExternalID != '') || (has(self.serviceClassExternalID) && self.serviceClassExternalID != '')) && (!(has(self.servicePlanName) && self.servicePlanName != '') || (has(self.serviceClassName) && self.serviceClassName != ''))")
        .message("name the plan the same way as the class: clusterServicePlanExternalName beside clusterServiceClassExternalName, and so on"),
    validation = Rule::new("!(has(oldSelf.externalID) && oldSelf.externalID != '') || (has(self.externalID) && self.externalID == oldSelf.externalID)")
        .message("externalID cannot change, because the broker identifies the instance by it; restore the former \
            value"),
    validation = Rule::new("!has(oldSelf.updateRequests) || !has(self.updateRequests) || self.updateRequests == 0 || self.updateRequests >= oldSelf.updateRequests")
        .message("updateRequests can only grow; increase the number to send an update")
)]
pub struct ServiceInstanceSpec {
    /// The class by its name in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub cluster_service_class_external_name: Option<String>,
    /// The plan by its name in the catalog. Optional if the class has one plan.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub cluster_service_plan_external_name: Option<String>,
    /// The class by its id in the catalog.
    #[serde(
        default,
        rename = "clusterServiceClassExternalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub cluster_service_class_external_id: Option<String>,
    /// The plan by its id in the catalog.
    #[serde(
        default,
        rename = "clusterServicePlanExternalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub cluster_service_plan_external_id: Option<String>,
    /// The class by the name of its object.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_object_name")]
    pub cluster_service_class_name: Option<String>,
    /// The plan by the name of its object.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_object_name")]
    pub cluster_service_plan_name: Option<String>,
    /// The class by its name in the catalog, of a broker in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub service_class_external_name: Option<String>,
    /// The plan by its name in the catalog, of a broker in this namespace. Optional if the class has one plan.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub service_plan_external_name: Option<String>,
    /// The class by its id in the catalog, of a broker in this namespace.
    #[serde(
        default,
        rename = "serviceClassExternalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub service_class_external_id: Option<String>,
    /// The plan by its id in the catalog, of a broker in this namespace.
    #[serde(
        default,
        rename = "servicePlanExternalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(schema_with = "super::names::optional_external_name")]
    pub service_plan_external_id: Option<String>,
    /// The class by the name of its object, of a broker in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_object_name")]
    pub service_class_name: Option<String>,
    /// The plan by the name of its object, of a broker in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_object_name")]
    pub service_plan_name: Option<String>,
    /// The class that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_service_class_ref: Option<NameReference>,
    /// The plan that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_service_plan_ref: Option<NameReference>,
    /// The class that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_class_ref: Option<NameReference>,
    /// The plan that bindery found; written by bindery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_plan_ref: Option<NameReference>,
    /// The parameters of the instance, according to the plan's schema. Do not put passwords here: anyone who may read
    /// the instance can read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// Parameters from Secrets of the namespace. No parameter may have two sources. The author of the spec must be
    /// allowed to get the Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "default_if_null")]
    #[schemars(length(max = 32), extend("nullable" = true))]
    pub parameters_from: Vec<ParametersFromSource>,
    /// The instance's id at the broker. Default: a random UUID.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "absent_if_empty"
    )]
    #[schemars(length(max = 255))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("externalID cannot be . or .. because it becomes part of a path"))]
    pub external_id: Option<String>,
    /// The user who last changed the spec; written by the webhook, and sent to the broker as the originating identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
    /// Increase the number to send an update to the broker although nothing else changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub update_requests: Option<i64>,
}

/// The state of the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceInstanceStatus {
    /// The conditions `Ready`, `Failed` and `OrphanMitigation`.
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
    /// When the broker accepted the asynchronous operation, from which the plan's `maximumPollingDuration` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_start_time: Option<Time>,
    /// What the operation in progress asks of the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress_properties: Option<InstanceProperties>,
    /// What is in force at the broker: what the last successful operation asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_properties: Option<InstanceProperties>,
    /// `spec.updateRequests` at the last operation. A higher number in the spec asks for an update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_requests: Option<i64>,
    /// The default parameters with which the instance was provisioned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub default_provision_parameters: Option<Object>,
    /// Whether the broker holds the instance.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "provision_status")]
    pub provision_status: Option<ProvisionStatus>,
    /// The progress of the deletion at the broker.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "release_status")]
    pub deprovision_status: Option<ReleaseStatus>,
    /// The state in one word, for the column `Status` of `kubectl get`.
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
    /// Changing the plan or the parameters.
    Update,
    /// Deleting.
    Deprovision,
}

/// What the broker is asked for, or was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceProperties {
    /// The name of the plan of a cluster's broker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_service_plan_external_name: String,
    /// The id of the plan of a cluster's broker.
    #[serde(rename = "clusterServicePlanExternalID", skip_serializing_if = "String::is_empty")]
    pub cluster_service_plan_external_id: String,
    /// The name of the plan of a namespace's broker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_plan_external_name: String,
    /// The id of the plan of a namespace's broker.
    #[serde(rename = "servicePlanExternalID", skip_serializing_if = "String::is_empty")]
    pub service_plan_external_id: String,
    /// The parameters; those from Secrets are `<redacted>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::any_object")]
    pub parameters: Option<Object>,
    /// SHA-256 of the parameters, under the name of the old API.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    pub parameter_checksum: Option<String>,
    /// The user whose change it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info: Option<UserInfo>,
}

fn provision_status(_: &mut SchemaGenerator) -> Schema {
    optional_word(&["Provisioned", "NotProvisioned"])
}

pub(super) fn release_status(_: &mut SchemaGenerator) -> Schema {
    optional_word(&["NotRequired", "Required", "Succeeded", "Failed"])
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
