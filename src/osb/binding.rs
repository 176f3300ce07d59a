//! Bindings: one set of credentials each (spec.md, "Binding").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BindingId, Context, Object, Operation, PlanId, ServiceId};

/// The body of `PUT /v2/service_instances/:instance_id/service_bindings/:binding_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindRequest {
    /// The instance's service.
    pub service_id: ServiceId,
    /// The instance's plan.
    pub plan_id: PlanId,
    /// The origin of the request on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What is bound: an application or a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_resource: Option<Object>,
    /// The parameters from the user, according to the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
}

/// The body of the same request when the new binding replaces another, for plans whose bindings are rotatable (since 2.17;
/// spec.md, "Binding Rotation").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// The binding from which the new one takes everything except its credentials.
    pub predecessor_binding_id: BindingId,
}

/// A binding's credentials, with the keys that the service documents. `Debug` shows only the names of the keys.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(Object);

impl Credentials {
    /// The keys and values. They are secret: check where each caller puts them.
    #[must_use]
    pub fn expose(&self) -> &Object {
        &self.0
    }
}

impl From<Object> for Credentials {
    fn from(credentials: Object) -> Self {
        Self(credentials)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The body of a successful answer to a [`BindRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BindResponse {
    /// Absent with 202.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The lifetime of the binding (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BindingMetadata>,
    /// The addresses of the service (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// The address for logs, for services that require `syslog_drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog_drain_url: Option<String>,
    /// The address for requests, for services that require `route_forwarding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_service_url: Option<String>,
    /// The volumes to mount, for services that require `volume_mount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<Value>,
    /// The user's parameters; only in answers to `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// With 202: the operation to poll with `last_operation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl BindResponse {
    /// Whether the answer contains any result of a binding. Brokers that return credentials only once answer a
    /// repeated request without a result.
    #[must_use]
    pub fn gives_something(&self) -> bool {
        self.credentials.is_some()
            || self.syslog_drain_url.is_some()
            || self.route_service_url.is_some()
            || self.volume_mounts.is_some()
    }
}

/// The lifetime of a binding (spec.md, "Binding Metadata"). Times are RFC 3339 in UTC with fractional seconds, as the
/// specification's pattern requires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingMetadata {
    /// When the binding expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When the binding should be renewed (since 2.17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
}

/// An address of a service (spec.md, "Endpoint").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// Ports, or ranges such as `8080-8090`.
    pub ports: Vec<String>,
    /// `tcp`, `udp` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_response_shows_no_secret() {
        let body = r#"{"credentials": {"username": "u", "password": "hunter2"}}"#;
        let response: BindResponse = serde_json::from_str(body).unwrap();
        let shown = format!("{response:?}");
        assert!(shown.contains("password") && !shown.contains("hunter2"), "{shown}");
    }
}
