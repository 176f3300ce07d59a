//! The end of retries: an operation that has failed or run for longer than
//! `--reconciliation-retry-duration` is given up, and so is one that has been polled for longer than its plan allows. Pure.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::apis::servicecatalog::scope::PlanObject;

/// Whether an operation that began at `since` has had its time.
pub(super) fn is_over(since: Option<&Time>, limit: Duration, now: Timestamp) -> bool {
    let elapsed = since.and_then(|since| Duration::try_from(now.duration_since(since.0)).ok());
    elapsed.is_some_and(|elapsed| elapsed > limit)
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the first attempt on.
    pub(super) retries: Duration,
    /// While the broker works, if the plan has a limit for it.
    pub(super) polling: Option<Duration>,
}

impl Limits {
    /// The limit that is exceeded by an operation that began at `since` and has been polled since `polled_since`.
    pub(super) fn exceeded(
        &self,
        since: Option<&Time>,
        polled_since: Option<&Time>,
        now: Timestamp,
    ) -> Option<Duration> {
        let polling = self.polling.filter(|limit| is_over(polled_since, *limit, now));
        polling.or_else(|| is_over(since, self.retries, now).then_some(self.retries))
    }
}

/// The plan's limit for polling an operation.
pub(super) fn longest_polling(plan: &dyn PlanObject) -> Option<Duration> {
    u64::try_from(plan.common().maximum_polling_duration?).ok().map(Duration::from_secs)
}

/// The message about an operation that is given up.
pub(super) fn message(limit: Duration, former: &str, remedy: &str) -> String {
    let hours = limit.as_secs() / 3600;
    let limit = if hours == 0 { format!("{} seconds", limit.as_secs()) } else { format!("{hours} hours") };
    format!("Stopped after {limit}, because the operation has not succeeded. {former}. {remedy} to try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_limits_the_polling_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let limits = Limits { retries: Duration::from_mins(1), polling: Some(Duration::from_secs(10)) };
        let exceeded = |polled: Option<i64>, now| {
            limits.exceeded(Some(&Time(at(1000))), polled.map(|second| Time(at(second))).as_ref(), at(now))
        };
        assert_eq!(exceeded(None, 1060), None, "it was retried");
        assert_eq!(exceeded(Some(1050), 1060), None);
        assert_eq!(exceeded(Some(1050), 1061), limits.polling);
        assert_eq!(exceeded(None, 1061), Some(limits.retries));
    }

    #[test]
    fn an_operation_ends_after_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (start, limit) = (Time(at(1000)), Duration::from_mins(1));
        assert!(!is_over(Some(&start), limit, at(1060)));
        assert!(is_over(Some(&start), limit, at(1061)));
        assert!(!is_over(Some(&start), limit, at(900)), "a clock that was set back");
        assert!(!is_over(None, limit, at(1061)), "an operation that has not begun");
        assert!(message(Duration::from_hours(168), "x", "Change the spec").contains("168 hours"));
    }
}
