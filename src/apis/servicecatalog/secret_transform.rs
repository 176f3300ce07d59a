//! `secretTransforms` of a ServiceBinding: changes of the credentials before the Secret is written. The shapes are
//! those of service-catalog; `bindings::transforms` applies them. Pure.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::ByteString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::broker::SecretReference;

/// One change of the credentials: exactly one member is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.renameKey), has(self.addKey), has(self.addKeysFrom), has(self.removeKey)].filter(given, given).size() == 1")
    .message("a secretTransform holds exactly one of renameKey, addKey, addKeysFrom and removeKey"))]
pub struct SecretTransform {
    /// Renames a key. A key that is absent is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename_key: Option<RenameKeyTransform>,
    /// Adds a key, or replaces its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_key: Option<AddKeyTransform>,
    /// Adds all keys of another Secret, whose author may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_keys_from: Option<AddKeysFromTransform>,
    /// Removes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_key: Option<RemoveKeyTransform>,
}

/// Renames a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenameKeyTransform {
    /// The key to rename.
    pub from: String,
    /// The new name of the key.
    pub to: String,
}

/// Adds a key. If several members are set, `jsonPathExpression` wins over `stringValue`, and `stringValue` over `value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddKeyTransform {
    /// The key to add.
    pub key: String,
    /// The value as bytes, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::bytes")]
    pub value: Option<ByteString>,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value as a `JSONPath` template over the credentials, such as `postgres://{.username}:{.password}@{.host}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_path_expression: Option<String>,
}

/// Adds all keys of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddKeysFromTransform {
    /// The Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Removes a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveKeyTransform {
    /// The key to remove.
    pub key: String,
}
