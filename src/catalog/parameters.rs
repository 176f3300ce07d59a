//! The parameters of a request to a broker: what the spec holds, what Secrets hold, and the defaults of class and plan.
//! `catalog::approved_secrets` reads the Secrets. Pure.
//!
//! The rules and the checksum are those of service-catalog (`pkg/controller/parameters.go`), so that an adopted object
//! needs no update.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    k8s::trim::{is_cut, too_deep},
    osb::Object,
};

/// The value that statuses show in place of a value from a Secret.
const REDACTED: &str = "<redacted>";
/// Shorter texts from a Secret are not searched in messages, because they occur everywhere.
const SHORTEST_SECRET: usize = 4;

/// Why parameters cannot be sent. No message quotes a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParametersError {
    #[error("conflict: duplicate entry for parameter {0:?}; remove it from all but one of its sources")]
    Duplicate(String),
    #[error(
        "the key {key:?} of Secret {secret}, which spec.parametersFrom names, holds no JSON object; write one, such as \
         {{\"name\": \"value\"}}"
    )]
    NotAnObject { secret: String, key: String },
    #[error("{0}")]
    TooDeep(String),
}

/// The parameters of one request. `Debug` shows them redacted.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Parameters {
    real: Object,
    /// The names whose values come from Secrets.
    secret: Vec<String>,
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parameters").field(&self.shown()).finish()
    }
}

/// The JSON object in a key of a Secret.
pub(super) fn of_secret(secret: &str, key: &str, value: &[u8]) -> Result<Object, ParametersError> {
    // The parser's own message would quote the value.
    serde_json::from_slice(value)
        .map_err(|_| ParametersError::NotAnObject { secret: secret.to_owned(), key: key.to_owned() })
}

impl Parameters {
    /// Merges the parameters of the spec with those from Secrets. No parameter may have two sources.
    pub(super) fn merge(
        of_spec: Option<&Object>,
        of_secrets: impl IntoIterator<Item = Object>,
    ) -> Result<Self, ParametersError> {
        let of_spec = of_spec.cloned().unwrap_or_default();
        if of_spec.values().any(is_cut) {
            return Err(ParametersError::TooDeep(too_deep("spec.parameters")));
        }
        let mut merged = Self { real: of_spec, secret: Vec::new() };
        for (name, value) in of_secrets.into_iter().flatten() {
            if merged.real.contains_key(&name) {
                return Err(ParametersError::Duplicate(name));
            }
            merged.secret.push(name.clone());
            merged.real.insert(name, value);
        }
        Ok(merged)
    }

    /// The same parameters with defaults for those that are not set.
    pub(super) fn or_defaults(mut self, defaults: Option<&Object>) -> Self {
        for (name, value) in defaults.into_iter().flatten() {
            self.real.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// The parameters for the broker; `None` if there are none.
    pub(super) fn to_send(&self) -> Option<Object> {
        (!self.real.is_empty()).then(|| self.real.clone())
    }

    /// The parameters for a status: those from Secrets are redacted.
    pub(super) fn shown(&self) -> Option<Object> {
        let mut shown = self.to_send()?;
        for name in &self.secret {
            shown.insert(name.clone(), json!(REDACTED));
        }
        Some(shown)
    }

    /// SHA-256 of the parameters; `None` if there are none.
    pub(super) fn checksum(&self) -> Option<String> {
        let text = go_json(&Value::Object(self.to_send()?));
        Some(hex::encode(Sha256::digest(text)))
    }

    /// A message without the values from Secrets, because a broker may quote a parameter that it refuses.
    pub(super) fn redacted(&self, message: &str) -> String {
        let mut secrets = Vec::new();
        for value in self.secret.iter().filter_map(|name| self.real.get(name)) {
            texts(value, &mut secrets);
        }
        // The longest first, because a secret may contain another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(message.to_owned(), |message, secret| message.replace(secret.as_str(), REDACTED))
    }
}

/// What a status shows of parameters, without those from Secrets.
pub(super) fn without_redacted(shown: &Object) -> Object {
    let mut known = shown.clone();
    known.retain(|_, value| *value != json!(REDACTED));
    known
}

/// The defaults for a new instance: those of the plan count before those of the class.
pub(super) fn defaults(of_class: Option<&Object>, of_plan: Option<&Object>) -> Option<Object> {
    let mut defaults = of_class.cloned().unwrap_or_default();
    defaults.extend(of_plan.cloned().unwrap_or_default());
    (!defaults.is_empty()).then_some(defaults)
}

/// Collects all texts and numbers of a value that are long enough to be recognised.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
    found.retain(|text| text.len() >= SHORTEST_SECRET);
}

/// The text that Go's `encoding/json` writes for a value: members are sorted, HTML is escaped, numbers are floats.
fn go_json(value: &Value) -> String {
    match value {
        Value::Number(number) => go_number(number),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(go_json).collect();
            format!("[{}]", values.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members: Vec<_> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", go_json(&json!(name)), go_json(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::String(_) => {
            let mut text = value.to_string();
            let escapes = [
                ("<", "\\u003c"),
                (">", "\\u003e"),
                ("&", "\\u0026"),
                ("\u{2028}", "\\u2028"),
                ("\u{2029}", "\\u2029"),
            ];
            for (char, escape) in escapes {
                text = text.replace(char, escape);
            }
            text
        }
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

fn go_number(number: &serde_json::Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if float == 0.0 || (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn parameters_of_the_spec_and_of_secrets_are_merged_and_the_latter_are_redacted() {
        let spec = object(json!({"size": 3}));
        let merged =
            Parameters::merge(Some(&spec), [object(json!({"password": "hunter2", "more": {"a": [1]}}))])
                .unwrap();
        assert_eq!(
            merged.to_send(),
            Some(object(json!({"size": 3, "password": "hunter2", "more": {"a": [1]}})))
        );
        let shown = object(json!({"size": 3, "password": "<redacted>", "more": "<redacted>"}));
        assert_eq!(merged.shown(), Some(shown));
        assert!(!format!("{merged:?}").contains("hunter2"));
    }

    #[test]
    fn a_parameter_with_two_sources_is_a_conflict() {
        let one = object(json!({"a": 1}));
        let expected = Err(ParametersError::Duplicate("a".to_owned()));
        assert_eq!(Parameters::merge(Some(&one), [one.clone()]), expected);
        assert_eq!(Parameters::merge(None, [one.clone(), one.clone()]), expected);
        let message = ParametersError::Duplicate("a".to_owned()).to_string();
        assert!(message.starts_with("conflict: duplicate entry for parameter \"a\""), "{message}");
    }

    #[test]
    fn a_secret_must_hold_a_json_object_and_is_never_quoted() {
        for value in ["hunter2", "[1]", "\"hunter2\"", "{\"a\": hunter2}", ""] {
            let message = of_secret("params", "json", value.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("Secret params") && !message.contains("hunter2"), "{message}");
        }
        assert_eq!(of_secret("params", "json", b"{\"a\": 1}").unwrap(), object(json!({"a": 1})));
    }

    #[test]
    fn no_parameters_at_all_are_left_out() {
        let none = Parameters::merge(Some(&Object::new()), []).unwrap();
        assert_eq!((none.to_send(), none.shown(), none.checksum()), (None, None, None));
    }

    #[test]
    fn defaults_count_below_the_parameters_and_the_plan_before_the_class() {
        let class = object(json!({"a": "class", "b": "class"}));
        let plan = object(json!({"b": "plan", "c": "plan"}));
        let defaults = defaults(Some(&class), Some(&plan));
        assert_eq!(defaults, Some(object(json!({"a": "class", "b": "plan", "c": "plan"}))));
        let own = object(json!({"c": "spec"}));
        let merged = Parameters::merge(Some(&own), []).unwrap().or_defaults(defaults.as_ref());
        assert_eq!(merged.to_send(), Some(object(json!({"a": "class", "b": "plan", "c": "spec"}))));
        assert_eq!(super::defaults(None, Some(&Object::new())), None);
    }

    #[test]
    fn the_checksum_is_that_of_service_catalog_and_covers_values_from_secrets() {
        // The text that Go writes: {"a":"\u003cb\u003e \u0026","n":[1,1.5,1e+21,2e-7]}
        let spec = object(json!({"n": [1, 1.5, 1e21, 2e-7], "a": "<b> &"}));
        let merged = Parameters::merge(Some(&spec), []).unwrap();
        let go = r#"{"a":"\u003cb\u003e \u0026","n":[1,1.5,1e+21,2e-7]}"#;
        assert_eq!(go_json(&json!(spec)), go);
        assert_eq!(merged.checksum().unwrap().len(), 64);
        let secret =
            |value: &str| Parameters::merge(None, [object(json!({"password": value}))]).unwrap().checksum();
        assert_ne!(secret("a"), secret("b"));
    }

    #[test]
    fn a_message_of_the_broker_does_not_repeat_a_value_from_a_secret() {
        let merged = Parameters::merge(
            Some(&object(json!({"size": "large"}))),
            [object(json!({"password": "hunter2", "keys": ["hunter2-longer", 12345], "flag": "on"}))],
        )
        .unwrap();
        assert_eq!(
            merged.redacted("hunter2 and hunter2-longer and 12345 are too short, large, on"),
            "<redacted> and <redacted> and <redacted> are too short, large, on"
        );
    }

    #[test]
    fn a_value_that_was_not_read_is_refused() {
        let cut =
            object(json!({"a": "bindery.dev: this value nests deeper than 100 levels and is not read"}));
        let error = Parameters::merge(Some(&cut), []).unwrap_err();
        assert!(error.to_string().starts_with("spec.parameters is nested deeper"), "{error}");
    }
}
