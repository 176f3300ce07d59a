//! Readable errors of the API server. kube's own text repeats the whole status, and quotes an unreadable answer,
//! which may contain a Secret.

use kube::{core::Status, runtime::watcher};

/// The reason of an error in one sentence, without quoting the answer.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        kube::Error::SerdeError(error) => {
            format!("the API server's answer cannot be read: {}", without_values(&error.to_string()))
        }
        other => other.to_string(),
    }
}

/// Whether the API server refuses a new object because the namespace is being deleted.
#[must_use]
pub fn is_for_terminating_namespace(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_forbidden() && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// Why a watch was interrupted, without quoting the answer.
#[must_use]
pub fn explain_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("the list failed: {}", explain(error)),
        watcher::Error::WatchStartFailed(error) => format!("the watch did not start: {}", explain(error)),
        watcher::Error::WatchFailed(error) => format!("the watch failed: {}", explain(error)),
        watcher::Error::WatchError(status) => format!("the watch ended: {}", status.message),
        other @ watcher::Error::NoResourceVersion => other.to_string(),
    }
}

/// serde's message about a value of the wrong type, without the value.
#[must_use]
pub fn without_values(message: &str) -> String {
    const UNQUOTED: [&str; 3] = ["missing field `", "duplicate field `", "invalid length "];
    if UNQUOTED.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    let found = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    // The value comes before the expectation and may contain the same words.
    match found.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let kind: String = found.chars().take_while(|char| !matches!(char, '"' | '`')).collect();
            format!("found {}, expected {expected}", kind.trim())
        }
        None => "a field has a value that its kind does not allow".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::{Pod, Secret};

    use super::super::error::*;

    fn explained<T: serde::de::DeserializeOwned + std::fmt::Debug>(answer: &str) -> String {
        explain(&kube::Error::SerdeError(serde_json::from_str::<T>(answer).unwrap_err()))
    }

    #[test]
    fn errors_about_unreadable_answers_quote_no_values() {
        let said = [
            explained::<Secret>(r#"{"data": "canary, expected canary"}"#),
            explained::<Secret>(r#"{"data": {"password": ["canary"]}}"#),
            explained::<Secret>(r#"{"data": {"password": "canary!"}}"#),
            explained::<Pod>(r#"{"spec": {"containers": "canary"}}"#),
            explained::<Pod>(r#"{"metadata": "canary"}"#),
            explained::<BTreeMap<String, u8>>(r#"{"a": 999, "b": "canary"}"#),
            explained::<std::ops::Bound<u8>>(r#""canary""#),
            explained::<Pod>(r"canary"),
        ];
        for said in said {
            assert!(!said.contains("canary") && !said.contains("999"), "{said}");
            assert!(said.starts_with("the API server's answer cannot be read: "), "{said}");
        }
        let said = explained::<Pod>(r#"{"spec": {"containers": "canary"}}"#);
        assert!(said.contains("found string, expected"), "{said}");
    }
}
