//! Whether a binding's spec is still the one from which its credentials were made. A binding cannot be changed: the webhook puts
//! a changed spec back. What changed while the webhook was away is reported and never applied. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::apis::servicecatalog::{ConditionType, ServiceBindingSpec, ServiceBindingStatus, reasons};

/// How many bytes of a checksum are kept: enough to notice a change.
const KEPT: usize = 8;

/// A checksum for each field.
pub(super) fn checksums(spec: &ServiceBindingSpec) -> BTreeMap<String, String> {
    let fields = [
        ("externalID", json!(spec.external_id)),
        ("instanceRef", json!(spec.instance_ref)),
        ("parameters", json!(spec.parameters)),
        ("parametersFrom", json!(spec.parameters_from)),
        ("secretName", json!(spec.secret_name)),
        ("secretTransforms", json!(spec.secret_transforms)),
    ];
    let checksum = |value: &Value| hex::encode(&Sha256::digest(value.to_string())[..KEPT]);
    fields.into_iter().map(|(field, value)| (field.to_owned(), checksum(&value))).collect()
}

/// The fields that have changed since the credentials were made. Empty if none were made, or by a version of bindery that kept
/// no checksums.
pub(super) fn changed(spec: &ServiceBindingSpec, status: &ServiceBindingStatus) -> Vec<String> {
    if status.secrets.is_empty() {
        return Vec::new();
    }
    let mut present = checksums(spec);
    // A client that dropped the id from the spec of rotated credentials gets back the one in force.
    if spec.external_id.is_some() && spec.external_id == status.external_id {
        present.extend(
            status
                .spec_checksums
                .get_key_value("externalID")
                .map(|(field, made)| (field.clone(), made.clone())),
        );
    }
    let made = status.spec_checksums.iter();
    made.filter(|(field, made)| present.get(*field) != Some(made))
        .map(|(field, _)| format!("spec.{field}"))
        .collect()
}

/// Whether the status reports a change.
pub(super) fn is_reported(status: &ServiceBindingStatus) -> bool {
    let ready = status.conditions.get(ConditionType::Ready);
    ready.is_some_and(|ready| ready.reason == reasons::SPEC_CHANGE_IGNORED)
}

/// What to tell about changed fields.
pub(super) fn message(fields: &[String]) -> String {
    format!(
        "The credentials are in use, but {} changed after they were made. bindery does not apply the change, nor repair the \
        Secrets meanwhile: write the former value back, or delete the binding and create it again",
        fields.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::{NameReference, binding::WrittenSecret};

    #[test]
    fn a_change_after_the_credentials_were_made_is_noticed() {
        let mut spec = ServiceBindingSpec {
            instance_ref: NameReference { name: "db".to_owned() },
            secret_name: Some("b".to_owned()),
            ..ServiceBindingSpec::default()
        };
        let mut status =
            ServiceBindingStatus { spec_checksums: checksums(&spec), ..ServiceBindingStatus::default() };
        spec.secret_name = Some("c".to_owned());
        assert!(changed(&spec, &status).is_empty(), "nothing is made yet");
        status.secrets = vec![WrittenSecret {
            name: "b".to_owned(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
        }];
        assert_eq!(changed(&spec, &status), ["spec.secretName"]);
        spec.instance_ref.name = "other".to_owned();
        let fields = changed(&spec, &status);
        assert_eq!(fields, ["spec.instanceRef", "spec.secretName"]);
        assert!(message(&fields).contains("spec.instanceRef, spec.secretName changed"));
        let mut dropped = spec.clone();
        (dropped.instance_ref.name, dropped.secret_name) = ("db".to_owned(), Some("b".to_owned()));
        dropped.external_id = Some("new".to_owned());
        assert_eq!(changed(&dropped, &status), ["spec.externalID"]);
        status.external_id = Some("new".to_owned());
        assert!(changed(&dropped, &status).is_empty(), "the id in force was put back");
        status.spec_checksums.clear();
        assert!(changed(&spec, &status).is_empty(), "an earlier version kept none");
    }
}
