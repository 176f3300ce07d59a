//! Instances: provisioning, fetching and updating them (spec.md, "Provisioning" and the sections after it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, Operation, PlanId, ServiceId, null};

/// Where on the platform the request comes from (profile.md, "Context Object"). For Kubernetes: `platform`,
/// `namespace`, `clusterid`, `instance_name`. Kept as it came, for unknown members must be ignored.
pub type Context = Object;

/// The body of `PUT /v2/service_instances/:instance_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// The service of the catalog.
    pub service_id: ServiceId,
    /// The plan of that service.
    pub plan_id: PlanId,
    /// Where the request comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Required by the specification also when `context` is sent; the cluster's id on Kubernetes.
    pub organization_guid: String,
    /// Required likewise; the namespace's uid on Kubernetes.
    pub space_guid: String,
    /// What the user asks for, after the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// The version of the plan's `maintenance_info` that the platform knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

/// The body of a successful answer to a [`ProvisionRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProvisionResponse {
    /// A page to manage the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// With 202: what to ask `last_operation` for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// What the broker says about the instance (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<InstanceMetadata>,
}

/// What a broker says about an instance (spec.md, "Service Instance Metadata").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceMetadata {
    /// Short words to select instances by.
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Anything longer (since 2.17).
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// The body of `PATCH /v2/service_instances/:instance_id`. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// The instance's service.
    pub service_id: ServiceId,
    /// The plan it is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// Where the request comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Parameters that take the place of those in force; `null` takes one away, and what is not named stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// What the platform believes the instance to be now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_values: Option<PreviousValues>,
    /// The version of the plan's `maintenance_info` that it is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

/// An instance before an update, as the platform knows it; the deprecated members are not read.
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
    /// A page to manage the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
    /// What the user asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// The version it has (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
    /// What the broker says about the instance (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<InstanceMetadata>,
}
