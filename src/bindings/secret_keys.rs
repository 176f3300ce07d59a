//! The keys and values of a binding's Secret: one key for each of the broker's credentials, with strings unchanged and
//! other values as JSON. Pure. Refuses keys and sizes that Kubernetes does not allow in a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::{
    key_names::{is_key, shortened},
    secrets::SecretError,
    transforms::SecretContent,
    values::MAX_SIZE,
};

/// The credentials as a Secret's data.
pub(crate) fn secret_data(content: SecretContent) -> Result<BTreeMap<String, ByteString>, SecretError> {
    let data = content
        .into_data()
        .map(
            |(key, value)| {
                if is_key(&key) { Ok((key, value)) } else { Err(SecretError::Key(shortened(&key))) }
            },
        )
        .collect::<Result<_, _>>()?;
    check_size("the credentials", &data)?;
    Ok(data)
}

/// Refuses data that exceeds the maximum size of a Secret.
pub(crate) fn check_size(what: &'static str, data: &BTreeMap<String, ByteString>) -> Result<(), SecretError> {
    let bytes = data.values().map(|value| value.0.len()).sum();
    if bytes > MAX_SIZE { Err(SecretError::TooLarge { what, bytes, limit: MAX_SIZE }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::osb::Credentials;

    fn credentials(value: &serde_json::Value) -> SecretContent {
        SecretContent::from(&Credentials::from(value.as_object().unwrap().clone()))
    }

    #[test]
    fn strings_are_raw_and_the_rest_json() {
        let data =
            secret_data(credentials(&json!({"password": "a\"b", "port": 1, "hosts": ["x"], "tls": true})))
                .unwrap();
        let values =
            ["password", "port", "hosts", "tls"].map(|key| std::str::from_utf8(&data[key].0).unwrap());
        assert_eq!(values, ["a\"b", "1", "[\"x\"]", "true"]);
        assert!(
            matches!(secret_data(credentials(&json!({"a/b": ""}))), Err(SecretError::Key(key)) if key == "a/b")
        );
    }

    #[test]
    fn what_no_secret_can_hold_is_refused_with_key_and_limit() {
        let refused = |value: serde_json::Value| secret_data(credentials(&value)).unwrap_err().to_string();
        for key in ["", "a b", "..", "..data", ".", "ü", &"k".repeat(254)] {
            let told = refused(json!({key: "hunter2"}));
            assert!(
                told.contains(&shortened(key)) && told.contains("253") && !told.contains("hunter2"),
                "{told}"
            );
        }
        secret_data(credentials(&json!({".hidden": "", "a..b": "", "k".repeat(253): ""}))).unwrap();
        let half = "x".repeat(MAX_SIZE / 2);
        secret_data(credentials(&json!({"a": half, "b": half}))).unwrap();
        let told = refused(json!({"a": half, "b": half, "c": "1"}));
        assert!(told.contains("1048577") && told.contains("1048576"), "{told}");
    }
}
