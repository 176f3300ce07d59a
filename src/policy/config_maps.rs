//! Credentials in ConfigMaps. Each entry is judged as if it were a variable of its name, which it becomes by `envFrom`.

use serde_json::{Value, json};

/// The longest entry that the API server judges, in characters. Longer ones are files.
pub(super) const LONGEST_ENTRY: usize = 8192;
/// The most text that the API server judges, in characters: more would cost more than the API server grants.
pub(super) const MOST_TEXT: usize = 65_536;

/// The entries of a ConfigMap in the form of variables, each with its place. Empty for objects of other kinds.
pub(super) fn entries(object: &Value) -> impl Iterator<Item = (String, Value)> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let is_one = text("apiVersion") == "v1" && text("kind") == "ConfigMap";
    let data = object.get("data").and_then(Value::as_object).filter(|_| is_one);
    data.into_iter()
        .flatten()
        .map(|(name, value)| (format!("data[{name}]"), json!({"name": name, "value": value})))
}

/// Whether a change touches the entries. ConfigMaps that are older than the policy keep what they have.
pub(super) fn is_touched(before: Option<&Value>, after: &Value) -> bool {
    let is_deleted = after.pointer("/metadata/deletionTimestamp").is_some();
    before.is_none_or(|before| !is_deleted && before.get("data") != after.get("data"))
}
