//! The polling interval of asynchronous operations at a broker.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::now;

/// The shortest interval between two polls.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval between two polls, unless the broker asks for a longer one.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The wait before the next poll of an operation that has run since `since`. The broker's `Retry-After` counts first. Otherwise
/// the wait is a fifth of the time that the operation has taken, so that a short operation is noticed soon and a long one causes
/// few polls.
pub(super) fn poll_interval(since: Option<&Time>, retry_after: Option<Duration>) -> Duration {
    let elapsed =
        since.and_then(|since| Duration::try_from(now().0.duration_since(since.0)).ok()).unwrap_or_default();
    retry_after
        .map_or((elapsed / 5).clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL), |wait| wait.max(MIN_POLL_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_at_least_a_second_apart() {
        let asked_for = |seconds| poll_interval(None, Some(Duration::from_secs(seconds)));
        assert_eq!(asked_for(0), Duration::from_secs(1));
        assert_eq!(asked_for(7), Duration::from_secs(7));
        assert_eq!(asked_for(300), Duration::from_mins(5), "the broker knows best how long it takes");
        assert_eq!(poll_interval(None, None), Duration::from_secs(1));
        let long_ago = Time(now().0 - Duration::from_hours(1));
        assert_eq!(poll_interval(Some(&long_ago), None), Duration::from_secs(30));
    }
}
