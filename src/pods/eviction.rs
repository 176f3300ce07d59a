//! The choice of the next missed pod to evict, so that its owner creates an injected one. An owner loses one pod at a
//! time, and the next only when an injected successor is ready: while the webhook is not called for new pods an
//! eviction achieves nothing, and an owner that cannot create pods would lose them one by one. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use tokio::time::Instant;

use super::pod::{AskingPod, Coverage};

/// The first and the longest back-off after the successor was missed as well.
const MIN_BACK_OFF: Duration = Duration::from_mins(10);
const MAX_BACK_OFF: Duration = Duration::from_hours(6);

/// Whether this owner replaces an evicted pod without harm. A Job would count the eviction as a failure, and a pod that
/// runs to completion, such as a step of a workflow, usually fails its workflow.
pub(super) fn is_recreated(pod: &AskingPod, owner: &OwnerReference) -> bool {
    pod.runs_for_ever && !matches!(owner.kind.as_str(), "Job" | "Node")
}

/// The last eviction of each owner, by the owner's uid.
#[derive(Debug, Default)]
pub(super) struct Evictions(HashMap<String, Attempt>);

#[derive(Debug)]
struct Attempt {
    /// The pods that existed at the eviction; any other pod is a successor.
    before: Vec<String>,
    /// The back-off if a successor is missed.
    wait: Duration,
    /// The end of the back-off; `None` unless a successor was missed.
    backing_off_until: Option<Instant>,
    /// When the pod was evicted.
    at: Instant,
}

impl Attempt {
    /// Whether the eviction still matters although no pod is missed now: an owner with one replica has no pod until the
    /// successor is created.
    fn is_recent(&self, now: Instant) -> bool {
        now < self.backing_off_until.unwrap_or(self.at + self.wait)
    }
}

/// The state of an owner's pod that the choice depends on.
#[derive(Clone, Debug)]
pub(super) struct OwnedPod {
    pub(super) uid: String,
    created: Option<Timestamp>,
    is_missed: bool,
    /// Whether the webhook would accept the pod: it would refuse the successor of a pod that cannot be injected.
    can_be_injected: bool,
    is_ready: bool,
}

impl OwnedPod {
    pub(super) fn of(pod: &AskingPod) -> Self {
        Self {
            uid: pod.uid().unwrap_or_default(),
            created: pod.creation_timestamp().map(|time| time.0),
            is_missed: pod.is_missed(),
            can_be_injected: !matches!(pod.coverage, Coverage::Unclear { .. }),
            is_ready: pod.is_ready,
        }
    }
}

/// The next step for an owner's pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Evict the pod with this uid: it is the owner's first eviction, or the last one succeeded.
    Evict(String),
    /// Wait for a change.
    Wait,
    /// The successor was missed as well: evict nothing for this time.
    BackOff(Duration),
}

impl Evictions {
    pub(super) fn next(&mut self, owner: &str, pods: &[OwnedPod], now: Instant) -> Step {
        let Some(first) = first_candidate(pods) else {
            self.0.retain(|known, attempt| known != owner || attempt.is_recent(now));
            return Step::Wait;
        };
        let Some(attempt) = self.0.get_mut(owner) else { return Step::Evict(first) };
        if let Some(until) = attempt.backing_off_until {
            return if now < until { Step::Wait } else { Step::Evict(first) };
        }
        let successors = || pods.iter().filter(|pod| !attempt.before.contains(&pod.uid));
        if successors().any(|pod| pod.is_missed) {
            attempt.backing_off_until = Some(now + attempt.wait);
            return Step::BackOff(attempt.wait);
        }
        if successors().any(|pod| pod.is_ready) { Step::Evict(first) } else { Step::Wait }
    }

    /// Records that a pod was evicted while these pods existed.
    pub(super) fn record_eviction(&mut self, owner: &str, pods: &[OwnedPod], now: Instant) {
        let former = self.0.get(owner);
        // Only a failed attempt makes the next back-off longer.
        let wait = former.filter(|former| former.backing_off_until.is_some()).map(|former| former.wait * 2);
        let attempt = Attempt {
            before: pods.iter().map(|pod| pod.uid.clone()).collect(),
            wait: wait.unwrap_or(MIN_BACK_OFF).min(MAX_BACK_OFF),
            backing_off_until: None,
            at: now,
        };
        self.0.insert(owner.to_owned(), attempt);
    }

    /// Forgets owners that have had no missed pods for a while.
    pub(super) fn retain(&mut self, owners: impl Fn(&str) -> bool, now: Instant) {
        self.0.retain(|owner, attempt| owners(owner) || attempt.is_recent(now));
    }
}

/// The missed pod to evict first: one that is not ready, else the oldest.
fn first_candidate(pods: &[OwnedPod]) -> Option<String> {
    let missed = pods.iter().filter(|pod| pod.is_missed && pod.can_be_injected);
    missed.min_by_key(|pod| (pod.is_ready, pod.created)).map(|pod| pod.uid.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::pod::tests::{object, read};

    fn pod(uid: &str, is_missed: bool, is_ready: bool) -> OwnedPod {
        let created = uid.bytes().next().map(|byte| Timestamp::from_second(byte.into()).unwrap());
        OwnedPod { uid: uid.to_owned(), created, is_missed, can_be_injected: true, is_ready }
    }

    fn evict(uid: &str) -> Step {
        Step::Evict(uid.to_owned())
    }

    #[test]
    fn the_next_goes_when_a_successor_is_bound_and_ready() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        let before = [pod("b", true, true), pod("a", true, true)];
        assert_eq!(evictions.next("o", &before, now), evict("a"), "the oldest");
        evictions.record_eviction("o", &before, now);
        let gone = [pod("b", true, true)];
        assert_eq!(evictions.next("o", &gone, now), Step::Wait, "no successor yet");
        let starting = [pod("b", true, true), pod("c", false, false)];
        assert_eq!(evictions.next("o", &starting, now), Step::Wait, "it is not ready");
        let ready = [pod("b", true, true), pod("c", false, true)];
        assert_eq!(evictions.next("o", &ready, now), evict("b"));
        evictions.record_eviction("o", &ready, now);
        assert_eq!(evictions.next("o", &[pod("c", false, true)], now), Step::Wait, "none is left");
    }

    #[test]
    fn one_that_serves_nobody_goes_first() {
        let pods = [pod("a", true, true), pod("b", true, false)];
        assert_eq!(Evictions::default().next("o", &pods, Instant::now()), evict("b"));
    }

    #[test]
    fn when_the_successor_is_missed_too_it_is_tried_again_ever_later() {
        let (mut evictions, mut now) = (Evictions::default(), Instant::now());
        let mut wait = MIN_BACK_OFF;
        for _ in 0..10 {
            let before = [pod("a", true, true)];
            assert_eq!(evictions.next("o", &before, now), evict("a"));
            evictions.record_eviction("o", &before, now);
            let after = [pod("b", true, true)];
            assert_eq!(evictions.next("o", &after, now), Step::BackOff(wait));
            assert_eq!(evictions.next("o", &after, now + wait / 2), Step::Wait, "said once");
            now += wait;
            wait = (wait * 2).min(MAX_BACK_OFF);
        }
        assert_eq!(wait, MAX_BACK_OFF);
    }

    #[test]
    fn an_owner_that_makes_no_pod_loses_no_other() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        evictions.record_eviction("o", &[pod("a", true, true), pod("b", true, true)], now);
        assert_eq!(evictions.next("o", &[pod("b", true, true)], now + MAX_BACK_OFF), Step::Wait);
        assert_eq!(evictions.next("other", &[pod("c", true, true)], now), evict("c"), "another is free");
    }

    #[test]
    fn what_is_well_again_is_forgotten() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        evictions.record_eviction("o", &[pod("a", true, true)], now);
        evictions.retain(|owner| owner == "other", now + MIN_BACK_OFF);
        assert_eq!(evictions.next("o", &[pod("b", true, true)], now + MIN_BACK_OFF), evict("b"));
    }

    /// A `StatefulSet` with one replica creates its next pod after the former one is gone.
    #[test]
    fn an_owner_without_pods_for_a_moment_is_not_forgotten() {
        let (mut evictions, mut now) = (Evictions::default(), Instant::now());
        for (number, wait) in [MIN_BACK_OFF, MIN_BACK_OFF * 2].into_iter().enumerate() {
            let name = |successors: usize| format!("{}", number + successors);
            let before = [pod(&name(0), true, true)];
            assert_eq!(evictions.next("o", &before, now), evict(&name(0)));
            evictions.record_eviction("o", &before, now);
            evictions.retain(|_| false, now);
            assert_eq!(evictions.next("o", &[], now), Step::Wait);
            let after = [pod(&name(1), true, true)];
            assert_eq!(evictions.next("o", &after, now), Step::BackOff(wait));
            evictions.retain(|_| false, now + wait / 2);
            assert_eq!(evictions.next("o", &after, now + wait / 2), Step::Wait);
            now += wait;
        }
    }

    #[test]
    fn a_pod_that_the_webhook_would_refuse_stays() {
        let pods = [OwnedPod { can_be_injected: false, ..pod("a", true, true) }];
        assert_eq!(Evictions::default().next("o", &pods, Instant::now()), Step::Wait);
    }

    #[test]
    fn pods_of_jobs_and_nodes_stay() {
        let owner = |kind: &str| OwnerReference { kind: kind.to_owned(), ..OwnerReference::default() };
        let lasting = read(&object(&json!({}))).unwrap();
        for (kind, expected) in [
            ("ReplicaSet", true),
            ("StatefulSet", true),
            ("DaemonSet", true),
            ("Cluster", true),
            ("Job", false),
            ("Node", false),
        ] {
            assert_eq!(is_recreated(&lasting, &owner(kind)), expected, "{kind}");
        }
    }

    /// Such as the pods of workflows and pipelines, whose owners have kinds that bindery cannot list.
    #[test]
    fn pods_that_are_to_end_stay() {
        let owner = OwnerReference { kind: "TaskRun".to_owned(), ..OwnerReference::default() };
        for (policy, expected) in [("Always", true), ("OnFailure", false), ("Never", false)] {
            let pod = read(&object(&json!({"spec": {"restartPolicy": policy}}))).unwrap();
            assert_eq!(is_recreated(&pod, &owner), expected, "{policy}");
        }
    }
}
