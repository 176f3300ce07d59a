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
    /// Where the request comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What is bound: an application or a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_resource: Option<Object>,
    /// What the user asks for, after the plan's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
}

/// The body of the same request when it asks for a binding in another one's place (spec.md, "Binding Rotation").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// The binding that the new one takes everything from but its credentials.
    pub predecessor_binding_id: BindingId,
}

/// A binding's credentials: whatever keys the service documents. `Debug` shows the names of the keys only.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(Object);

impl Credentials {
    /// The keys and their values. Every use puts a secret somewhere: mind where.
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
    /// How long it lasts (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BindingMetadata>,
    /// Where the service listens (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Where logs go, for services that require `syslog_drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog_drain_url: Option<String>,
    /// What requests are sent through, for services that require `route_forwarding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_service_url: Option<String>,
    /// What is mounted, for services that require `volume_mount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<Value>,
    /// What the user asked for; with `GET` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// With 202: what to ask `last_operation` for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl BindResponse {
    /// Whether it holds anything that a binding may give. An answer that does not has left out the credentials: brokers
    /// that tell them once answer a repeated request so.
    #[must_use]
    pub fn gives_something(&self) -> bool {
        self.credentials.is_some()
            || self.syslog_drain_url.is_some()
            || self.route_service_url.is_some()
            || self.volume_mounts.is_some()
    }
}

/// How long a binding lasts (spec.md, "Binding Metadata"). Times are RFC 3339 in UTC with a fraction of a second, as the
/// specification's pattern wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingMetadata {
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it is best renewed (since 2.17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
}

/// Where a service listens (spec.md, "Endpoint").
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
