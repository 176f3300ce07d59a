//! The Secret of a binding that another Service Catalog controller wrote (`bindery migrate`): its content is kept, and the
//! broker is not asked, because it may give credentials only once.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use serde_json::Value;

use crate::{
    apis::servicecatalog::{ConditionType, ExternalResourceKind, ServiceBinding, ServiceBindingStatus},
    catalog::{context::Context, ledger::external_resource_name},
    osb::{BindResponse, Credentials, Object},
};

/// The content of the Secret if another controller bound the binding and the broker holds it: the binding is ready,
/// bindery has written nothing, and the ExternalResource shows that the id belongs to the binding.
pub(super) async fn content(
    binding: &ServiceBinding,
    existing: &[(String, Option<Secret>)],
    status: &ServiceBindingStatus,
    context: &Context,
) -> kube::Result<Option<(BindResponse, BTreeMap<String, ByteString>)>> {
    if !status.secrets.is_empty() || !status.conditions.is_true(ConditionType::Ready) {
        return Ok(None);
    }
    let Some(data) = written(binding, existing) else { return Ok(None) };
    let id = binding.spec.external_id.as_deref().unwrap_or_default();
    let uid = binding.metadata.uid.as_deref();
    let held = context.ledger.find(ExternalResourceKind::ServiceBinding, id, uid).await?;
    Ok(held.map(|_| (response(data), data.clone())))
}

/// Whether an ExternalResource of the binding is known.
pub(super) fn is_recorded(binding: &ServiceBinding, context: &Context) -> bool {
    let id = binding.spec.external_id.as_deref().unwrap_or_default();
    let name = external_resource_name(ExternalResourceKind::ServiceBinding, id);
    context.stores.external_resources.has(&ObjectRef::new(&name))
}

/// The data of the Secret that `spec.secretName` names.
fn written<'a>(
    binding: &ServiceBinding,
    existing: &'a [(String, Option<Secret>)],
) -> Option<&'a BTreeMap<String, ByteString>> {
    let name = binding.spec.secret_name.clone().unwrap_or_else(|| binding.name_any());
    let (_, secret) = existing.iter().find(|(known, _)| *known == name)?;
    secret.as_ref()?.data.as_ref()
}

/// The answer of the broker, as far as the Secret shows it. A value that is not text cannot become a variable.
fn response(data: &BTreeMap<String, ByteString>) -> BindResponse {
    let text = |value: &ByteString| String::from_utf8(value.0.clone()).ok();
    let credentials: Object =
        data.iter().filter_map(|(key, value)| Some((key.clone(), Value::from(text(value)?)))).collect();
    BindResponse { credentials: Some(Credentials::from(credentials)), ..BindResponse::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secret_that_the_spec_names_is_taken_over() {
        let binding: ServiceBinding = serde_json::from_value(json!({
            "metadata": {"name": "b"}, "spec": {"instanceRef": {"name": "i"}, "secretName": "s"},
        }))
        .unwrap();
        let secret = |text: &str| {
            let data = BTreeMap::from([
                ("password".to_owned(), ByteString(text.as_bytes().to_vec())),
                ("binary".to_owned(), ByteString(vec![0xff])),
            ]);
            Some(Secret { data: Some(data), ..Secret::default() })
        };
        let existing = [("b".to_owned(), secret("other")), ("s".to_owned(), secret("kept"))];
        let data = written(&binding, &existing).unwrap();
        assert_eq!(data["password"].0, b"kept");
        let response = response(data);
        let credentials = response.credentials.as_ref().unwrap().expose();
        assert_eq!(credentials["password"], "kept");
        assert!(!credentials.contains_key("binary"));
        assert!(written(&binding, &existing[..1]).is_none(), "a missing Secret is requested from the broker");
    }
}
