//! Access to the fields of the broker's answers.

use serde_json::Value;

pub(crate) use crate::platform::text;

/// The description in a broker's answer.
pub(crate) fn description(body: &Value) -> &str {
    body["description"].as_str().unwrap()
}
