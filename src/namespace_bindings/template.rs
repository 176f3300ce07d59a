//! Templates in parameters, rendered with the name, labels and annotations of a namespace. Pure. The templates come from an
//! administrator; the values come from users and are never interpreted as templates.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

use crate::osb::Object;

/// The maximum number of steps of a template, so that none can block the planner.
const FUEL: u64 = 10_000;

/// The values that templates can use.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) annotations: &'a BTreeMap<String, String>,
}

impl Vocabulary<'_> {
    fn values(&self) -> minijinja::Value {
        let map = |entries: &BTreeMap<String, String>| {
            minijinja::Value::from_pairs(entries.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        minijinja::Value::from_pairs([
            ("name", minijinja::Value::from(self.name)),
            ("labels", map(self.labels)),
            ("annotations", map(self.annotations)),
        ])
    }
}

/// A template is invalid, or cannot be rendered for a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(super) struct TemplateError {
    field: String,
    problem: String,
}

/// Checks the syntax of templates.
pub(super) fn check(parameters: &Object) -> Result<(), TemplateError> {
    let environment = environment();
    each(parameters, &mut |field, text| {
        environment.template_from_str(text).map(|_| String::new()).map_err(|error| TemplateError {
            field: field.to_owned(),
            problem: format!(
                "{} in {text:?}; write {{{{ name }}}}, {{{{ labels.team }}}} or {{{{ annotations[\"example.com/owner\"] }}}}",
                said(&error)
            ),
        })
    })
    .map(drop)
}

/// Renders the parameters for a namespace.
pub(super) fn fill(parameters: &Object, with: &Vocabulary<'_>) -> Result<Object, TemplateError> {
    let environment = environment();
    let known = with.values();
    each(parameters, &mut |field, text| {
        environment.render_str(text, known.clone()).map_err(|error| TemplateError {
            field: field.to_owned(),
            problem: format!(
                "{text:?} cannot be rendered for the namespace {}: {}; give it the label or annotation, or add a default: \
                 {{{{ labels.team | default(\"none\") }}}}",
                with.name,
                said(&error)
            ),
        })
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
}

fn said(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

/// The object with each of its strings replaced, at any depth.
fn each(
    object: &Object,
    replace: &mut impl FnMut(&str, &str) -> Result<String, TemplateError>,
) -> Result<Object, TemplateError> {
    let entry = |(name, value): (&String, &Value)| {
        Ok((name.clone(), replaced(&format!("spec.parameters.{name}"), value, replace)?))
    };
    object.iter().map(entry).collect()
}

fn replaced(
    field: &str,
    value: &Value,
    replace: &mut impl FnMut(&str, &str) -> Result<String, TemplateError>,
) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => Value::String(replace(field, text)?),
        Value::Array(values) => {
            let entry = |(index, value)| replaced(&format!("{field}[{index}]"), value, replace);
            Value::Array(values.iter().enumerate().map(entry).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let entry = |(name, value): (&String, &Value)| {
                Ok((name.clone(), replaced(&format!("{field}.{name}"), value, replace)?))
            };
            Value::Object(members.iter().map(entry).collect::<Result<_, TemplateError>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn filled(parameters: &Value) -> Result<Value, String> {
        let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        let annotations = BTreeMap::from([("example.com/owner".to_owned(), "{{ name }}".to_owned())]);
        let with = Vocabulary { name: "feature-x", labels: &labels, annotations: &annotations };
        fill(&object(parameters), &with).map(Value::Object).map_err(|error| error.to_string())
    }

    #[rstest]
    #[case(json!({"a": "{{ name }}-{{ labels.team }}"}), json!({"a": "feature-x-blue"}))]
    #[case(json!({"a": [{"b": "{{ name }}"}, 1, true, null]}), json!({"a": [{"b": "feature-x"}, 1, true, null]}))]
    #[case(json!({"a": "{{ labels.app | default('none') }}"}), json!({"a": "none"}))]
    #[case(json!({"a": "{{ name | upper }} <&>"}), json!({"a": "FEATURE-X <&>"}))]
    #[case::what_users_write_is_no_template(json!({"a": "{{ annotations['example.com/owner'] }}"}), json!({"a": "{{ name }}"}))]
    fn templates_use_the_values_of_namespaces(#[case] parameters: Value, #[case] expected: Value) {
        assert_eq!(filled(&parameters), Ok(expected));
    }

    #[rstest]
    #[case(json!({"a": "{{ labels.app }}"}), "spec.parameters.a: ", "feature-x")]
    #[case(json!({"a": {"b": ["x", "{{ nothing }}"]}}), "spec.parameters.a.b[1]: ", "default(")]
    #[case::endless(json!({"a": "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}"}), "spec.parameters.a: ", "fuel")]
    fn missing_values_are_named(#[case] parameters: Value, #[case] field: &str, #[case] word: &str) {
        let error = filled(&parameters).unwrap_err();
        assert!(error.starts_with(field) && error.contains(word), "{error}");
    }

    #[test]
    fn invalid_templates_are_found_before_a_namespace_needs_them() {
        let error = check(&object(&json!({"a": "{{ name"}))).unwrap_err().to_string();
        assert!(error.starts_with("spec.parameters.a: ") && error.contains("{{ labels.team }}"), "{error}");
        assert_eq!(check(&object(&json!({"a": "{{ labels.missing }}", "b": 1}))), Ok(()));
    }
}
