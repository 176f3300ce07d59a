//! Reconciles ServiceInstances: `provision` creates an instance, `rollback` deletes what an earlier class or plan
//! requested, `deprovision` deletes the instance.

mod attempt;
mod deprovision;
mod provision;
mod rollback;
mod spec_drift;

use std::sync::Arc;

use crate::{
    apis::servicecatalog::ServiceInstance,
    catalog::{
        context::Context,
        reconcile::{Next, ReconcileError},
    },
};

/// Reconciles an instance.
pub(in crate::catalog) async fn reconcile(
    instance: Arc<ServiceInstance>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    if instance.metadata.deletion_timestamp.is_some() {
        deprovision::reconcile(&instance, &context).await
    } else {
        Box::pin(provision::reconcile(&instance, &context)).await
    }
}
