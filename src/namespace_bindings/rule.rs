//! A `NamespaceBinding` with its spec parsed and validated. Pure.

use std::{collections::BTreeMap, time::Duration};

use glob::Pattern;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};
use serde_json::json;

use super::template::{self, TemplateError, Vocabulary};
use crate::apis::bindery::{
    label_selector,
    namespace_binding::{Limits, NamespaceBinding, Since},
};
use crate::{
    apis::servicecatalog::ServiceInstanceSpec,
    broker::config::{Kinds, Lifetime},
    catalog::check_variables,
    k8s::trim::{is_cut, too_deep},
};

/// The default of `spec.gracePeriod`.
pub(super) const GRACE: Duration = Duration::from_hours(1);
/// The same as text.
pub(super) const GRACE_TEXT: &str = "1h";
/// The maximum of the default of `spec.ttl.warnBefore`.
const LONGEST_WARNING: Duration = Duration::from_hours(1);
/// The cluster's own namespaces, which no NamespaceBinding selects.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// A valid NamespaceBinding.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) object: NamespaceBinding,
    selector: Selector,
    pattern: Option<Pattern>,
    pub(super) ttl: Option<TtlSpec>,
    pub(super) grace: Duration,
}

/// `spec.ttl`, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TtlSpec {
    pub(super) length: Duration,
    pub(super) since: Since,
    pub(super) warning: Duration,
}

/// Why a spec that the API server accepted is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRule {
    #[error("spec.namespaceSelector: {0}; see kubectl explain namespacebinding.spec.namespaceSelector")]
    Selector(String),
    #[error("spec.namePattern: {0:?} is no pattern: {1}; write feature-*")]
    Pattern(String, String),
    #[error("spec.env: {0}")]
    Env(String),
    #[error("{}", too_deep("spec.parameters"))]
    TooDeep,
    #[error("spec.{0}: {1}")]
    Length(&'static str, String),
    #[error("spec.ttl.warnBefore is not shorter than spec.ttl.after; shorten it, or leave it out")]
    Warning,
    #[error("spec.parameters.{0} and spec.{0} set the same parameter; remove one of them")]
    Twice(&'static str),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Rule {
    /// Parses and validates a spec.
    pub(super) fn read(object: &NamespaceBinding) -> Result<Self, InvalidRule> {
        let spec = &object.spec;
        let selector = spec.namespace_selector.clone().unwrap_or_default();
        let selector = label_selector::parse(&selector).map_err(InvalidRule::Selector)?;
        if let Some(env) = &spec.env {
            check_variables(env).map_err(|error| InvalidRule::Env(error.to_string()))?;
        }
        let pattern = spec.name_pattern.as_deref().map(|pattern| {
            Pattern::new(pattern)
                .map_err(|error| InvalidRule::Pattern(pattern.to_owned(), error.msg.to_owned()))
        });
        for (name, given) in
            [("template", spec.template.is_some()), ("reclaimPolicy", spec.reclaim_policy.is_some())]
        {
            if given && spec.parameters.as_ref().is_some_and(|parameters| parameters.contains_key(name)) {
                return Err(InvalidRule::Twice(name));
            }
        }
        if spec.parameters.iter().flat_map(|parameters| parameters.values()).any(is_cut) {
            return Err(InvalidRule::TooDeep);
        }
        template::check(spec.parameters.as_ref().unwrap_or(&serde_json::Map::new()))?;
        let grace = spec.grace_period.as_deref().map(|text| length("gracePeriod", text)).transpose()?;
        Ok(Self {
            ttl: life(object)?,
            pattern: pattern.transpose()?,
            grace: grace.unwrap_or(GRACE),
            selector,
            object: object.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// The name of instance, binding and Secret.
    pub(super) fn binding_name(&self) -> &str {
        self.object.binding_name()
    }

    pub(super) fn limits(&self) -> Option<&Limits> {
        self.object.spec.limits.as_ref()
    }

    /// The order in which NamespaceBindings get a name that several use: the oldest first.
    pub(super) fn precedence(&self) -> (Option<Timestamp>, &str) {
        (self.object.creation_timestamp().map(|time| time.0), self.name())
    }

    /// Whether the NamespaceBinding selects the namespace with this metadata.
    pub(super) fn selects(&self, namespace: &ObjectMeta) -> bool {
        let name = namespace.name.as_deref().unwrap_or_default();
        let none = BTreeMap::new();
        !SYSTEM.contains(&name)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
            && self.selector.matches(namespace.labels.as_ref().unwrap_or(&none))
    }

    /// The spec of the instance for a namespace.
    pub(super) fn instance(&self, namespace: &ObjectMeta) -> Result<ServiceInstanceSpec, TemplateError> {
        let spec = &self.object.spec;
        let none = BTreeMap::new();
        let vocabulary = Vocabulary {
            name: namespace.name.as_deref().unwrap_or_default(),
            labels: namespace.labels.as_ref().unwrap_or(&none),
            annotations: namespace.annotations.as_ref().unwrap_or(&none),
        };
        let given = spec.parameters.as_ref().map(|given| template::fill(given, &vocabulary)).transpose()?;
        let mut parameters = given.unwrap_or_default();
        if let Some(template) = &spec.template {
            parameters.insert("template".to_owned(), json!(template));
        }
        if let Some(policy) = spec.reclaim_policy {
            parameters.insert("reclaimPolicy".to_owned(), json!(policy.as_str()));
        }
        Ok(ServiceInstanceSpec {
            cluster_service_class_external_name: Some(spec.cluster_service_class_external_name.clone()),
            cluster_service_plan_external_name: spec.cluster_service_plan_external_name.clone(),
            parameters: Some(parameters).filter(|parameters| !parameters.is_empty()),
            ..ServiceInstanceSpec::default()
        })
    }
}

/// Whether an instance has the spec that a new instance would get.
pub(super) fn is_as_wanted(instance: &ServiceInstanceSpec, wanted: &ServiceInstanceSpec) -> bool {
    instance.cluster_service_class_external_name == wanted.cluster_service_class_external_name
        && instance.cluster_service_plan_external_name == wanted.cluster_service_plan_external_name
        && instance.parameters.clone().unwrap_or_default() == wanted.parameters.clone().unwrap_or_default()
}

fn life(object: &NamespaceBinding) -> Result<Option<TtlSpec>, InvalidRule> {
    let Some(ttl) = &object.spec.ttl else { return Ok(None) };
    let whole = length("ttl.after", &ttl.after)?;
    let warning = ttl.warn_before.as_deref().map(|text| length("ttl.warnBefore", text)).transpose()?;
    let warning = warning.unwrap_or_else(|| (whole / 10).min(LONGEST_WARNING));
    if warning >= whole {
        return Err(InvalidRule::Warning);
    }
    Ok(Some(TtlSpec { length: whole, since: ttl.since, warning }))
}

fn length(field: &'static str, text: &str) -> Result<Duration, InvalidRule> {
    let lifetime: Lifetime = text.parse().map_err(|error| InvalidRule::Length(field, error))?;
    Ok(lifetime.duration())
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    /// A NamespaceBinding for `feature-*` with these fields in its spec.
    pub(in crate::namespace_bindings) fn object(name: &str, spec: &Value) -> NamespaceBinding {
        let mut whole = json!({"namePattern": "feature-*", "clusterServiceClassExternalName": "cockroachdb"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1}, "spec": whole,
        }))
        .unwrap()
    }

    pub(in crate::namespace_bindings) fn rule(name: &str, spec: &Value) -> Rule {
        Rule::read(&object(name, spec)).unwrap()
    }

    fn namespace(name: &str, labels: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"name": name, "labels": labels})).unwrap()
    }

    #[rstest]
    #[case(json!({}), "feature-x", json!({}), true)]
    #[case(json!({}), "release-x", json!({}), false)]
    #[case(json!({"namePattern": "*"}), "kube-system", json!({}), false)]
    #[case(json!({"namePattern": "pr-?"}), "pr-12", json!({}), false)]
    #[case::both(json!({"namespaceSelector": {"matchLabels": {"ci": "yes"}}}), "feature-x", json!({"ci": "yes"}), true)]
    #[case::both(json!({"namespaceSelector": {"matchLabels": {"ci": "yes"}}}), "feature-x", json!({}), false)]
    #[case::both(json!({"namespaceSelector": {"matchLabels": {"ci": "yes"}}}), "other", json!({"ci": "yes"}), false)]
    #[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "ci", "operator": "Exists"}]}}), "feature-x", json!({"ci": ""}), true)]
    fn pattern_and_selector_must_both_hold(
        #[case] spec: Value,
        #[case] name: &str,
        #[case] labels: Value,
        #[case] selected: bool,
    ) {
        assert_eq!(rule("r", &spec).selects(&namespace(name, &labels)), selected);
    }

    #[test]
    fn the_instance_is_built_from_spec_and_namespace() {
        let rule = rule(
            "r",
            &json!({"clusterServicePlanExternalName": "small", "template": "demo", "reclaimPolicy": "retain",
                "parameters": {"owner": "{{ labels.team }}", "size": 2}}),
        );
        let made = rule.instance(&namespace("feature-x", &json!({"team": "blue"}))).unwrap();
        let expected = json!({"owner": "blue", "size": 2, "template": "demo", "reclaimPolicy": "retain"});
        assert_eq!(json!(made.parameters), expected);
        assert_eq!(made.cluster_service_plan_external_name.as_deref(), Some("small"));
        assert!(is_as_wanted(&made, &made));
        let error = rule.instance(&namespace("feature-x", &json!({}))).unwrap_err().to_string();
        assert!(error.starts_with("spec.parameters.owner: "), "{error}");
    }

    #[rstest]
    #[case(json!({"namePattern": "feature-**"}), "spec.namePattern: \"feature-**\"")]
    #[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}), "spec.namespaceSelector: ")]
    #[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": []}]}}), "spec.namespaceSelector: operator NotIn of key a needs values")]
    #[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}), "spec.namespaceSelector: operator Exists of key a takes no values")]
    #[case(json!({"env": "DATABASE_URL"}), "spec.env: ")]
    #[case(json!({"gracePeriod": "0s"}), "spec.gracePeriod: ")]
    #[case(json!({"ttl": {"after": "1h", "warnBefore": "1h"}}), "spec.ttl.warnBefore is not shorter")]
    #[case(json!({"ttl": {"after": "100000w"}}), "spec.ttl.after: ")]
    #[case(json!({"template": "a", "parameters": {"template": "b"}}), "spec.parameters.template and spec.template")]
    #[case(json!({"parameters": {"a": "{% if %}"}}), "spec.parameters.a: ")]
    fn invalid_values_are_named(#[case] spec: Value, #[case] beginning: &str) {
        let error = Rule::read(&object("r", &spec)).unwrap_err().to_string();
        assert!(error.starts_with(beginning), "{error}");
    }

    #[test]
    fn the_default_warning_is_a_tenth_of_the_ttl_and_at_most_an_hour() {
        let warning = |after: &str| rule("r", &json!({"ttl": {"after": after}})).ttl.unwrap().warning;
        assert_eq!(warning("100m"), Duration::from_mins(10));
        assert_eq!(warning("7d"), Duration::from_hours(1));
    }
}
