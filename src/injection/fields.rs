//! Access to fields of raw JSON, with the rules of Kubernetes.

use serde_json::{Map, Value};

use super::error::{InjectError, Problem};

/// A list in the object; `null` counts as absent, as in Kubernetes.
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

/// Replaces a variable in a container's `env` when only the variable's name matters, because it has a literal value. A
/// pod may have thousands of these; a map for each would take most of the time and memory of decoding. The decoder
/// creates it, and it never leaves the process.
pub(crate) struct NameOnly;

impl NameOnly {
    /// The placeholder for a variable of this name.
    pub(crate) fn of(name: String) -> Value {
        Value::String(name)
    }

    /// The name, if the entry is a placeholder.
    fn read(entry: &Value) -> Option<&str> {
        entry.as_str()
    }
}

/// The name of a container's variable.
pub(super) fn variable_name(variable: &Value) -> Option<&str> {
    NameOnly::read(variable).or_else(|| text(variable, &["name"]))
}
