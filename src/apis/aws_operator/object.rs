//! An object of `service-operator.aws`. All kinds share one type, because they differ in fields that only the table of
//! the kind needs to know.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{DynamicResourceScope, TypeMeta},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use super::{GROUP, VERSION, kind::Kind};

/// An object of `service-operator.aws/v1alpha1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsObject {
    /// The kind and the version.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// The metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The wanted resource.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Map::is_empty")]
    pub spec: Map<String, Value>,
    /// The template, of a CloudFormationTemplate.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
    /// The state of the stack.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Status::is_empty")]
    pub status: Status,
    /// The outputs of the stack.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, String>,
    /// The objects that bindery created in the namespace. Absent before bindery has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_resources: Option<AdditionalResources>,
}

/// The state of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// CloudFormation's state of the stack, or why bindery did not begin.
    #[serde(rename = "resourceStatus")]
    pub resource_status: String,
    /// Why the stack is not in the wanted state, and what to do.
    #[serde(rename = "resourceStatusReason")]
    pub resource_status_reason: String,
    /// The ARN of the stack.
    #[serde(rename = "stackID")]
    pub stack_id: String,
    /// Whether the resources still are as CloudFormation left them. Empty without checks for drift.
    #[serde(rename = "drift", skip_serializing_if = "String::is_empty")]
    pub drift: String,
    /// When the resources were last compared, RFC 3339.
    #[serde(rename = "driftCheckedAt", skip_serializing_if = "String::is_empty")]
    pub drift_checked_at: String,
}

impl Status {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The objects that bindery created in the namespace. Without any, `configMaps` is null, as the original operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AdditionalResources {
    /// The names of the ConfigMaps.
    #[serde(deserialize_with = "null_is_default")]
    pub config_maps: Vec<String>,
    /// The names of the Services.
    #[serde(deserialize_with = "null_is_default")]
    pub services: Vec<String>,
}

impl Serialize for AdditionalResources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let names = Some(&self.config_maps).filter(|names| !names.is_empty());
        map.serialize_entry("configMaps", &names)?;
        if !self.services.is_empty() {
            map.serialize_entry("services", &self.services)?;
        }
        map.end()
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl AwsObject {
    /// The text of a field of the spec; empty if it is absent.
    #[must_use]
    pub fn spec_text(&self, name: &str) -> &str {
        self.spec.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// How many times a failed stack was deleted.
    #[must_use]
    pub fn rollback_count(&self) -> i64 {
        self.spec.get("rollbackCount").and_then(Value::as_i64).unwrap_or_default()
    }
}

impl Resource for AwsObject {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.facts().name.into()
    }

    fn group(_: &Kind) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.facts().plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_config_maps_the_field_is_null_as_in_the_original() {
        let object =
            AwsObject { additional_resources: Some(AdditionalResources::default()), ..AwsObject::default() };
        let written = serde_json::to_value(&object).unwrap();
        assert_eq!(written["additionalResources"], json!({"configMaps": null}));
        assert_eq!(serde_json::from_value::<AwsObject>(written).unwrap(), object);
    }

    #[test]
    fn an_object_of_a_go_client_is_read() {
        let object = json!({"apiVersion": "service-operator.aws/v1alpha1", "kind": "DynamoDB",
            "metadata": {"name": "t", "creationTimestamp": null}, "output": {"tableARN": "", "tableName": ""},
            "spec": {"hashAttribute": {"name": "n", "type": ""}, "rollbackCount": 2}, "status": {"resourceStatus": ""},
            "additionalResources": {"configMaps": null}});
        let object: AwsObject = serde_json::from_value(object).unwrap();
        assert_eq!(object.rollback_count(), 2);
        assert_eq!(object.types.unwrap().kind, "DynamoDB");
    }
}
