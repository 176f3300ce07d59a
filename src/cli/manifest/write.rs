//! Writes YAML that every reader understands alike, whether it follows YAML 1.1, YAML 1.2 or go-yaml. Strings that
//! one of them would read as another type are quoted.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};
use serde_json::Value;
use serde_saphyr::{DoubleQuoted, ser_options};

/// The value as YAML, without line folding: folded text is hard to read and to compare.
pub(super) fn to_yaml(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string_with_options(&Written(value), ser_options! { folded_wrap_chars: usize::MAX })
}

/// A value with the formatting of this module.
struct Written<'a>(&'a Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if is_no_block(text) => DoubleQuoted(text).serialize(serializer),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Self(item))?;
                }
                list.end()
            }
            Value::Object(entries) => {
                let mut mapping = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    mapping.serialize_entry(name, &Self(value))?;
                }
                mapping.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Whether a text of several lines must not be written as a block. Readers differ about white space at the start of a
/// block, above all tabs, which `kubectl` reads as indentation.
fn is_no_block(text: &str) -> bool {
    text.contains('\n') && text.starts_with(char::is_whitespace)
}
