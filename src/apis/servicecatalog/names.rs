//! Optional strings as Go clients send them: an empty string means that the field is absent. Pure.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::IntoDeserializer};

use super::OBJECT_NAME_PATTERN;

/// Reads an empty string or `null` as an absent value (Go serialises the zero value of every field).
pub(crate) fn absent_if_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| T::deserialize(text.into_deserializer())).transpose()
}

/// The schema of an optional name of a class or plan in a broker's catalog; empty means absent.
pub(super) fn optional_external_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "maxLength": 255})
}

/// The schema of an optional object name that becomes part of a path (RFC 1123 subdomain); empty means absent.
pub(super) fn optional_object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "maxLength": 253, "pattern": format!("^$|{OBJECT_NAME_PATTERN}")})
}

/// The schema of an optional duration such as `1h30m`; empty means absent.
pub(super) fn optional_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "maxLength": 64, "pattern": r"^$|^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"})
}

/// The schema of an optional word from a list; empty means absent.
pub(super) fn optional_word(words: &[&str]) -> Schema {
    let words: Vec<_> = words.iter().chain(&[""]).collect();
    json_schema!({"type": "string", "nullable": true, "enum": words})
}

/// Reads `null` as the default (Go serialises an empty list or map as `null`).
pub(super) fn default_if_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
