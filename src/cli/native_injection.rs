//! `bindery native-injection`: what the chart needs to let the API server bind pods. For `make generate`.

use crate::injection::native;

/// Prints the expressions as YAML.
///
/// # Errors
/// When they cannot be written as YAML.
pub(super) fn run() -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(&native::compile())?;
    Ok(format!("# Written by `make generate`.\n{text}\n"))
}
