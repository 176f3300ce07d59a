//! Reconciles ServiceInstances. `provision` creates an instance, `update` changes it and `deprovision` deletes it;
//! `poll` follows asynchronous operations, `orphan` deletes what a failed creation left, and `rollback` deletes what an
//! earlier class or plan requested.

mod attempt;
mod blockers;
mod complete;
mod deprovision;
mod orphan;
mod poll;
mod prepare;
mod properties;
mod provision;
mod reread;
mod rollback;
mod send;
mod update;
mod wanted;

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
