//! The end of retries: an operation that has failed or run for longer than
//! `--reconciliation-retry-duration` is given up. Pure.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// Whether an operation that began at `since` has had its time.
pub(super) fn is_over(since: Option<&Time>, limit: Duration, now: Timestamp) -> bool {
    let elapsed = since.and_then(|since| Duration::try_from(now.duration_since(since.0)).ok());
    elapsed.is_some_and(|elapsed| elapsed > limit)
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
