//! `CredentialPolicy`: how pods may get credentials. `policy` judges pods by it.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::credential_policy_rules::{
    AllowedServices, BindingsOnly, ConditionCheck, Conditions, FilesOnly, MaxAge, Mode, NoPlainText,
    NoRandomValues, NoServiceAccountTokens, ProtectedObjects, Rules, ServiceLimit, WhoMayBind,
};

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
    printcolumn = r#"{"name": "Violations", "type": "integer", "jsonPath": ".status.audit.violations"}"#,
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

/// The pods for which the rules of a policy hold. A pod must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Labels of the namespaces. A user who may label a Namespace can take it out of this scope.
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
    #[schemars(length(min = 1, max = 16))]
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
    /// What is named like a credential has no random value.
    NoRandomValues,
    /// Credentials reach containers as files, not as variables.
    FilesOnly,
    /// Pods get no token of their service account, and service accounts have no tokens without expiry.
    NoServiceAccountTokens,
    /// Only bindery changes and deletes what it writes.
    ProtectedObjects,
    /// Pods use only bindings that their service account may bind.
    WhoMayBind,
    /// Instances and bindings ask only for what their namespace may have.
    AllowedServices,
    /// Pods use only bindings whose credentials are not too old.
    MaxAge,
    /// Pods fulfil the administrator's own conditions.
    Conditions,
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
    /// Each rule, and which engine holds it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleStatus>,
    /// The number of exceptions that have not expired.
    pub exceptions: i64,
    /// What the background audit found among the pods and workloads that exist. Absent until it has seen all of them.
    pub audit: Option<AuditCounts>,
}

/// How many objects violate the rules. An object counts once for each rule that it violates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditCounts {
    /// All violations.
    pub violations: i64,
    /// The violations of each rule, in each mode that it has in some namespace.
    pub rules: Vec<RuleViolations>,
    /// The namespaces with most violations, at most 20.
    pub namespaces: Vec<NamespaceViolations>,
    /// The number of further namespaces with violations.
    pub other_namespaces: i64,
}

/// How many objects violate a rule where it has this mode. `Enforce` would refuse them if they were created now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleViolations {
    /// The rule.
    pub rule: RuleName,
    /// The mode.
    pub mode: Mode,
    /// The objects that violate the rule.
    pub violations: i64,
    /// The objects that would violate it without an exception.
    pub exempt: i64,
}

/// How many violations there are in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceViolations {
    /// The namespace.
    pub namespace: String,
    /// All violations.
    pub violations: i64,
    /// The violations of rules whose mode in the namespace is `Enforce`.
    pub enforced: i64,
}

/// Which engine holds a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule.
    pub rule: RuleName,
    /// The mode without overrides.
    pub mode: Mode,
    /// The engine that evaluates the rule at admission.
    pub engine: Engine,
    /// The ValidatingAdmissionPolicies that contain the rule. Empty if a webhook evaluates it.
    pub admission_policies: Vec<String>,
}

/// The engine that evaluates a rule at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// The API server itself, also while bindery is away.
    ApiServer,
    /// bindery's validating webhook. The rule does not hold while bindery is away.
    Webhook,
}

impl RuleName {
    /// All rules.
    pub const ALL: [Self; 10] = [
        Self::BindingsOnly,
        Self::NoPlainText,
        Self::NoRandomValues,
        Self::FilesOnly,
        Self::NoServiceAccountTokens,
        Self::ProtectedObjects,
        Self::WhoMayBind,
        Self::AllowedServices,
        Self::MaxAge,
        Self::Conditions,
    ];

    /// The rule's name: that of its field in `spec.rules`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BindingsOnly => "bindingsOnly",
            Self::NoPlainText => "noPlainText",
            Self::NoRandomValues => "noRandomValues",
            Self::FilesOnly => "filesOnly",
            Self::NoServiceAccountTokens => "noServiceAccountTokens",
            Self::ProtectedObjects => "protectedObjects",
            Self::WhoMayBind => "whoMayBind",
            Self::AllowedServices => "allowedServices",
            Self::MaxAge => "maxAge",
            Self::Conditions => "conditions",
        }
    }

    /// The engine that evaluates the rule at admission. CEL cannot tell how random a text is.
    #[must_use]
    pub const fn engine(self) -> Engine {
        match self {
            Self::NoRandomValues => Engine::Webhook,
            _ => Engine::ApiServer,
        }
    }
}

impl Scope {
    /// Whether it contains all pods of its namespaces, so that a rule can say something about objects that are not pods.
    #[must_use]
    pub fn is_for_all_pods(&self) -> bool {
        self.service_accounts.is_empty() && self.images.is_empty()
    }
}

impl CredentialPolicySpec {
    /// The rules that the policy names, with their modes and the administrator's messages.
    pub fn named_rules(&self) -> impl Iterator<Item = (RuleName, Mode, Option<&str>)> {
        use RuleName as Name;
        let Rules {
            bindings_only,
            no_plain_text,
            no_random_values,
            files_only,
            no_service_account_tokens,
            protected_objects,
            who_may_bind,
            allowed_services,
            max_age,
            conditions,
        } = &self.rules;
        let rules = [
            bindings_only.as_ref().map(|it| (Name::BindingsOnly, it.mode, it.message.as_deref())),
            no_plain_text.as_ref().map(|it| (Name::NoPlainText, it.mode, it.message.as_deref())),
            no_random_values.as_ref().map(|it| (Name::NoRandomValues, it.mode, it.message.as_deref())),
            files_only.as_ref().map(|it| (Name::FilesOnly, it.mode, it.message.as_deref())),
            no_service_account_tokens
                .as_ref()
                .map(|it| (Name::NoServiceAccountTokens, it.mode, it.message.as_deref())),
            protected_objects.as_ref().map(|it| (Name::ProtectedObjects, it.mode, it.message.as_deref())),
            who_may_bind.as_ref().map(|it| (Name::WhoMayBind, it.mode, it.message.as_deref())),
            allowed_services.as_ref().map(|it| (Name::AllowedServices, it.mode, it.message.as_deref())),
            max_age.as_ref().map(|it| (Name::MaxAge, it.mode, it.message.as_deref())),
            conditions.as_ref().map(|it| (Name::Conditions, it.mode, None)),
        ];
        rules.into_iter().flatten().map(|(rule, mode, message)| (rule, mode.unwrap_or(self.mode), message))
    }

    /// Those of the rules that this engine evaluates.
    pub fn rules_of(&self, engine: Engine) -> impl Iterator<Item = (RuleName, Mode, Option<&str>)> {
        self.named_rules().filter(move |(rule, ..)| rule.engine() == engine)
    }
}
