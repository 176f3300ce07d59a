//! `CredentialPolicy`: how pods may get credentials. `policy` judges pods by it.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rules hold for which pods, and what happens to a pod that violates one.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "CredentialPolicy",
    plural = "credentialpolicies",
    status = "CredentialPolicyStatus",
    derive = "PartialEq",
    shortname = "credpol",
    category = "bindery",
    doc = "Rules about how pods may get credentials, which the API server enforces",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "Rules", "type": "string", "jsonPath": ".status.summary"}"#,
    printcolumn = r#"{"name": "Exceptions", "type": "integer", "jsonPath": ".status.exceptions"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name becomes a part of other names: write at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPolicySpec {
    /// The mode of every rule that sets none of its own.
    #[serde(default)]
    pub mode: Mode,
    /// The pods for which the rules hold. Default: those of all namespaces except kube-system, kube-node-lease and the
    /// installation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Other modes for some namespaces. Of several that match, the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub overrides: Vec<Override>,
    /// The rules. A rule that is not named does not hold.
    pub rules: Rules,
}

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

/// The pods for which the rules of a policy hold. A pod must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Labels of the namespaces. Whoever may change the labels of a Namespace can take it out of this scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Names of namespaces for whose pods the rules do not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub exclude_namespaces: Vec<String>,
    /// Service accounts of the pods. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Vec<String>,
    /// Images: a pod matches if one of its containers has such an image, as the pod writes it. A star at the end matches
    /// any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
}

/// Another mode for some namespaces.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaces) || has(self.namespaceSelector)")
        .message("select namespaces: set namespaces, namespaceSelector, or both")
)]
pub struct Override {
    /// Names of namespaces. A star at the end of a name matches any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels of namespaces. With `namespaces`, a namespace must match both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// The rules that get the mode. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub rules: Vec<RuleName>,
    /// The mode.
    pub mode: Mode,
}

/// The name of a rule: that of its field in `spec.rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuleName {
    /// Secrets reach pods only through bindings.
    BindingsOnly,
    /// Pods contain no credentials in plain text.
    NoPlainText,
    /// Credentials reach containers as files, not as variables.
    FilesOnly,
    /// Pods get no token of their service account, and service accounts have no tokens without expiry.
    NoServiceAccountTokens,
}

/// The rules of a policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.bindingsOnly) || has(self.noPlainText) || has(self.filesOnly) || has(self.noServiceAccountTokens)")
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
    /// Credentials reach containers as files, not as variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_only: Option<FilesOnly>,
    /// Pods get no token for the API server, and service accounts have no tokens without expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_service_account_tokens: Option<NoServiceAccountTokens>,
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
    /// Names of variables whose values are no credentials, whatever they look like. A star at the end of a name matches
    /// any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub allow_variables: Vec<String>,
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

/// Where the rules of a policy are held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialPolicyStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: i64,
    /// `Ready`: whether the API server has the policy.
    pub conditions: Vec<Condition>,
    /// The rules with their modes, for `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Each rule, and who holds it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleStatus>,
    /// The number of exceptions that have not expired.
    pub exceptions: i64,
}

/// Who holds a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule.
    pub rule: RuleName,
    /// The mode without overrides.
    pub mode: Mode,
    /// Who evaluates the rule at admission.
    pub engine: Engine,
    /// The ValidatingAdmissionPolicies that contain the rule.
    pub admission_policies: Vec<String>,
}

/// Who evaluates a rule at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// The API server itself, also while bindery is away.
    ApiServer,
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

impl RuleName {
    /// All rules.
    pub const ALL: [Self; 4] =
        [Self::BindingsOnly, Self::NoPlainText, Self::FilesOnly, Self::NoServiceAccountTokens];

    /// The rule's name: that of its field in `spec.rules`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BindingsOnly => "bindingsOnly",
            Self::NoPlainText => "noPlainText",
            Self::FilesOnly => "filesOnly",
            Self::NoServiceAccountTokens => "noServiceAccountTokens",
        }
    }
}

impl CredentialPolicySpec {
    /// The rules that the policy names, with their modes and the administrator's messages.
    pub fn named_rules(&self) -> impl Iterator<Item = (RuleName, Mode, Option<&str>)> {
        let Rules { bindings_only, no_plain_text, files_only, no_service_account_tokens } = &self.rules;
        let rules = [
            bindings_only.as_ref().map(|it| (RuleName::BindingsOnly, it.mode, it.message.as_deref())),
            no_plain_text.as_ref().map(|it| (RuleName::NoPlainText, it.mode, it.message.as_deref())),
            files_only.as_ref().map(|it| (RuleName::FilesOnly, it.mode, it.message.as_deref())),
            no_service_account_tokens
                .as_ref()
                .map(|it| (RuleName::NoServiceAccountTokens, it.mode, it.message.as_deref())),
        ];
        rules.into_iter().flatten().map(|(rule, mode, message)| (rule, mode.unwrap_or(self.mode), message))
    }
}
