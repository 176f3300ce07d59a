//! What tests read of the broker's answers.

use serde_json::Value;

pub(crate) use crate::platform::text;

/// What a broker's answer says.
pub(crate) fn description(body: &Value) -> &str {
    body["description"].as_str().unwrap()
}
