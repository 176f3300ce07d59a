//! The webhook for ServiceInstances. A new instance gets its author, id and finalizer, so that the answer to the
//! request is complete. A changed spec gets its new author; the references to class and plan are bindery's and change
//! only with the names. An instance that names Secrets needs an author who may get them. The webhook has no right to
//! read the catalog, so the plan of a class with one plan comes from the controller.

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use serde_json::{Map, Value, json};

use super::{
    authored::{
        Authored, AuthoredRequest, EXTERNAL_ID, USER_INFO, author, complete, decide, is_empty, say_the_same,
        unreadable,
    },
    codec::MalformedReview,
    decision::Decision,
    handler::Handler,
    secret_rights::{Purpose, SecretRights},
};
use crate::{apis::servicecatalog::ServiceInstance, install::secret_approvals::Approvals};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/complete-instances";

const UPDATE_REQUESTS: &str = "updateRequests";
/// The names of the class, and the reference that bindery derives from each.
const CLASS: [(&str, &str); 6] = [
    ("clusterServiceClassExternalName", "clusterServiceClassRef"),
    ("clusterServiceClassExternalID", "clusterServiceClassRef"),
    ("clusterServiceClassName", "clusterServiceClassRef"),
    ("serviceClassExternalName", "serviceClassRef"),
    ("serviceClassExternalID", "serviceClassRef"),
    ("serviceClassName", "serviceClassRef"),
];
/// The same for the plan.
const PLAN: [(&str, &str); 6] = [
    ("clusterServicePlanExternalName", "clusterServicePlanRef"),
    ("clusterServicePlanExternalID", "clusterServicePlanRef"),
    ("clusterServicePlanName", "clusterServicePlanRef"),
    ("servicePlanExternalName", "servicePlanRef"),
    ("servicePlanExternalID", "servicePlanRef"),
    ("servicePlanName", "servicePlanRef"),
];
const PURPOSE: Purpose = Purpose {
    field: "spec.parametersFrom",
    summary: "author forbidden access to a Secret of spec.parametersFrom",
    effect: "send its content to the broker",
};

/// Completes new ServiceInstances and records the author of every change.
pub struct ServiceInstanceHandler(SecretRights);

impl ServiceInstanceHandler {
    /// Creates a handler that checks permissions with the API server and has approvals issued.
    #[must_use]
    pub fn new(client: Client, approvals: Approvals) -> Self {
        Self(SecretRights::new(client, approvals))
    }
}

impl Handler<Option<Authored>, Option<Authored>, UserInfo> for ServiceInstanceHandler {
    const NAME: &'static str = "instances";

    async fn review(&self, request: &AuthoredRequest) -> Result<Decision, MalformedReview> {
        let is_instance = request.is_of("servicecatalog.k8s.io", "ServiceInstance") && request.is_written();
        let Some(object) = request.object.as_ref().filter(|_| is_instance) else {
            return Ok(Decision::unchanged());
        };
        let Some(wanted) = object.members() else { return Ok(Decision::unchanged()) };
        let spec = match &request.old_object {
            None => created(wanted, &request.user_info),
            Some(before) => {
                if let Some(refusal) = unreadable(before, object) {
                    return Ok(refusal);
                }
                updated(before.members().unwrap_or(wanted), wanted, &request.user_info)
            }
        };
        decide::<ServiceInstance>(request, object, &spec, &self.0, PURPOSE).await
    }
}

/// The spec of a new instance. Its references to class and plan are resolved by bindery, never taken from a user.
fn created(wanted: &Map<String, Value>, user: &UserInfo) -> Map<String, Value> {
    let mut spec = wanted.clone();
    complete(&mut spec, user);
    for (_, reference) in CLASS.iter().chain(&PLAN) {
        spec.remove(*reference);
    }
    // Go clients write the number at every update; an update that adds it would look like a change of the spec.
    spec.entry(UPDATE_REQUESTS).or_insert(json!(0));
    spec
}

/// The spec after an update.
fn updated(before: &Map<String, Value>, wanted: &Map<String, Value>, user: &UserInfo) -> Map<String, Value> {
    let mut spec = wanted.clone();
    for kept in [UPDATE_REQUESTS, EXTERNAL_ID] {
        if is_empty(spec.get(kept)) && !is_empty(before.get(kept)) {
            take(&mut spec, before, kept);
        }
    }
    let is_renamed = |names: &[(&str, &str)]| {
        names.iter().any(|(name, _)| {
            let (before, wanted) = (before.get(*name), wanted.get(*name));
            before != wanted && !(is_empty(before) && is_empty(wanted))
        })
    };
    let is_class_renamed = is_renamed(&CLASS);
    for (references, is_renamed) in
        [(&CLASS, is_class_renamed), (&PLAN, is_class_renamed || is_renamed(&PLAN))]
    {
        for (_, reference) in references {
            if is_renamed {
                spec.remove(*reference);
            } else {
                take(&mut spec, before, reference);
            }
        }
    }
    take(&mut spec, before, USER_INFO);
    if !say_the_same(before, &spec) {
        spec.insert(USER_INFO.to_owned(), author(user));
    }
    spec
}

/// Gives the member the value that it had before.
fn take(spec: &mut Map<String, Value>, before: &Map<String, Value>, member: &str) {
    match before.get(member) {
        Some(value) => spec.insert(member.to_owned(), value.clone()),
        None => spec.remove(member),
    };
}

#[cfg(test)]
mod tests;
