//! The end of retries: a bind that has failed or run for longer than the retry duration is given up. Pure.

use k8s_openapi::jiff::Timestamp;

use super::{NotBound, Remedy, orphans};
use crate::{
    apis::servicecatalog::{ServiceBindingStatus, reasons},
    catalog::reconcile::deadline::{self, Limits},
};

/// The failure, or its end if the bind has had its time. Credentials that are in use are repaired without an end.
pub(super) fn or_given_up(
    failure: NotBound,
    new: &mut ServiceBindingStatus,
    limits: Limits,
    now: Timestamp,
) -> NotBound {
    let is_retried = matches!(failure.remedy, Remedy::Retry | Remedy::After(_) | Remedy::Mitigate(_));
    let is_polled = new.async_op_in_progress && !new.orphan_mitigation_in_progress;
    let polled_since = new.polling_start_time.as_ref().filter(|_| is_polled);
    let exceeded = limits.exceeded(new.operation_start_time.as_ref(), polled_since, now);
    let Some(limit) = exceeded.filter(|_| is_retried && new.secrets.is_empty()) else { return failure };
    let message = deadline::message(limit, &failure.message, "Delete the binding and create it again");
    if is_polled {
        let failure = NotBound::new(reasons::ASYNC_OPERATION_TIMEOUT, message, Remedy::Never);
        // The mitigation has a time of its own.
        new.operation_start_time = None;
        return orphans::start(new, failure);
    }
    // What the broker may hold is deleted with the object.
    new.orphan_mitigation_in_progress = false;
    NotBound::new(reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT, message, Remedy::Never)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::apis::servicecatalog::ConditionType;

    fn given_up(status: &mut ServiceBindingStatus, remedy: Remedy, seconds: i64) -> &'static str {
        let start = Timestamp::from_second(1000).unwrap();
        status.operation_start_time = Some(Time(start));
        let failure = NotBound::new(reasons::BIND_CALL_FAILED, "no disk", remedy);
        let now = Timestamp::from_second(1000 + seconds).unwrap();
        let limits = Limits { retries: Duration::from_mins(1), polling: Some(Duration::from_secs(10)) };
        or_given_up(failure, status, limits, now).reason
    }

    #[test]
    fn a_bind_is_given_up_after_its_time() {
        let mut status = ServiceBindingStatus::default();
        assert_eq!(given_up(&mut status, Remedy::Retry, 60), "BindCallFailed");
        assert_eq!(given_up(&mut status, Remedy::Watched, 61), "BindCallFailed", "not tried");
        assert_eq!(given_up(&mut status, Remedy::Retry, 61), "ErrorReconciliationRetryTimeout");
    }

    #[test]
    fn a_bind_is_polled_as_long_as_the_plan_allows() {
        let since = Time(Timestamp::from_second(1030).unwrap());
        let mut status = ServiceBindingStatus {
            async_op_in_progress: true,
            polling_start_time: Some(since),
            ..ServiceBindingStatus::default()
        };
        let after = |status: &mut _, seconds| given_up(status, Remedy::After(Duration::ZERO), seconds);
        assert_eq!(after(&mut status, 40), "BindCallFailed");
        assert_eq!(after(&mut status, 41), "ServiceBindingNeedsOrphanMitigation");
        assert!(status.conditions.is_true(ConditionType::Failed) && status.polling_start_time.is_none());
        assert_eq!(after(&mut status, 45), "BindCallFailed", "the deletion may take longer");
    }

    #[test]
    fn an_asynchronous_bind_that_never_ends_is_deleted() {
        let mut status =
            ServiceBindingStatus { async_op_in_progress: true, ..ServiceBindingStatus::default() };
        let reason = given_up(&mut status, Remedy::After(Duration::ZERO), 61);
        assert_eq!(reason, "ServiceBindingNeedsOrphanMitigation");
        assert!(status.orphan_mitigation_in_progress && status.operation_start_time.is_none());
    }
}
