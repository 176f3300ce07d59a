//! `bindery policy-webhook`: what the chart needs to register the webhook that judges policies. For `make generate`.

use crate::policy::cel::webhook_rules;

/// Prints the rules and conditions as YAML.
///
/// # Errors
/// When they cannot be written as YAML.
pub(super) fn run() -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(&webhook_rules())?;
    Ok(format!("# Written by `make generate`.\n{text}\n"))
}
