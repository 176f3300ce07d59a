//! Bindings: one set of credentials each (spec.md, "Binding").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Context, Object, Operation, PlanId, ServiceId};

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
    /// `expires_at` and `renew_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Object>,
    /// Where the service listens (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Value>,
    /// With 202: what to ask `last_operation` for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
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
