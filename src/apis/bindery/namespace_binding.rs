//! `NamespaceBinding`: the services that every namespace of a kind gets, as type and as custom resource definition.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{contract::ReclaimPolicy, osb::Object};

/// Which namespaces get which service, for how long, and how many of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bindery.dev",
    version = "v1alpha1",
    kind = "NamespaceBinding",
    status = "NamespaceBindingStatus",
    derive = "PartialEq",
    shortname = "nsb",
    category = "bindery",
    doc = "Gives each namespace that it selects a service instance and a binding of its own",
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
        .message("say which namespaces are meant: namespaceSelector with at least one label, namePattern, or both"),
    validation = Rule::new("has(self.bindingName) == has(oldSelf.bindingName) && (!has(self.bindingName) || self.bindingName == oldSelf.bindingName)")
        .message("bindingName cannot change: pods refer to it; create another NamespaceBinding and delete this one")
)]
pub struct NamespaceBindingSpec {
    /// The labels of the namespaces that are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// What their names look like, `feature-*`: `*` stands for any characters, `?` for one. Namespaces must satisfy the
    /// selector as well if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9*?-]+$"))]
    pub name_pattern: Option<String>,
    /// The class by its name in the catalog. A change of class, plan or parameters holds for new instances.
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_class_external_name: String,
    /// The plan by its name in the catalog; may be left out when the class has one plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub cluster_service_plan_external_name: Option<String>,
    /// What is asked of the broker. In strings `{{ name }}`, `{{ labels.team }}` and `{{ annotations["example.com/owner"] }}` stand
    /// for what the namespace has. No place for passwords: anyone who may read the instance reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub parameters: Option<Object>,
    /// The parameter `template`: what the plan calls the database to start from, so that each namespace has data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub template: Option<String>,
    /// The parameter `reclaimPolicy`: what becomes of the data in the end. Left out: what the plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "reclaim_policy")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// What instance, binding and Secret are called in each namespace; this object's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub binding_name: Option<String>,
    /// What the variables are called, `DATABASE_URL=uri`: the annotation bindery.dev/env of each binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub env: Option<String>,
    /// Bind every pod of the namespace that does not say itself what it is bound to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_for_pods: bool,
    /// How long a namespace keeps what it got; for good if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// How long a namespace that is not selected any more keeps what it got, `90m` or `1h`; an hour if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "length_of_time")]
    pub grace_period: Option<String>,
    /// How many namespaces have it at the same time; the others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// How long a namespace keeps what it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ttl {
    /// How long: `90m`, `24h`, `7d`.
    #[schemars(schema_with = "length_of_time")]
    pub after: String,
    /// Counted from when.
    #[serde(default)]
    pub since: Since,
    /// How long before the end it is told; a tenth of `after` if left out, an hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "length_of_time")]
    pub warn_before: Option<String>,
}

/// What a ttl is counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Since {
    /// The creation of the namespace.
    #[default]
    Creation,
    /// When a pod of the namespace was last seen running, or the creation while there was none.
    LastPod,
}

/// How many at the same time.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.total) || has(self.perLabel)").message("limits: say total, perLabel or both"))]
pub struct Limits {
    /// In all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub total: Option<i32>,
    /// For each value of a label, such as a team's. What `total` leaves is shared evenly among the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_label: Option<PerLabel>,
}

/// A limit for each value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerLabel {
    /// The label of the namespaces. Those without it count as one value.
    #[schemars(length(min = 1, max = 317))]
    pub label: String,
    /// How many for each value.
    #[schemars(range(min = 1))]
    pub count: i32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceBindingStatus {
    /// The generation of the spec that this is about.
    pub observed_generation: i64,
    /// `Accepted`, `Ready`, `UpToDate`.
    pub conditions: Vec<Condition>,
    /// How many namespaces are selected.
    pub namespaces: i64,
    /// How many have what they are to have.
    pub ready: i64,
    /// How many will have it.
    pub pending: i64,
    /// How many cannot have it until somebody does something.
    pub failed: i64,
    /// How many of those that have it will soon lose it.
    pub expiring: i64,
    /// How many are selected and past their ttl.
    pub expired: i64,
    /// How many are not selected any more and still have it.
    pub leaving: i64,
    /// How many have an instance that the spec would make differently now.
    pub outdated: i64,
    /// Some of the namespaces that are pending or failed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingNamespace>,
}

/// Why a namespace does not have what it is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingNamespace {
    /// Its name.
    pub namespace: String,
    /// In one word.
    pub reason: String,
    /// In a sentence, and what to do.
    pub message: String,
    /// Whether somebody has to do something, rather than wait.
    #[serde(default)]
    pub failed: bool,
}

impl NamespaceBinding {
    /// What instance, binding and Secret are called in each namespace.
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
