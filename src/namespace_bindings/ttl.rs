//! The ttl: how long a namespace keeps its instance. An instance is deleted only after its expiry was announced for the whole
//! warning period, also when the controller was away or the spec changed. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};

use super::rule::TtlSpec;
use crate::apis::bindery::namespace_binding::Since;
use crate::contract::branch;

/// Where an instance is in its ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the warning period.
    Living {
        /// When the ttl is over.
        until: Timestamp,
        /// When the expiry is announced.
        announced_at: Timestamp,
    },
    /// In the warning period.
    Expiring {
        /// When the ttl is over.
        at: Timestamp,
    },
    /// After the ttl.
    Expired {
        /// Since when.
        since: Timestamp,
    },
}

/// The stage of a namespace and its instance, if it has one.
pub(super) fn stage(
    life: &TtlSpec,
    namespace: &ObjectMeta,
    instance: Option<&ObjectMeta>,
    now: Timestamp,
) -> Stage {
    let end = end(life, namespace);
    let Some(instance) = instance else {
        let announced_at = end - life.warning;
        return if end <= now {
            Stage::Expired { since: end }
        } else {
            Stage::Living { until: end, announced_at }
        };
    };
    if end - life.warning > now {
        return Stage::Living { until: end, announced_at: end - life.warning };
    }
    let fair = now + life.warning;
    // An announcement that is outdated is replaced, and so is one that bindery would not have made: users can write the
    // annotation.
    let announced = annotation_time(instance, branch::EXPIRES_AT).filter(|at| (end..=fair).contains(at));
    // The controller noticed the expiry in time, within a tolerance.
    let is_noticed_in_time = end + life.warning / 10 >= fair;
    let at = announced.unwrap_or(if is_noticed_in_time { end } else { fair });
    if at <= now { Stage::Expired { since: at } } else { Stage::Expiring { at } }
}

/// When the ttl is over, by spec and Namespace.
fn end(life: &TtlSpec, namespace: &ObjectMeta) -> Timestamp {
    let created = namespace.creation_timestamp.as_ref().map(|time| time.0);
    let last_pod = annotation_time(namespace, branch::LAST_POD_AT).filter(|_| life.since == Since::LastPod);
    let counted = created.max(last_pod).unwrap_or(Timestamp::UNIX_EPOCH);
    let end = counted.saturating_add(life.length).unwrap_or(Timestamp::MAX);
    annotation_time(namespace, branch::EXTENDED_UNTIL).map_or(end, |extended| extended.max(end))
}

/// The time in an annotation. A value that is not a time is ignored.
pub(super) fn annotation_time(object: &ObjectMeta, annotation: &str) -> Option<Timestamp> {
    object.annotations.as_ref()?.get(annotation)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::namespace_bindings::rule::tests::rule;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn life(since: &str) -> TtlSpec {
        rule("r", &json!({"ttl": {"after": "100m", "since": since}})).ttl.unwrap()
    }

    fn namespace(annotations: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"creationTimestamp": at(0), "annotations": annotations})).unwrap()
    }

    fn instance(announced: Option<i64>) -> ObjectMeta {
        let annotations = announced.map(|minute| json!({branch::EXPIRES_AT: at(minute)}));
        serde_json::from_value(json!({"annotations": annotations})).unwrap()
    }

    #[test]
    fn the_end_is_announced_and_then_comes() {
        let stage = |announced, now| {
            stage(&life("Creation"), &namespace(&json!({})), Some(&instance(announced)), at(now))
        };
        assert_eq!(stage(None, 89), Stage::Living { until: at(100), announced_at: at(90) });
        assert_eq!(stage(None, 90), Stage::Expiring { at: at(100) });
        assert_eq!(stage(Some(100), 99), Stage::Expiring { at: at(100) });
        assert_eq!(stage(Some(100), 100), Stage::Expired { since: at(100) });
    }

    #[test]
    fn nothing_ends_without_an_announcement() {
        let stage = |announced, now| {
            stage(&life("Creation"), &namespace(&json!({})), Some(&instance(announced)), at(now))
        };
        assert_eq!(stage(None, 500), Stage::Expiring { at: at(510) }, "the ttl is new, or bindery was away");
        assert_eq!(stage(Some(510), 505), Stage::Expiring { at: at(510) });
        assert_eq!(stage(Some(510), 510), Stage::Expired { since: at(510) });
        assert_eq!(stage(Some(50), 95), Stage::Expiring { at: at(105) }, "the ttl was shorter once");
        assert_eq!(
            stage(Some(9_999), 95),
            Stage::Expiring { at: at(105) },
            "another user wrote the annotation"
        );
    }

    #[test]
    fn without_an_instance_no_announcement_is_needed() {
        let stage = |now| stage(&life("Creation"), &namespace(&json!({})), None, at(now));
        assert_eq!(stage(95), Stage::Living { until: at(100), announced_at: at(90) });
        assert_eq!(stage(100), Stage::Expired { since: at(100) });
    }

    #[test]
    fn an_extension_counts_only_if_it_ends_later() {
        let stage = |minute: i64, announced| {
            let namespace = namespace(&json!({branch::EXTENDED_UNTIL: at(minute)}));
            stage(&life("Creation"), &namespace, Some(&instance(announced)), at(99))
        };
        assert_eq!(stage(300, Some(100)), Stage::Living { until: at(300), announced_at: at(290) });
        assert_eq!(stage(50, Some(100)), Stage::Expiring { at: at(100) });
    }

    #[test]
    fn pods_extend_the_ttl_only_if_the_spec_says_so() {
        let namespace = namespace(&json!({branch::LAST_POD_AT: at(80), branch::EXTENDED_UNTIL: "soon"}));
        let until = |since| stage(&life(since), &namespace, Some(&instance(None)), at(85));
        assert_eq!(until("LastPod"), Stage::Living { until: at(180), announced_at: at(170) });
        assert_eq!(until("Creation"), Stage::Living { until: at(100), announced_at: at(90) });
    }
}
