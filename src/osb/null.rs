//! `null` in the place of an optional field: some platforms and brokers write it for a field that is absent.

use serde::{Deserialize, Deserializer};

/// Reads a field whose default stands for `null`, too. Goes with `#[serde(default)]`.
pub(crate) fn as_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
