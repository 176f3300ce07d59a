//! Instances: provisioning, fetching and updating them (spec.md, "Provisioning" and the sections after it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, Operation, PlanId, ServiceId, null};

/// The origin of the request on the platform (profile.md, "Context Object"). For Kubernetes: `platform`, `namespace`,
/// `clusterid`, `instance_name`. Stored unchanged, because unknown members must be ignored.
pub type Context = Object;

/// The body of `PUT /v2/service_instances/:instance_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// The service of the catalog.
    pub service_id: ServiceId,
    /// The plan of that service.
    pub plan_id: PlanId,
    /// The origin of the request on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Required by the specification even if `context` is sent; on Kubernetes the cluster's id.
    pub organization_guid: String,
    /// Also required; on Kubernetes the namespace's uid.
    pub space_guid: String,
    /// The parameters from the user, according to the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// The version of the plan's `maintenance_info` that the platform knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

/// The body of a successful answer to a [`ProvisionRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProvisionResponse {
    /// The web page for managing the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// With 202: the operation to poll with `last_operation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Additional information about the instance (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<InstanceMetadata>,
}

/// Additional information about an instance (spec.md, "Service Instance Metadata").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceMetadata {
    /// Short words to select instances by.
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Anything longer (since 2.17).
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// The body of `PATCH /v2/service_instances/:instance_id`. Absent fields stay unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// The instance's service.
    pub service_id: ServiceId,
    /// The new plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// The origin of the request on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Parameters that replace the present ones; `null` removes a parameter, and parameters that are not named stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// The platform's view of the instance before the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_values: Option<PreviousValues>,
    /// The new version of the plan's `maintenance_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

/// The platform's view of an instance before an update. Deprecated members are not read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PreviousValues {
    /// The plan before the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// The version before the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

/// The answer to `GET /v2/service_instances/:instance_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchedInstance {
    /// The instance's service.
    pub service_id: ServiceId,
    /// Its plan.
    pub plan_id: PlanId,
    /// The web page for managing the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// The parameters from the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// The instance's version (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
    /// Additional information about the instance (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<InstanceMetadata>,
}
