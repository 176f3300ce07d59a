//! Giving credentials up: the broker is asked to delete them, then the Secrets go, the claim, and the finalizer.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use crate::catalog::{
    api::{
        Claim, ClaimKind, ServiceBinding, ServiceBindingStatus, binding::BindingOperation,
        instance::ReleaseStatus,
    },
    connections::BrokerError,
    context::Context,
    ledger::claim_name,
    reconcile::{
        Next, ReconcileError, answer_time, has_finalizer, release, remove_finalizer, status, try_again,
    },
    secrets,
};
use crate::contract::approval;

pub(super) async fn reconcile(binding: &ServiceBinding, context: &Context) -> Result<Next, ReconcileError> {
    if !has_finalizer(binding) {
        return Ok(Next::Settled); // the claim, if there is one, is seen to once the object is gone
    }
    let namespace = binding.namespace().unwrap_or_default();
    let api: Api<ServiceBinding> = Api::namespaced(context.client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let old = binding.status.clone().unwrap_or_default();
    let id = binding.spec.external_id.clone().unwrap_or_default();
    let _turn = context.turns.take(&claim_name(ClaimKind::ServiceBinding, &id)).await;
    let uid = binding.metadata.uid.as_deref();
    if let Some(claim) = context.ledger.find(ClaimKind::ServiceBinding, &id, uid).await? {
        let limit = answer_time(context, binding);
        if let Err(error) = release::within(limit, &claim, release::binding(context, &claim)).await {
            let new = failed(old.clone(), &claim, &error);
            status::write(context, &api, binding, &old, new).await?;
            return try_again(context, &api, binding, Next::Retry).await;
        }
        secrets::remove(&secrets, binding).await?;
        context.ledger.remove(&claim).await?;
        let message = "The binding was deleted successfully";
        context.tell(binding, false, "UnboundSuccessfully", "Unbind", message).await;
    }
    remove_finalizer(context, &api, binding).await?;
    Ok(Next::Settled)
}

/// A deletion that does not work: what blocks it, since when, and what to do.
fn failed(mut status: ServiceBindingStatus, claim: &Claim, error: &BrokerError) -> ServiceBindingStatus {
    if status.current_operation != Some(BindingOperation::Unbind) {
        status.current_operation = Some(BindingOperation::Unbind);
        status.operation_start_time = None;
    }
    status.unbind_status = Some(ReleaseStatus::Required);
    let since = status::start(&mut status).0;
    let reason = match error {
        BrokerError::Credentials(_) => "ErrorGettingAuthCredentials",
        BrokerError::NotApproved(_) => approval::NOT_APPROVED,
        BrokerError::Client(error) if error.is_answer() => "UnbindCallFailed",
        BrokerError::Client(_) => "ErrorCallingUnbind",
    };
    let message = format!(
        "Deleting at the broker {} does not work since {since:.0}: {error}. It is tried again. To give up and leave it at \
         the broker: kubectl delete claim {}",
        claim.spec.broker.name,
        claim.name_any()
    );
    status::set_ready(&mut status, false, reason, message);
    status
}
