//! The rules of a `CredentialPolicy` and their settings.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a pod that violates a rule.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Mode {
    /// The API server records it in its audit log.
    #[default]
    Audit,
    /// The API server warns the user.
    Warn,
    /// The API server refuses the pod.
    Enforce,
}

impl Mode {
    /// The mode's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "Audit",
            Self::Warn => "Warn",
            Self::Enforce => "Enforce",
        }
    }
}

/// The rules of a policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.bindingsOnly) || has(self.noPlainText) || has(self.noRandomValues) || has(self.filesOnly) || has(self.noServiceAccountTokens) || has(self.protectedObjects) || has(self.whoMayBind) || has(self.allowedServices) || has(self.maxAge) || has(self.conditions)")
        .message("name at least one rule, such as noPlainText: {}")
)]
pub struct Rules {
    /// Secrets reach pods only through bindings: a pod may refer only to the Secrets of bindings in its annotation
    /// bindery.dev/bind or that of its Namespace, and to allowed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings_only: Option<BindingsOnly>,
    /// Pods contain no credentials in plain text in their variables, arguments, commands, probes, hooks and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_plain_text: Option<NoPlainText>,
    /// Variables, arguments and annotations that are named like a credential have no random values. bindery's webhook judges
    /// this rule, so it does not hold while bindery is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_random_values: Option<NoRandomValues>,
    /// Credentials reach containers as files, not as variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_only: Option<FilesOnly>,
    /// Pods get no token for the API server, and service accounts have no tokens without expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_service_account_tokens: Option<NoServiceAccountTokens>,
    /// Only bindery and administrators change and delete what bindery writes: the Secrets of bindings, ExternalResources, and
    /// bindery's annotations of Namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_objects: Option<ProtectedObjects>,
    /// A pod uses only bindings that its service account may bind: RBAC grants the verb bind on servicebindings of
    /// servicecatalog.k8s.io.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who_may_bind: Option<WhoMayBind>,
    /// ServiceInstances and ServiceBindings ask only for classes, plans and access levels that their namespace may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_services: Option<AllowedServices>,
    /// Pods use only bindings whose credentials are not too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<MaxAge>,
    /// Conditions of your own, in CEL, about pods and the kinds that have a pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

/// The settings of the rule `bindingsOnly`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingsOnly {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Names of Secrets to which pods may refer although no binding wrote them. A star at the end of a name matches any
    /// ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_secrets: Vec<String>,
}

/// The settings of the rule `noPlainText`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoPlainText {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Names of variables whose values are not credentials, whatever they look like. A star at the end of a name
    /// matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_variables: Vec<String>,
    /// Whether ConfigMaps are judged as well: their entries, as if they were variables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_maps: bool,
}

/// The settings of the rule `noRandomValues`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoRandomValues {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Names of variables, options and annotations whose values are not credentials, whatever they look like. A star at the
    /// end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_names: Vec<String>,
    /// Whether ConfigMaps are judged as well: their entries, as if they were variables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_maps: bool,
}

/// The settings of the rule `filesOnly`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilesOnly {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
}

/// The settings of the rule `noServiceAccountTokens`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoServiceAccountTokens {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Service accounts whose pods may have a token, such as those of operators. A star at the end of a name matches any
    /// ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_service_accounts: Vec<String>,
}

/// The settings of the rule `protectedObjects`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedObjects {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a change violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Groups of administrators who may change these objects, in addition to system:masters. A star at the end of a name
    /// matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_groups: Vec<String>,
    /// Users who may change these objects, such as the service account of a backup tool:
    /// system:serviceaccount:velero:velero. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_users: Vec<String>,
}

/// The settings of the rule `whoMayBind`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoMayBind {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Names of Secrets that belong to no binding, for which no right is required. A star at the end of a name matches
    /// any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_secrets: Vec<String>,
}

/// The settings of the rule `allowedServices`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedServices {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when an object violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// The limits. An object must meet every limit that is for its namespace.
    #[schemars(length(min = 1, max = 32))]
    pub limits: Vec<ServiceLimit>,
}

/// What some namespaces may ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLimit {
    /// Names of namespaces. A star at the end of a name matches any ending. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub namespaces: Vec<String>,
    /// Names of namespaces for which the limit is not. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub except_namespaces: Vec<String>,
    /// External names of the classes that ServiceInstances may have. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_classes: Vec<String>,
    /// External names of classes that ServiceInstances may not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub forbid_classes: Vec<String>,
    /// External names of the plans that ServiceInstances may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_plans: Vec<String>,
    /// External names of plans that ServiceInstances may not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub forbid_plans: Vec<String>,
    /// The values that the parameter access of ServiceBindings may have. A binding without the parameter violates the rule,
    /// because the plan's default is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub access: Vec<String>,
}

/// The settings of the rule `maxAge`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaxAge {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What users read first when a pod violates the rule, such as whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// How old credentials may become, in days. A rotation begins anew.
    #[schemars(range(min = 1, max = 3650))]
    pub days: i64,
}

/// The settings of the rule `conditions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// The mode of the rule. Default: that of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The conditions.
    #[schemars(length(min = 1, max = 32))]
    pub checks: Vec<ConditionCheck>,
}

/// A condition that pods must fulfil.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionCheck {
    /// A name, for messages.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A CEL expression that is true for pods that may be admitted. It sees what a ValidatingAdmissionPolicy sees (`object`,
    /// `oldObject`, `request`, `namespaceObject`, `authorizer`), and of the pod or pod template `variables.spec`,
    /// `variables.annotations`, `variables.containers`, `variables.volumes`, `variables.account` and `variables.bound`.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
    /// What users read when a pod does not fulfil the condition.
    #[schemars(length(min = 1, max = 1024))]
    pub message: String,
}
