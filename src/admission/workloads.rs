//! The webhook for workloads such as Deployments. It changes and refuses nothing: it warns about annotations on the
//! workload that belong on its pod template.

use super::{
    codec::{MalformedReview, Request},
    decision::Decision,
    handler::Handler,
    pods::Binder,
    sparse_decode::Object,
};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/warn-of-workloads";

/// Warns about misplaced annotations.
pub struct WorkloadHandler(Binder);

impl WorkloadHandler {
    pub(super) fn new(binder: Binder) -> Self {
        Self(binder)
    }
}

impl Handler<Object> for WorkloadHandler {
    const NAME: &'static str = "workload";

    async fn review(&self, request: &Request<Object>) -> Result<Decision, MalformedReview> {
        Ok(self.0.decide_about(request, &request.created()?))
    }
}
