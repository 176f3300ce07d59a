//! Settings that a backend parses. The configuration keeps their path and values without interpreting them.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ConfigError;
use crate::osb::Object;

/// An object of the configuration that only a backend parses.
#[derive(Clone, Debug, Default)]
pub struct RawSettings {
    /// The object's path, for errors.
    field: String,
    values: Object,
    /// Secrets from the source of the configuration, which must not be shown.
    secrets: BTreeMap<String, SecretString>,
    /// The object's other fields, which the configuration parses.
    neutral: &'static [&'static str],
}

impl RawSettings {
    /// Settings at this path of the configuration.
    #[must_use]
    pub fn new(field: impl Into<String>, values: Object) -> Self {
        Self { field: field.into(), values, ..Self::default() }
    }

    /// Adds the object's other fields, so that errors name them as well.
    pub(super) fn beside(self, neutral: &'static [&'static str]) -> Self {
        Self { neutral, ..self }
    }

    /// Adds a secret that is not in a file. [`RawSettings::parse`] does not see it.
    #[must_use]
    pub fn with_secret(mut self, name: &str, secret: SecretString) -> Self {
        self.secrets.insert(name.to_owned(), secret);
        self
    }

    /// Sets a field.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// The named secret, if the source of the configuration holds one.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        self.secrets.get(name)
    }

    /// The object's path, for errors.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The path of a field, for errors.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.field)
    }

    /// Parses the fields.
    ///
    /// # Errors
    /// When a field is unknown or invalid; the error names its path.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        parse(Value::Object(self.values.clone()), &self.field, self.neutral)
    }
}

/// Parses a value at the path `field`. An error about an unknown field lists the `neutral` fields, too.
pub(super) fn parse<T: DeserializeOwned>(
    value: Value,
    field: &str,
    neutral: &[&str],
) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        let is_outermost = !path.contains('.');
        let mut problem = error.into_inner().to_string();
        if problem.starts_with("unknown field") && is_outermost && !neutral.is_empty() {
            problem = problem.replace("expected `", "expected one of `");
            problem.extend(neutral.iter().map(|name| format!(", `{name}`")));
        }
        ConfigError::invalid(field, format!("cannot be read: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        #[expect(dead_code, reason = "only its name matters")]
        region: Option<Nested>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        #[expect(dead_code, reason = "only its name matters")]
        name: Option<String>,
    }

    fn message(values: &Value) -> String {
        let settings = RawSettings::new("backends.cloud", values.as_object().unwrap().clone());
        settings.beside(&["type", "limits"]).parse::<Own>().unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_named_with_its_path_and_all_fields_of_the_object() {
        let unknown = message(&json!({"regoin": {}}));
        assert!(unknown.starts_with("backends.cloud"), "{unknown}");
        assert!(unknown.ends_with("expected one of `region`, `type`, `limits`"), "{unknown}");
        let nested = message(&json!({"region": {"name": 1}}));
        assert!(nested.starts_with("backends.cloud.region.name cannot be read"), "{nested}");
        let nested = message(&json!({"region": {"nam": 1}}));
        assert!(nested.contains("backends.cloud.region") && !nested.contains("limits"), "{nested}");
    }

    #[test]
    fn a_secret_is_not_among_what_is_shown() {
        let settings = RawSettings::new("f", Object::new()).with_secret("password", "s3cret".into());
        assert!(settings.secret("password").is_some());
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }
}
