//! The webhook for ServiceBindings. A new binding gets its author, id, Secret name and finalizer, so that the answer
//! to the request is complete. The spec of a stored binding never changes: a changed spec is put back with a warning
//! instead of an error, because clients of the old API (kf) write their own spec again and again. A binding that names
//! Secrets needs an author who may get them.

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use serde_json::json;

use super::{
    authored::{Authored, AuthoredRequest, complete, decide, is_empty, say_the_same, unreadable},
    codec::MalformedReview,
    decision::Decision,
    handler::Handler,
    secret_rights::{Purpose, SecretRights},
};
use crate::{apis::servicecatalog::ServiceBinding, install::secret_approvals::Approvals};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/complete-bindings";

const SECRET_NAME: &str = "secretName";
const PURPOSE: Purpose = Purpose {
    field: "spec.parametersFrom or spec.secretTransforms",
    summary: "author forbidden access to a Secret of spec.parametersFrom or spec.secretTransforms",
    effect: "send its content to the broker or copy it to the Secret of the binding",
};
const KEPT: &str = "the spec of a ServiceBinding cannot change, and bindery kept the stored spec; for another spec, \
    delete the ServiceBinding and create it again";

/// Completes new ServiceBindings and keeps the spec of stored ones.
pub struct ServiceBindingHandler(SecretRights);

impl ServiceBindingHandler {
    /// Creates a handler that checks permissions with the API server and has approvals issued.
    #[must_use]
    pub fn new(client: Client, approvals: Approvals) -> Self {
        Self(SecretRights::new(client, approvals))
    }
}

impl Handler<Option<Authored>, Option<Authored>, UserInfo> for ServiceBindingHandler {
    const NAME: &'static str = "bindings";

    async fn review(&self, request: &AuthoredRequest) -> Result<Decision, MalformedReview> {
        let is_binding = request.is_of("servicecatalog.k8s.io", "ServiceBinding") && request.is_written();
        let Some(object) = request.object.as_ref().filter(|_| is_binding) else {
            return Ok(Decision::unchanged());
        };
        let Some(wanted) = object.members() else { return Ok(Decision::unchanged()) };
        let Some(before) = &request.old_object else {
            let mut spec = wanted.clone();
            complete(&mut spec, &request.user_info);
            if let Some(name) = object.name().filter(|_| is_empty(spec.get(SECRET_NAME))) {
                spec.insert(SECRET_NAME.to_owned(), json!(name));
            }
            return decide::<ServiceBinding>(request, object, &spec, &self.0, PURPOSE).await;
        };
        if let Some(refusal) = unreadable(before, object) {
            return Ok(refusal);
        }
        let stored = before.members().unwrap_or(wanted);
        let decision = decide::<ServiceBinding>(request, object, stored, &self.0, PURPOSE).await?;
        let is_kept = say_the_same(stored, wanted);
        Ok(if is_kept { decision } else { decision.with_warnings(vec![KEPT.to_owned()]) })
    }
}

#[cfg(test)]
mod tests;
