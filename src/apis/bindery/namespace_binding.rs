//! `NamespaceBinding`: gives a service to every namespace that it selects.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{contract::ReclaimPolicy, osb::Object};

/// Which namespaces get the service, which service it is, for how long, and for how many namespaces at a time.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "NamespaceBinding",
    status = "NamespaceBindingStatus",
    derive = "PartialEq",
    shortname = "nsb",
    category = "bindery",
    doc = "Gives each selected namespace a service instance and a binding",
    printcolumn = r#"{"name": "Class", "type": "string", "jsonPath": ".spec.clusterServiceClassExternalName"}"#,
    printcolumn = r#"{"name": "Ready", "type": "integer", "jsonPath": ".status.ready"}"#,
    printcolumn = r#"{"name": "Pending", "type": "integer", "jsonPath": ".status.pending"}"#,
    printcolumn = r#"{"name": "Failed", "type": "integer", "jsonPath": ".status.failed"}"#,
    printcolumn = r#"{"name": "Expiring", "type": "integer", "jsonPath": ".status.expiring"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name becomes a label: write at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namePattern) || (has(self.namespaceSelector) && ((has(self.namespaceSelector.matchLabels) && self.namespaceSelector.matchLabels.size() > 0) || (has(self.namespaceSelector.matchExpressions) && self.namespaceSelector.matchExpressions.size() > 0)))")
        .message("select namespaces: set namespaceSelector with at least one label, namePattern, or both"),
    validation = Rule::new("has(self.bindingName) == has(oldSelf.bindingName) && (!has(self.bindingName) || self.bindingName == oldSelf.bindingName)")
        .message("bindingName cannot change: pods refer to it; create another NamespaceBinding and delete this one")
)]
pub struct NamespaceBindingSpec {
    /// Selects namespaces by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Selects namespaces by a pattern of their names, such as `feature-*`: `*` stands for any characters, `?` for one.
    /// If `namespaceSelector` is set too, a namespace must match both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9*?-]+$"))]
    pub name_pattern: Option<String>,
    /// The class by its name in the catalog. A changed class, plan or parameter applies to new instances.
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_class_external_name: String,
    /// The plan by its name in the catalog. Optional if the class has one plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_plan_external_name: Option<String>,
    /// The parameters of the instances. In strings, bindery replaces `{{ name }}`, `{{ labels.team }}` and
    /// `{{ annotations["example.com/owner"] }}` by the namespace's values. Do not put passwords here: anyone who may
    /// read the instance can read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub parameters: Option<Object>,
    /// The parameter `template` of the instances: the database to copy, by its name in the plan. Each namespace then
    /// starts with a copy of that data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub template: Option<String>,
    /// The parameter `reclaimPolicy` of the instances: what happens to the data when an instance is deleted. Default:
    /// the plan's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "reclaim_policy")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// The name of the instance, the binding and the Secret in each namespace. Default: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub binding_name: Option<String>,
    /// The environment variables of the pods, such as `DATABASE_URL=uri`. bindery writes them into the annotation
    /// `bindery.dev/env` of each binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub env: Option<String>,
    /// Bind every pod of the namespace that has no annotation of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_for_pods: bool,
    /// How long a namespace keeps the service. Default: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// How long a namespace that is not selected any more keeps the service, such as `90m` or `1h`. Default: one
    /// hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "length_of_time")]
    pub grace_period: Option<String>,
    /// How many namespaces may have the service at the same time. The others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// How long a namespace keeps the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ttl {
    /// How long: `90m`, `24h`, `7d`.
    #[schemars(schema_with = "length_of_time")]
    pub after: String,
    /// When the time begins.
    #[serde(default)]
    pub since: Since,
    /// How long before the end bindery announces it. Default: a tenth of `after`, at most one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "length_of_time")]
    pub warn_before: Option<String>,
}

/// When the time of a ttl begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Since {
    /// The creation of the namespace.
    #[default]
    Creation,
    /// When a pod of the namespace was last seen running, or at the namespace's creation if there was none.
    LastPod,
}

/// How many namespaces may have the service at the same time.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.total) || has(self.perLabel)").message("limits: set total, perLabel or \
    both"))]
pub struct Limits {
    /// How many namespaces may have the service altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub total: Option<i32>,
    /// How many namespaces may have the service for each value of a label, such as a team. bindery shares `total`
    /// evenly among the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_label: Option<PerLabel>,
}

/// A limit for each value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerLabel {
    /// The label of the namespaces. Namespaces without the label count as one value.
    #[schemars(length(min = 1, max = 317))]
    pub label: String,
    /// How many namespaces with the same value may have the service.
    #[schemars(range(min = 1))]
    pub count: i32,
}

/// The state of the selected namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceBindingStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: i64,
    /// The conditions `Accepted`, `Ready` and `UpToDate`.
    pub conditions: Vec<Condition>,
    /// The number of selected namespaces.
    pub namespaces: i64,
    /// The number of namespaces whose service is ready.
    pub ready: i64,
    /// The number of namespaces whose service is not ready yet.
    pub pending: i64,
    /// The number of namespaces that need a correction by a user.
    pub failed: i64,
    /// The number of namespaces whose service will end soon.
    pub expiring: i64,
    /// The number of selected namespaces whose ttl is over.
    pub expired: i64,
    /// The number of namespaces that are not selected any more and still have the service.
    pub leaving: i64,
    /// The number of namespaces whose instance differs from the present spec.
    pub outdated: i64,
    /// Some of the pending or failed namespaces, with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingNamespace>,
}

/// Why a namespace's service is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingNamespace {
    /// The name of the namespace.
    pub namespace: String,
    /// The reason in one word.
    pub reason: String,
    /// The reason in a sentence, and what to do.
    pub message: String,
    /// Whether a user must act, instead of waiting.
    #[serde(default)]
    pub failed: bool,
}

impl NamespaceBinding {
    /// The name of instance, binding and Secret in each namespace.
    #[must_use]
    pub fn binding_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.binding_name.as_deref().unwrap_or(own)
    }
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn length_of_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "maxLength": 32, "pattern": "^([0-9]+(w|d|h|m|s) ?)+$"})
}

fn reclaim_policy(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": ["delete", "retain"]})
}
