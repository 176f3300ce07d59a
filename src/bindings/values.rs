//! The values of a Secret: credentials as text, and how much a Secret can hold. Pure.

use serde_json::Value;

/// The maximum size of a Secret's data (`MaxSecretSize` of Kubernetes' core API).
pub(super) const MAX_SIZE: usize = 1 << 20;

/// A credential's value as it is written to a Secret: strings unchanged, everything else as JSON (service-catalog
/// `pkg/controller/controller_binding.go`, `injectServiceBinding`).
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
