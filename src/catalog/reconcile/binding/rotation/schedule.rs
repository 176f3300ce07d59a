//! When the credentials of a binding are replaced: when the annotation asks for it, or at the time that the broker advises. Pure.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::expiry;
use crate::{
    apis::servicecatalog::{ConditionType, ServiceBindingStatus, binding::Rotation},
    contract::binding::ROTATION_OVERLAP,
};

/// The shortest time between two rotations that nobody has asked for, so that a broker with a wrong clock is not asked without end.
const PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// How long the former credentials work after a rotation. The kubelet needs up to two minutes to show pods a changed Secret.
const OVERLAP: Duration = Duration::from_mins(5);

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Nothing,
    /// The annotation that asked for a rotation is gone.
    Forget,
    /// The plan does not allow what the annotation asks for.
    NotOffered,
    /// The credentials that the annotation wants replaced have expired.
    Expired,
    Begin,
    Continue,
}

/// Decides from the status. `asked` is the annotation's value, and `is_offered` whether the plan allows rotation, if that is known.
pub(super) fn todo(
    status: &ServiceBindingStatus,
    asked: Option<&str>,
    is_offered: Option<bool>,
    now: Timestamp,
) -> Todo {
    let is_usable = status.conditions.is_true(ConditionType::Ready) && !status.secrets.is_empty();
    if status.rotation.is_some() {
        return Todo::Continue;
    }
    if asked != status.rotation_request.as_deref() {
        let has_expired = expiry::time_left(status, now).is_some_and(|left| left.is_zero());
        return match (asked, is_offered) {
            (None, _) => Todo::Forget,
            (Some(_), _) if has_expired => Todo::Expired,
            (Some(_), Some(true)) if is_usable => Todo::Begin,
            (Some(_), Some(false)) if is_usable => Todo::NotOffered,
            (Some(_), _) => Todo::Nothing,
        };
    }
    let is_due = due(status).is_some_and(|due| due <= now);
    if is_due && is_usable && is_offered == Some(true) { Todo::Begin } else { Todo::Nothing }
}

/// The wait until there is something to do that no change announces.
pub(super) fn wait(
    status: &ServiceBindingStatus,
    asked: Option<&str>,
    is_offered: Option<bool>,
    now: Timestamp,
) -> Option<Duration> {
    if todo(status, asked, is_offered, now) != Todo::Nothing {
        return Some(Duration::ZERO);
    }
    let due = due(status).filter(|_| is_offered == Some(true))?;
    Duration::try_from(due.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

/// When the broker advises to replace the credentials: at `renew_before`, or when two thirds of their time are over.
fn due(status: &ServiceBindingStatus) -> Option<Timestamp> {
    let written = status.revisions.last()?.written_at.0;
    let advised = match (&status.renew_before, &status.expires_at) {
        (Some(before), _) => before.0,
        (None, Some(end)) => end.0.checked_sub(end.0.duration_since(written) / 3).ok()?,
        (None, None) => return None,
    };
    let failed = status.rotation_failed_at.as_ref().map(|failed| failed.0);
    let pause = failed.into_iter().chain([written]).max()?.checked_add(PAUSE).ok()?;
    Some(advised.max(pause))
}

/// When the former credentials are deleted: what the annotation says after a rotation that somebody asked for, else when they
/// expire, so that a rotation that nobody noticed takes nothing away.
pub(super) fn revocation(
    annotation: Option<&str>,
    expires_at: Option<Timestamp>,
    is_asked_for: bool,
    now: Timestamp,
) -> Result<Timestamp, String> {
    let overlap = overlap(annotation)?;
    let end = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
    Ok(match expires_at {
        Some(expiry) if is_asked_for => end.min(expiry),
        Some(expiry) => expiry,
        None => end,
    })
}

/// How long the former credentials are kept.
pub(super) fn overlap(annotation: Option<&str>) -> Result<Duration, String> {
    let Some(text) = annotation else { return Ok(OVERLAP) };
    let parsed = text.parse::<kube::core::Duration>().ok();
    let parsed = parsed.filter(|duration| !text.is_empty() && !duration.is_negative());
    parsed.map(Duration::from).ok_or_else(|| {
        format!(
            "the annotation {ROTATION_OVERLAP} is {text:?}, which is no duration; write one such as 0s or 10m"
        )
    })
}

/// The time until the former credentials are deleted. A new request ends the wait.
pub(super) fn until_revocation(rotation: &Rotation, is_asked_again: bool, now: Timestamp) -> Duration {
    let at = rotation.revoke_at.as_ref().filter(|_| !is_asked_again);
    at.and_then(|at| Duration::try_from(at.0.duration_since(now)).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// Credentials in use, written in minute 0, with these further members of the status.
    fn in_use(more: Value) -> ServiceBindingStatus {
        let mut status = json!({
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z",
                "reason": "InjectedBindResult", "message": ""}],
            "secrets": [{"name": "b", "uid": "u", "resourceVersion": "1"}],
            "revisions": [{"n": 1, "writtenAt": "1970-01-01T00:00:00Z"}],
        });
        let Value::Object(more) = more else { panic!("{more} is no object") };
        status.as_object_mut().unwrap().extend(more);
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_new_value_of_the_annotation_asks_once() {
        let asked = |status: &ServiceBindingStatus, asked, offered| todo(status, asked, offered, at(1));
        let status = in_use(json!({}));
        assert_eq!(asked(&status, None, Some(true)), Todo::Nothing);
        assert_eq!(asked(&status, Some("1"), Some(true)), Todo::Begin);
        assert_eq!(asked(&status, Some("1"), Some(false)), Todo::NotOffered);
        assert_eq!(asked(&status, Some("1"), None), Todo::Nothing, "the catalog is not known at the moment");
        let done = in_use(json!({"rotationRequest": "1"}));
        assert_eq!(asked(&done, Some("1"), Some(true)), Todo::Nothing);
        assert_eq!(asked(&done, Some("2"), Some(true)), Todo::Begin);
        assert_eq!(asked(&done, None, Some(true)), Todo::Forget);
        let expired = in_use(json!({"expiresAt": "1970-01-01T00:00:30Z"}));
        assert_eq!(asked(&expired, Some("1"), Some(true)), Todo::Expired);
        assert_eq!(asked(&ServiceBindingStatus::default(), Some("1"), Some(true)), Todo::Nothing);
    }

    #[test]
    fn the_broker_advises_when_to_rotate() {
        let advised =
            in_use(json!({"renewBefore": "1970-01-01T00:10:00Z", "expiresAt": "1970-01-01T01:00:00Z"}));
        let waited =
            |status: &ServiceBindingStatus, offered, minute| wait(status, None, Some(offered), at(minute));
        assert_eq!(waited(&advised, true, 4), Some(Duration::from_mins(6)));
        assert_eq!(todo(&advised, None, Some(true), at(9)), Todo::Nothing);
        assert_eq!(todo(&advised, None, Some(true), at(10)), Todo::Begin);
        assert_eq!((waited(&advised, true, 10), waited(&advised, false, 10)), (Some(Duration::ZERO), None));
        assert_eq!(todo(&advised, None, Some(false), at(10)), Todo::Nothing);
        let limited = in_use(json!({"expiresAt": "1970-01-01T01:00:00Z"}));
        assert_eq!(due(&limited), Some(at(40)), "two thirds");
        let late = in_use(json!({"renewBefore": "1969-01-01T00:00:00Z"}));
        assert_eq!(due(&late), Some(at(5)), "a clock that is wrong");
        let failed = in_use(
            json!({"renewBefore": "1970-01-01T00:10:00Z", "rotationFailedAt": "1970-01-01T00:11:00Z"}),
        );
        assert_eq!(due(&failed), Some(at(16)));
        let forever = in_use(
            json!({"renewBefore": "1970-01-01T00:10:00Z", "rotationFailedAt": "9999-12-30T22:00:00Z"}),
        );
        assert_eq!(todo(&forever, None, Some(true), at(10)), Todo::Nothing, "users may write a status");
        assert_eq!(due(&in_use(json!({}))), None);
    }

    #[test]
    fn the_former_credentials_work_for_a_while() {
        assert_eq!(revocation(None, None, true, at(0)), Ok(at(5)));
        assert_eq!(revocation(Some("0s"), None, true, at(0)), Ok(at(0)));
        assert_eq!(
            revocation(Some("1h"), Some(at(20)), true, at(0)),
            Ok(at(20)),
            "no longer than they are valid"
        );
        assert_eq!(revocation(None, Some(at(20)), false, at(0)), Ok(at(20)), "nobody asked");
        for wrong in ["", "soon", "-1m"] {
            assert!(overlap(Some(wrong)).unwrap_err().contains("no duration"), "{wrong}");
        }
    }

    #[test]
    fn another_request_ends_the_wait() {
        let rotation = serde_json::from_value(json!({"externalID": "n", "predecessorID": "o",
            "startTime": "1970-01-01T00:00:00Z", "revokeAt": "1970-01-01T00:05:00Z"}));
        let rotation: Rotation = rotation.unwrap();
        assert_eq!(until_revocation(&rotation, false, at(1)), Duration::from_mins(4));
        assert_eq!(until_revocation(&rotation, false, at(6)), Duration::ZERO);
        assert_eq!(until_revocation(&rotation, true, at(1)), Duration::ZERO);
    }
}
