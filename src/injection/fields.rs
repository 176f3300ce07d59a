//! Fields of raw JSON, read as Kubernetes reads them.

use serde_json::{Map, Value};

use super::error::{InjectError, Problem};

/// A list of the object; `null` counts as absent, as it does for Kubernetes.
pub(super) fn list<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    field: impl Fn() -> String,
) -> Result<Option<&'a [Value]>, InjectError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(entries)) => Ok(Some(entries)),
        Some(_) => Err(InjectError::new(field(), Problem::Shape("a list"))),
    }
}

/// The text at a path of fields.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, field| value.get(field))?.as_str()
}

/// The name of a container's variable. The webhook reads of most variables nothing else, and then they are their name.
pub(super) fn variable_name(variable: &Value) -> Option<&str> {
    variable.as_str().or_else(|| text(variable, &["name"]))
}
