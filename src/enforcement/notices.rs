//! The events on policies. Pure.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    k8s::events::Event,
};

/// An exception that ends within this time ends soon.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long an ended exception is worth an event.
const LATELY: SignedDuration = SignedDuration::from_hours(24);
/// The action of the events.
const ACTION: &str = "Enforce";

/// An event and the id of what occurred, so that it is written once.
pub(super) type Notice = (Event, String);

/// Whether an exception ends within seven days.
pub(super) fn ends_soon(exception: &CredentialPolicyException, now: Timestamp) -> bool {
    exception.is_active(now) && exception.spec.expires_at.0.duration_since(now) <= SOON
}

/// The events about a policy.
pub(super) fn notices(
    policy: &CredentialPolicy,
    exceptions: &[CredentialPolicyException],
    now: Timestamp,
) -> Vec<Notice> {
    let name = policy.name_any();
    let of_policy = exceptions.iter().filter(|exception| exception.spec.policy == name);
    let mut notices: Vec<_> = of_policy.filter_map(|exception| of_exception(exception, now)).collect();
    notices.extend(stood_down(policy));
    notices
}

fn of_exception(exception: &CredentialPolicyException, now: Timestamp) -> Option<Notice> {
    let (name, spec) = (exception.name_any(), &exception.spec);
    let end = spec.expires_at.0;
    let event = if ends_soon(exception, now) {
        let note = format!("the exception {name} ends at {end}; ask its owner, {}", spec.owner);
        Event::normal(ACTION, "ExceptionEndsSoon", note)
    } else if !exception.is_active(now) && now.duration_since(end) <= LATELY {
        let note = format!("the exception {name} ended at {end}; its owner is {}", spec.owner);
        Event::normal(ACTION, "ExceptionEnded", note)
    } else {
        return None;
    };
    Some((event, format!("{}{end}", exception.uid().unwrap_or_default())))
}

/// The event of a policy that somebody switched off. `bindery policies stand-down` writes the same.
#[must_use]
pub fn stood_down(policy: &CredentialPolicy) -> Option<Notice> {
    let why = super::stood_down(policy)?;
    let note = format!(
        "the API server does not hold the policy any more: {why}; go back with bindery policies resume"
    );
    Some((Event::warning(ACTION, "PolicyStoodDown", note), why.to_owned()))
}

/// The event of a policy that is held again.
#[must_use]
pub fn resumed(now: Timestamp) -> Notice {
    let note = "the policy is no longer stood down; bindery makes the API server hold it again".to_owned();
    (Event::normal(ACTION, "PolicyResumed", note), now.to_string())
}

/// The wait until an exception ends.
pub(super) fn next_end(exceptions: &[CredentialPolicyException], now: Timestamp) -> Option<Duration> {
    let ends = exceptions.iter().map(|exception| exception.spec.expires_at.0);
    let next = ends.filter(|end| *end > now).min()?;
    Duration::try_from(next.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(annotations: serde_json::Value) -> CredentialPolicy {
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {"rules": {"filesOnly": {}}}});
        policy["metadata"]["annotations"] = annotations;
        serde_json::from_value(policy).unwrap()
    }

    fn reasons(end: &str) -> Vec<String> {
        let exception: CredentialPolicyException =
            serde_json::from_value(json!({"metadata": {"name": "e", "uid": "u"},
            "spec": {"policy": "p", "namespaces": ["a"], "reason": "r", "owner": "o", "expiresAt": end}}))
            .unwrap();
        let now = "2026-01-08T00:00:00Z".parse().unwrap();
        let notices = notices(&policy(json!({})), &[exception], now);
        notices.into_iter().map(|(event, _)| event.reason.into_owned()).collect()
    }

    #[test]
    fn an_exception_is_announced_before_its_end_and_after() {
        for (end, expected) in [
            ("2026-01-15T00:00:01Z", None),
            ("2026-01-15T00:00:00Z", Some("ExceptionEndsSoon")),
            ("2026-01-08T00:00:01Z", Some("ExceptionEndsSoon")),
            ("2026-01-08T00:00:00Z", Some("ExceptionEnded")),
            ("2026-01-07T00:00:00Z", Some("ExceptionEnded")),
            ("2026-01-06T23:59:59Z", None),
        ] {
            assert_eq!(reasons(end), Vec::from_iter(expected), "{end}");
        }
    }

    #[test]
    fn a_policy_that_is_stood_down_says_why() {
        let (event, _) = stood_down(&policy(json!({"bindery.dev/stood-down": "by ann: outage"}))).unwrap();
        assert!(event.is_warning && event.note.contains("by ann: outage"), "{event:?}");
        assert_eq!(stood_down(&policy(json!({}))), None);
    }
}
