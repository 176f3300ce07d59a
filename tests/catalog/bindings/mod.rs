//! ServiceBindings: what their Secrets hold, and how the broker is asked for credentials.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod asynchronous;
mod content;
mod mitigation;
mod parameters;
mod rotation;
mod rotation_failures;
mod spec_changes;

use bindery::apis::servicecatalog::{ServiceBinding, UsesSecrets};
use kube::{ResourceExt, api::PostParams};
use serde_json::{Value, json};

use crate::harness::{Place, approvals};

/// A binding of the instance `db` with these further fields, which the webhook has approved.
async fn bind(place: &Place, name: &str, annotations: Value, spec: Value) {
    let mut body = json!({"instanceRef": {"name": "db"}});
    body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut binding: ServiceBinding = serde_json::from_value(json!({
        "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
        "metadata": {"name": name, "namespace": place.namespace, "annotations": annotations}, "spec": body,
    }))
    .unwrap();
    if !binding.secrets().is_empty() {
        let approval = approvals(&place.client).issue(&binding.checked()).await.unwrap();
        binding.annotations_mut().insert("bindery.dev/secret-approval".to_owned(), approval);
    }
    place.api::<ServiceBinding>().create(&PostParams::default(), &binding).await.unwrap();
}

/// The status of a binding.
async fn status(place: &Place, name: &str) -> Value {
    let binding: ServiceBinding = place.api().get(name).await.unwrap();
    json!(binding)["status"].clone()
}
