//! The ExternalResource of a stack: what AWS was asked to hold for an object of `service-operator.aws`. The definition is that
//! of [`ExternalResource`](super::external_resource::ExternalResource); the catalog's controllers never see these, because
//! they carry the label [`STACK`](crate::contract::external_resource::STACK).

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::external_resource::ExternalResourceStatus;

/// The stack that AWS was asked for, in which account, for which object.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "ExternalResource",
    root = "StackRecord",
    status = "ExternalResourceStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct StackRecordSpec {
    /// The account.
    pub broker: StackAccount,
    /// Always [`StackRecordKind::Stack`].
    pub kind: StackRecordKind,
    /// The object's namespace.
    pub namespace: String,
    /// The namespace's uid.
    #[serde(default, rename = "namespaceUID", skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// The stack's name.
    #[serde(rename = "instanceID")]
    pub stack: String,
    /// The object's kind.
    #[serde(rename = "serviceID")]
    pub object_kind: String,
    /// Empty: kinds have no plans.
    #[serde(default, rename = "planID")]
    pub plan: String,
}

/// The account that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackAccount {
    /// The account's name on the installation's list.
    pub name: String,
    /// The address of CloudFormation.
    pub url: String,
}

/// The kind of an ExternalResource of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StackRecordKind {
    /// A stack of CloudFormation.
    Stack,
}

#[cfg(test)]
mod tests {
    use kube::{Resource, core::CustomResourceExt};
    use serde_json::json;

    use super::*;
    use crate::apis::bindery::external_resource::ExternalResource;

    /// The API server would drop a field that the definition lacks.
    #[test]
    fn the_definition_has_every_field_and_the_kind() {
        assert_eq!(StackRecord::kind(&()), ExternalResource::kind(&()));
        let record = json!({"broker": {"name": "aws", "url": "https://cloudformation.us-west-2.amazonaws.com"}, "kind": "Stack",
            "namespace": "n", "namespaceUID": "1", "name": "t", "uid": "2", "instanceID": "demos-dynamodb-t-n",
            "serviceID": "DynamoDB", "planID": ""});
        let spec: StackRecordSpec = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), record);
        let definition = serde_json::to_value(ExternalResource::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for field in record.as_object().unwrap().keys() {
            assert!(schema["properties"][field].is_object(), "{field}");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(record.get(field.as_str().unwrap()).is_some(), "{field}");
        }
        let kinds = &schema["properties"]["kind"]["enum"];
        assert_eq!(kinds, &json!(["ServiceInstance", "ServiceBinding", "Stack"]));
        assert_eq!(schema["properties"]["broker"]["required"], json!(["name", "url"]));
    }
}
