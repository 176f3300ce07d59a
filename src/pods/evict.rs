//! Which missed pod may be evicted next, so that its owner makes one that is bound. One pod of an owner at a time, and
//! the next only once a successor came, bound and ready: while the webhook still misses pods nothing would be gained,
//! and an owner that cannot make pods would lose them one by one. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use tokio::time::Instant;

use super::pod::{AskingPod, Share};

/// How long to wait after a successor was missed too, at first and at most.
const SHORTEST: Duration = Duration::from_mins(10);
const LONGEST: Duration = Duration::from_hours(6);

/// Whether this owner makes a pod in place of one that is evicted, and loses nothing by it. A Job would count the pod as
/// a failure, and what is to end, such as a step of a workflow, mostly fails with its pod.
pub(super) fn is_replaced(pod: &AskingPod, owner: &OwnerReference) -> bool {
    pod.runs_for_ever && !matches!(owner.kind.as_str(), "Job" | "Node")
}

/// What was tried, by the uid of the owner.
#[derive(Debug, Default)]
pub(super) struct Evictions(HashMap<String, Attempt>);

#[derive(Debug)]
struct Attempt {
    /// The pods that were there; any other is a successor.
    before: Vec<String>,
    /// How long to wait when a successor is missed again.
    wait: Duration,
    /// Until when to wait, once one was.
    futile_until: Option<Instant>,
    /// When the pod was evicted.
    at: Instant,
}

impl Attempt {
    /// Whether it matters although no pod is missed now: the only pod of an owner is gone for a while before its successor
    /// comes.
    fn is_fresh(&self, now: Instant) -> bool {
        now < self.futile_until.unwrap_or(self.at + self.wait)
    }
}

/// A pod of an owner.
#[derive(Clone, Debug)]
pub(super) struct Sibling {
    pub(super) uid: String,
    created: Option<Timestamp>,
    is_missed: bool,
    /// Whether the webhook would let it pass: it would refuse one like a pod that cannot be bound.
    can_be_bound: bool,
    is_ready: bool,
}

impl Sibling {
    pub(super) fn of(pod: &AskingPod) -> Self {
        Self {
            uid: pod.uid().unwrap_or_default(),
            created: pod.creation_timestamp().map(|time| time.0),
            is_missed: pod.is_missed(),
            can_be_bound: !matches!(pod.share, Share::Unclear { .. }),
            is_ready: pod.is_ready,
        }
    }
}

/// What to do about an owner's pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Evict this one, the first of its owner or after one that went well.
    Evict(String),
    /// Wait for something to change.
    Wait,
    /// The successor was missed as well; nothing is evicted for this long.
    Futile(Duration),
}

impl Evictions {
    /// The next step for an owner with these pods.
    pub(super) fn next(&mut self, owner: &str, pods: &[Sibling], now: Instant) -> Step {
        let Some(first) = next_of(pods) else {
            self.0.retain(|known, attempt| known != owner || attempt.is_fresh(now));
            return Step::Wait;
        };
        let Some(attempt) = self.0.get_mut(owner) else { return Step::Evict(first) };
        if let Some(until) = attempt.futile_until {
            return if now < until { Step::Wait } else { Step::Evict(first) };
        }
        let successors = || pods.iter().filter(|pod| !attempt.before.contains(&pod.uid));
        if successors().any(|pod| pod.is_missed) {
            attempt.futile_until = Some(now + attempt.wait);
            return Step::Futile(attempt.wait);
        }
        if successors().any(|pod| pod.is_ready) { Step::Evict(first) } else { Step::Wait }
    }

    /// A pod was evicted while these were there.
    pub(super) fn evicted(&mut self, owner: &str, pods: &[Sibling], now: Instant) {
        let former = self.0.get(owner);
        // Only what was futile makes the next wait longer.
        let wait = former.filter(|former| former.futile_until.is_some()).map(|former| former.wait * 2);
        let attempt = Attempt {
            before: pods.iter().map(|pod| pod.uid.clone()).collect(),
            wait: wait.unwrap_or(SHORTEST).min(LONGEST),
            futile_until: None,
            at: now,
        };
        self.0.insert(owner.to_owned(), attempt);
    }

    /// Forgets owners that have had no missed pods for a while.
    pub(super) fn keep_only(&mut self, owners: impl Fn(&str) -> bool, now: Instant) {
        self.0.retain(|owner, attempt| owners(owner) || attempt.is_fresh(now));
    }
}

/// The missed pod to begin with: one that serves nobody, else the oldest.
fn next_of(pods: &[Sibling]) -> Option<String> {
    let missed = pods.iter().filter(|pod| pod.is_missed && pod.can_be_bound);
    missed.min_by_key(|pod| (pod.is_ready, pod.created)).map(|pod| pod.uid.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::pod::tests::{object, read};

    fn pod(uid: &str, is_missed: bool, is_ready: bool) -> Sibling {
        let created = uid.bytes().next().map(|byte| Timestamp::from_second(byte.into()).unwrap());
        Sibling { uid: uid.to_owned(), created, is_missed, can_be_bound: true, is_ready }
    }

    fn evict(uid: &str) -> Step {
        Step::Evict(uid.to_owned())
    }

    #[test]
    fn the_next_goes_when_a_successor_is_bound_and_ready() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        let before = [pod("b", true, true), pod("a", true, true)];
        assert_eq!(evictions.next("o", &before, now), evict("a"), "the oldest");
        evictions.evicted("o", &before, now);
        let gone = [pod("b", true, true)];
        assert_eq!(evictions.next("o", &gone, now), Step::Wait, "no successor yet");
        let starting = [pod("b", true, true), pod("c", false, false)];
        assert_eq!(evictions.next("o", &starting, now), Step::Wait, "it is not ready");
        let ready = [pod("b", true, true), pod("c", false, true)];
        assert_eq!(evictions.next("o", &ready, now), evict("b"));
        evictions.evicted("o", &ready, now);
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
        let mut wait = SHORTEST;
        for _ in 0..10 {
            let before = [pod("a", true, true)];
            assert_eq!(evictions.next("o", &before, now), evict("a"));
            evictions.evicted("o", &before, now);
            let after = [pod("b", true, true)];
            assert_eq!(evictions.next("o", &after, now), Step::Futile(wait));
            assert_eq!(evictions.next("o", &after, now + wait / 2), Step::Wait, "said once");
            now += wait;
            wait = (wait * 2).min(LONGEST);
        }
        assert_eq!(wait, LONGEST);
    }

    #[test]
    fn an_owner_that_makes_no_pod_loses_no_other() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        evictions.evicted("o", &[pod("a", true, true), pod("b", true, true)], now);
        assert_eq!(evictions.next("o", &[pod("b", true, true)], now + LONGEST), Step::Wait);
        assert_eq!(evictions.next("other", &[pod("c", true, true)], now), evict("c"), "another is free");
    }

    #[test]
    fn what_is_well_again_is_forgotten() {
        let (mut evictions, now) = (Evictions::default(), Instant::now());
        evictions.evicted("o", &[pod("a", true, true)], now);
        evictions.keep_only(|owner| owner == "other", now + SHORTEST);
        assert_eq!(evictions.next("o", &[pod("b", true, true)], now + SHORTEST), evict("b"));
    }

    /// As of a `StatefulSet` of one replica: its next pod is made when the former one is gone.
    #[test]
    fn an_owner_without_pods_for_a_moment_is_not_forgotten() {
        let (mut evictions, mut now) = (Evictions::default(), Instant::now());
        for (number, wait) in [SHORTEST, SHORTEST * 2].into_iter().enumerate() {
            let name = |successors: usize| format!("{}", number + successors);
            let before = [pod(&name(0), true, true)];
            assert_eq!(evictions.next("o", &before, now), evict(&name(0)));
            evictions.evicted("o", &before, now);
            evictions.keep_only(|_| false, now);
            assert_eq!(evictions.next("o", &[], now), Step::Wait);
            let after = [pod(&name(1), true, true)];
            assert_eq!(evictions.next("o", &after, now), Step::Futile(wait));
            evictions.keep_only(|_| false, now + wait / 2);
            assert_eq!(evictions.next("o", &after, now + wait / 2), Step::Wait);
            now += wait;
        }
    }

    #[test]
    fn a_pod_that_the_webhook_would_refuse_stays() {
        let pods = [Sibling { can_be_bound: false, ..pod("a", true, true) }];
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
            assert_eq!(is_replaced(&lasting, &owner(kind)), expected, "{kind}");
        }
    }

    /// Such as those of workflows and pipelines, whose owners are of kinds that nobody can list.
    #[test]
    fn pods_that_are_to_end_stay() {
        let owner = OwnerReference { kind: "TaskRun".to_owned(), ..OwnerReference::default() };
        for (policy, expected) in [("Always", true), ("OnFailure", false), ("Never", false)] {
            let pod = read(&object(&json!({"spec": {"restartPolicy": policy}}))).unwrap();
            assert_eq!(is_replaced(&pod, &owner), expected, "{policy}");
        }
    }
}
