//! The webhook for workloads, such as Deployments. It changes nothing and refuses nothing: it warns of annotations that stand on
//! the workload instead of its pod template.

use super::{
    codec::{MalformedReview, Request},
    decision::Decision,
    handler::Handler,
    pods::Binder,
    sparse_decode::Object,
};

/// Where the webhook configuration points to for workloads.
pub const PATH: &str = "/warn-of-workloads";

/// Warns of annotations in the wrong place.
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
