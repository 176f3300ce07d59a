//! The expiry of credentials that a broker issues for a limited time. Pure.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{RoundMode, Timestamp, TimestampRound, Unit},
};

use super::{NotBound, Remedy};
use crate::{
    apis::servicecatalog::{ConditionType, ServiceBindingStatus, reasons},
    catalog::reconcile::status,
};

/// Parses a broker's `expires_at` or `renew_before`, rounded up to whole seconds, which is the precision of a status: credentials must
/// not be reported as expired too early. An invalid time is ignored.
pub(super) fn parse(expires_at: &str) -> Option<Time> {
    let in_seconds = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    match expires_at.parse::<Timestamp>().and_then(|at| at.round(in_seconds)) {
        Ok(at) => Some(Time(at)),
        Err(error) => {
            tracing::warn!(%error, "a broker's expires_at or renew_before is not a valid time, and is ignored");
            None
        }
    }
}

/// The remaining lifetime of the credentials, zero if they have expired; `None` if they do not expire.
pub(super) fn time_left(status: &ServiceBindingStatus, now: Timestamp) -> Option<Duration> {
    let end = status.expires_at.as_ref()?.0;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

/// The earlier of this wait and the expiry of the credentials.
pub(super) fn or_expiry(wait: Duration, status: &ServiceBindingStatus, now: Timestamp) -> Duration {
    time_left(status, now).map_or(wait, |left| wait.min(left))
}

/// The condition of expired credentials.
pub(super) fn condition(status: &ServiceBindingStatus) -> NotBound {
    let end = status.expires_at.as_ref().map_or_else(String::new, |end| format!(" at {:.0}", end.0));
    let message = format!(
        "The credentials expired{end} and cannot log in any more; delete the binding and create it again"
    );
    NotBound::new(reasons::CREDENTIALS_EXPIRED, message, Remedy::Watched)
}

/// Sets the status to expired.
pub(super) fn set_expired(status: &mut ServiceBindingStatus) {
    let NotBound { reason, message, .. } = condition(status);
    status.current_operation = None;
    status.operation_start_time = None;
    status::set_ready(status, false, reason, message);
}

/// Whether this is the condition of expired credentials.
pub(super) fn is_expiry(not_bound: &NotBound) -> bool {
    not_bound.reason == reasons::CREDENTIALS_EXPIRED
}

/// Whether the status already says that the credentials have expired.
pub(super) fn is_reported(status: &ServiceBindingStatus) -> bool {
    status
        .conditions
        .get(ConditionType::Ready)
        .is_some_and(|ready| ready.reason == reasons::CREDENTIALS_EXPIRED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_expire_at_their_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let status = ServiceBindingStatus {
            expires_at: parse("2026-01-01T00:01:00.0Z"),
            ..ServiceBindingStatus::default()
        };
        let hour = Duration::from_hours(1);
        assert_eq!(time_left(&status, at("2026-01-01T00:00:00Z")), Some(Duration::from_mins(1)));
        assert_eq!(or_expiry(hour, &status, at("2026-01-01T00:00:00Z")), Duration::from_mins(1));
        assert_eq!(time_left(&status, at("2026-01-01T00:01:00Z")), Some(Duration::ZERO));
        assert_eq!(time_left(&status, at("2027-01-01T00:00:00Z")), Some(Duration::ZERO));
        assert_eq!(or_expiry(hour, &ServiceBindingStatus::default(), at("2026-01-01T00:00:00Z")), hour);
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("2026-01-01T00:00:59.001Z"), status.expires_at, "rounded up");
    }

    #[test]
    fn the_status_reports_expired_credentials() {
        let mut status = ServiceBindingStatus {
            expires_at: parse("2026-01-01T00:01:00Z"),
            ..ServiceBindingStatus::default()
        };
        assert!(!is_reported(&status));
        set_expired(&mut status);
        assert!(is_reported(&status));
        let ready = status.conditions.get(ConditionType::Ready).unwrap();
        assert!(
            ready.message.contains("2026-01-01T00:01:00Z") && ready.message.contains("create it again"),
            "{}",
            ready.message
        );
    }
}
