//! Provisioning of instances (spec.md, "Provisioning").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, Operation, PlanId, ServiceId};

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
}
