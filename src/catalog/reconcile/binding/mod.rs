//! Bindings: `bind` gets credentials and keeps their Secrets, `unbind` gives them up.

mod bind;
mod unbind;

use std::sync::Arc;

use crate::catalog::{
    api::ServiceBinding,
    context::Context,
    reconcile::{Next, ReconcileError},
};

/// Looks at a binding.
pub(in crate::catalog) async fn reconcile(
    binding: Arc<ServiceBinding>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    if binding.metadata.deletion_timestamp.is_some() {
        unbind::reconcile(&binding, &context).await
    } else {
        bind::reconcile(&binding, &context).await
    }
}
