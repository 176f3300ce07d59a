//! Reads `null` as an absent optional field, because some platforms and brokers write it.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the field's default. Use it with `#[serde(default)]`.
pub(crate) fn as_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
