//! The catalog: services and their plans (spec.md, "Catalog Management").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, PlanId, ServiceId, null};

/// The answer to `GET /v2/catalog`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The services offered; may be empty.
    #[serde(deserialize_with = "null::as_absent")]
    pub services: Vec<Service>,
}

/// A service offering.
#[expect(clippy::struct_excessive_bools, reason = "the specification's fields")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Unique over all brokers of a platform; never changes.
    pub id: ServiceId,
    /// Unique within the broker; suitable for command lines.
    pub name: String,
    /// The description for users. Required by the specification, but some brokers omit it.
    #[serde(default, deserialize_with = "null::as_absent")]
    pub description: String,
    /// Whether instances can be bound, unless a plan overrides it. Required, like `description`.
    #[serde(default, deserialize_with = "null::as_absent")]
    pub bindable: bool,
    /// Words to find the service by.
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Permissions the service needs from the platform.
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Whether `GET` of an instance works (since 2.14).
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "is_false")]
    pub instances_retrievable: bool,
    /// Whether `GET` of a binding works (since 2.14).
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "is_false")]
    pub bindings_retrievable: bool,
    /// Whether an update may change only the context (since 2.15).
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "is_false")]
    pub allow_context_updates: bool,
    /// Whether instances can change their plan; the misspelling is the specification's.
    #[serde(default, deserialize_with = "null::as_absent", skip_serializing_if = "is_false")]
    pub plan_updateable: bool,
    /// Anything for user interfaces; `metadata.bindery.env` names the variables of a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Object>,
    /// At least one.
    #[serde(default, deserialize_with = "null::as_absent")]
    pub plans: Vec<Plan>,
}

/// A plan of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Unique over all brokers of a platform; never changes.
    pub id: PlanId,
    /// Unique within the service.
    pub name: String,
    /// The description for users. Required by the specification, but some brokers omit it.
    #[serde(default, deserialize_with = "null::as_absent")]
    pub description: String,
    /// Anything for user interfaces; `metadata.bindery.env` names the variables of a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Object>,
    /// Whether instances cost nothing; absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<bool>,
    /// Overrides the service's `bindable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindable: Option<bool>,
    /// Whether `predecessor_binding_id` is understood (since 2.17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_rotatable: Option<bool>,
    /// Overrides the service's `plan_updateable` (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_updateable: Option<bool>,
    /// JSON Schemas of the parameters of instances and bindings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<Value>,
    /// How long a platform should poll an operation, in seconds (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_polling_duration: Option<u64>,
    /// The version of the software that instances run on (since 2.15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_info: Option<Value>,
}

impl Catalog {
    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.id == *id)
    }
}

impl Service {
    /// The plan with this id.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == *id)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_means_an_absent_field() {
        let full = json!({"services": [{
            "id": "s", "name": "n", "description": null, "bindable": null, "tags": null, "requires": null,
            "instances_retrievable": null, "bindings_retrievable": null, "allow_context_updates": null,
            "plan_updateable": null, "metadata": null, "dashboard_client": null,
            "plans": [{"id": "p", "name": "n", "description": null, "metadata": null, "free": null, "bindable": null,
                "binding_rotatable": null, "plan_updateable": null, "schemas": null, "maximum_polling_duration": null,
                "maintenance_info": null}],
        }]});
        let bare = json!({"services": [{"id": "s", "name": "n", "plans": [{"id": "p", "name": "n"}]}]});
        let read = |value| serde_json::from_value::<Catalog>(value).unwrap();
        assert_eq!(read(full), read(bare));
        assert_eq!(read(json!({"services": null})), Catalog::default());
        assert!(
            read(json!({"services": [{"id": "s", "name": "n", "plans": null}]})).services[0].plans.is_empty()
        );
    }
}
