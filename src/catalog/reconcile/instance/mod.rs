//! Instances: `provision` makes them, `withdraw` takes back what was asked for before a change, `deprovision` ends them.

mod deprovision;
mod provision;
mod rollback;

use std::sync::Arc;

use crate::{
    apis::servicecatalog::ServiceInstance,
    catalog::{
        context::Context,
        reconcile::{Next, ReconcileError},
    },
};

/// Looks at an instance.
pub(in crate::catalog) async fn reconcile(
    instance: Arc<ServiceInstance>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    if instance.metadata.deletion_timestamp.is_some() {
        deprovision::reconcile(&instance, &context).await
    } else {
        provision::reconcile(&instance, &context).await
    }
}
