//! Orphan mitigation of bindings: after a bind whose outcome is unknown or that failed at the broker, bindery asks the broker to
//! delete the binding before it binds again (spec.md, "Orphan Mitigation"). Credentials that pods may use are never deleted so.

use super::{Failure, NotBound, Remedy, clear_operation, identity};
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResource, ServiceBinding, ServiceBindingStatus, instance::ReleaseStatus,
        reasons,
    },
    catalog::{
        context::Context,
        reconcile::{delete_binding, delete_external::Released, polling::poll_interval, status},
    },
    osb::Operation,
};

/// Starts the mitigation after a failure. A failure for good stays one; otherwise the bind is repeated afterwards.
pub(super) fn start(new: &mut ServiceBindingStatus, failure: NotBound) -> NotBound {
    if !new.secrets.is_empty() {
        return failure;
    }
    clear_operation(new);
    new.polling_start_time = None;
    new.orphan_mitigation_in_progress = true;
    if matches!(failure.remedy, Remedy::Never) {
        status::set_failed(new, failure.reason, &failure.message);
    }
    let message = format!("Starting orphan mitigation: {}", failure.message);
    NotBound::new(reasons::SERVICE_BINDING_NEEDS_ORPHAN_MITIGATION, message, Remedy::Mitigate(None))
}

/// Asks the broker to delete the binding, or polls the deletion. Returns what to report.
pub(super) async fn mitigate(
    binding: &ServiceBinding,
    external_resource: &ExternalResource,
    context: &Context,
    new: &mut ServiceBindingStatus,
) -> Result<NotBound, Failure> {
    let begun = new.async_op_in_progress.then(|| new.last_operation.clone().map(Operation::from));
    let identity = identity(binding);
    let asked = delete_binding::step(context, external_resource, begun, identity.as_ref()).await;
    let (about, wait) = match asked {
        Ok(Released::Done) => {
            context.ledger.remove(external_resource).await?;
            return Ok(stop(new));
        }
        Ok(Released::InProgress { operation, wait }) => {
            new.async_op_in_progress = true;
            new.last_operation = operation;
            let wait = poll_interval(new.operation_start_time.as_ref(), wait);
            ("the broker is deleting it".to_owned(), Some(wait))
        }
        Ok(Released::Failed(about)) => {
            clear_operation(new);
            (about, None)
        }
        Err(error) => (error.to_string(), None),
    };
    let message = format!(
        "The broker {} has not yet deleted what the failed bind may have left: {about}",
        external_resource.spec.broker.name
    );
    let reason = reasons::SERVICE_BINDING_NEEDS_ORPHAN_MITIGATION;
    Ok(NotBound::new(reason, message, Remedy::Mitigate(wait)))
}

/// The broker holds nothing any more.
fn stop(new: &mut ServiceBindingStatus) -> NotBound {
    clear_operation(new);
    new.orphan_mitigation_in_progress = false;
    new.in_progress_properties = None;
    new.unbind_status = Some(ReleaseStatus::NotRequired);
    if let Some(failed) = new.conditions.get(ConditionType::Failed) {
        let is_timeout = failed.reason == reasons::ASYNC_OPERATION_TIMEOUT;
        let reason = if is_timeout { reasons::ASYNC_OPERATION_TIMEOUT } else { reasons::BIND_CALL_FAILED };
        return NotBound::new(reason, failed.message.clone(), Remedy::Never);
    }
    let message = "Orphan mitigation was completed successfully";
    NotBound::new(reasons::ORPHAN_MITIGATION_SUCCESSFUL, message, Remedy::Retry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::binding::WrittenSecret;

    fn failure(remedy: Remedy) -> NotBound {
        NotBound::new(reasons::BIND_CALL_FAILED, "Error binding: no disk", remedy)
    }

    #[test]
    fn a_failure_for_good_stays_one_after_the_mitigation() {
        let mut status =
            ServiceBindingStatus { async_op_in_progress: true, ..ServiceBindingStatus::default() };
        let started = start(&mut status, failure(Remedy::Never));
        assert_eq!(started.reason, "ServiceBindingNeedsOrphanMitigation");
        assert!(started.message.contains("no disk"));
        assert!(status.orphan_mitigation_in_progress && !status.async_op_in_progress);
        let stopped = stop(&mut status);
        assert!(matches!(stopped.remedy, Remedy::Never) && stopped.message.contains("no disk"));
        assert!(!status.orphan_mitigation_in_progress);
    }

    #[test]
    fn a_bind_is_repeated_after_the_mitigation() {
        let mut status = ServiceBindingStatus::default();
        start(&mut status, failure(Remedy::Retry));
        let stopped = stop(&mut status);
        assert_eq!(stopped.reason, "OrphanMitigationSuccessful");
        assert!(matches!(stopped.remedy, Remedy::Retry));
    }

    #[test]
    fn credentials_in_use_are_not_deleted() {
        let written =
            WrittenSecret { name: "b".to_owned(), uid: "u".to_owned(), resource_version: "1".to_owned() };
        let mut status = ServiceBindingStatus { secrets: vec![written], ..ServiceBindingStatus::default() };
        assert_eq!(start(&mut status, failure(Remedy::Retry)).reason, "BindCallFailed");
        assert!(!status.orphan_mitigation_in_progress);
    }
}
