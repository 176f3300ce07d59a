//! The end of credentials that a broker gave for a time. Pure.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{RoundMode, Timestamp, TimestampRound, Unit},
};

use super::{NotBound, Remedy};
use crate::{
    apis::servicecatalog::{ConditionType, ServiceBindingStatus},
    catalog::reconcile::status,
};

/// The reason of a binding whose credentials have ended.
const REASON: &str = "CredentialsExpired";

/// What a broker says of the end, in whole seconds, which are all that a status holds. It is rounded up: credentials are not
/// said to have ended before they have. What is no time says nothing.
pub(super) fn read(expires_at: &str) -> Option<Time> {
    let in_seconds = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    match expires_at.parse::<Timestamp>().and_then(|at| at.round(in_seconds)) {
        Ok(at) => Some(Time(at)),
        Err(error) => {
            tracing::warn!(%error, "a broker's expires_at is no time; the end of the credentials is not known");
            None
        }
    }
}

/// How long the credentials still last, if they end; nothing left when they have ended.
pub(super) fn left(status: &ServiceBindingStatus, now: Timestamp) -> Option<Duration> {
    let end = status.expires_at.as_ref()?.0;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

/// When to look again: after this time, or when the credentials end.
pub(super) fn sooner(wait: Duration, status: &ServiceBindingStatus, now: Timestamp) -> Duration {
    left(status, now).map_or(wait, |left| wait.min(left))
}

/// That the credentials have ended.
pub(super) fn not_bound(status: &ServiceBindingStatus) -> NotBound {
    let end = status.expires_at.as_ref().map_or_else(String::new, |end| format!(" at {:.0}", end.0));
    let message = format!(
        "The credentials ended{end}, and log in nobody any more; delete the binding and create it anew"
    );
    NotBound::new(REASON, message, Remedy::Watched)
}

/// Says in the status that the credentials have ended.
pub(super) fn tell(status: &mut ServiceBindingStatus) {
    let NotBound { reason, message, .. } = not_bound(status);
    status.current_operation = None;
    status.operation_start_time = None;
    status::set_ready(status, false, reason, message);
}

/// Whether the status says so.
pub(super) fn is_told(status: &ServiceBindingStatus) -> bool {
    status.conditions.get(ConditionType::Ready).is_some_and(|ready| ready.reason == REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_end_when_their_time_is_over() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let status = ServiceBindingStatus {
            expires_at: read("2026-01-01T00:01:00.0Z"),
            ..ServiceBindingStatus::default()
        };
        let hour = Duration::from_hours(1);
        assert_eq!(left(&status, at("2026-01-01T00:00:00Z")), Some(Duration::from_mins(1)));
        assert_eq!(sooner(hour, &status, at("2026-01-01T00:00:00Z")), Duration::from_mins(1));
        assert_eq!(left(&status, at("2026-01-01T00:01:00Z")), Some(Duration::ZERO));
        assert_eq!(left(&status, at("2027-01-01T00:00:00Z")), Some(Duration::ZERO));
        assert_eq!(sooner(hour, &ServiceBindingStatus::default(), at("2026-01-01T00:00:00Z")), hour);
        assert_eq!(read("soon"), None);
        assert_eq!(read("2026-01-01T00:00:59.001Z"), status.expires_at, "rounded up");
    }

    #[test]
    fn the_status_says_that_they_ended() {
        let mut status = ServiceBindingStatus {
            expires_at: read("2026-01-01T00:01:00Z"),
            ..ServiceBindingStatus::default()
        };
        assert!(!is_told(&status));
        tell(&mut status);
        assert!(is_told(&status));
        let ready = status.conditions.get(ConditionType::Ready).unwrap();
        assert!(
            ready.message.contains("2026-01-01T00:01:00Z") && ready.message.contains("create it anew"),
            "{}",
            ready.message
        );
    }
}
