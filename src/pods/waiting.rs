//! Pods that got what they ask for, as far as the webhook goes, and wait for its Secrets. The kubelet says that a Secret
//! is missing; here pod and owner are told why it is. Each waiting pod has a deadline of its own; others cost nothing.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::StreamExt;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue::Key};
use tracing::debug;

use super::{
    Shared,
    bindings::{BindingQueue, BindingRef},
    pod::AskingPod,
    tell::{AGAIN, Notice},
    watch::{PodQueue, PodRef},
    why::{Why, whys},
};

/// How long a pod may wait before anybody is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often at least it is looked at what a pod waits for.
const LOOK_AT_LEAST: Duration = Duration::from_mins(2);
/// How soon after a change of a binding: changes come in groups.
const AFTER_CHANGE: Duration = Duration::from_millis(500);

/// A pod that may be waiting for a Secret.
struct Held {
    uid: String,
    /// Its place among the deadlines.
    deadline: Key,
    /// How long until the next look.
    wait: Duration,
    /// What its users were told, and when.
    told: Option<(Notice, Instant)>,
}

struct Waiting {
    shared: Shared,
    held: HashMap<PodRef, Held>,
    deadlines: DelayQueue<PodRef>,
    /// Pods whose users were told, by namespace.
    counts: BTreeMap<String, i64>,
}

/// Runs for ever.
pub(super) async fn run(shared: Shared, mut pods: PodQueue, mut bindings: BindingQueue) {
    let (held, deadlines) = (HashMap::new(), DelayQueue::new());
    let mut waiting = Waiting { shared, held, deadlines, counts: BTreeMap::new() };
    loop {
        tokio::select! {
            // What starts meanwhile need not be looked at.
            biased;
            pod = pods.next() => match pod {
                Some(pod) => waiting.see(pod),
                None => return,
            },
            binding = bindings.next() => match binding {
                Some(binding) => waiting.hurry(&binding),
                None => return,
            },
            Some(due) = waiting.deadlines.next(), if !waiting.deadlines.is_empty() => {
                waiting.look(due.into_inner()).await;
            }
        }
    }
}

impl Waiting {
    fn see(&mut self, reference: PodRef) {
        let pod = self.shared.pods.get(&reference).filter(|pod| pod.may_wait());
        let uid = pod.and_then(|pod| pod.uid());
        if let Some(held) = self.held.get(&reference) {
            if Some(&held.uid) == uid.as_ref() {
                return;
            }
            self.deadlines.remove(&held.deadline);
            self.forget(&reference);
        }
        if let Some(uid) = uid {
            let deadline = self.deadlines.insert(reference.clone(), PATIENCE);
            self.held.insert(reference, Held { uid, deadline, wait: PATIENCE, told: None });
        }
    }

    fn forget(&mut self, reference: &PodRef) {
        if self.held.remove(reference).is_some_and(|held| held.told.is_some()) {
            self.count(reference, -1);
        }
    }

    fn count(&mut self, reference: &PodRef, more: i64) {
        let namespace = reference.namespace.clone().unwrap_or_default();
        let count = self.counts.entry(namespace.clone()).or_default();
        *count += more;
        self.shared.metrics.pods_waiting(&namespace, *count);
        if *count == 0 {
            self.counts.remove(&namespace);
        }
    }

    /// A binding has changed: there may be something else to tell those who were told of it.
    fn hurry(&mut self, binding: &BindingRef) {
        for (reference, held) in &self.held {
            let is_of = |pod: &AskingPod| pod.asks_for(&binding.name);
            if held.told.is_some()
                && reference.namespace == binding.namespace
                && self.shared.pods.get(reference).is_some_and(|pod| is_of(&pod))
            {
                self.deadlines.reset(&held.deadline, AFTER_CHANGE);
            }
        }
    }

    /// Looks at what a pod waits for, tells its users if that is new, and sets the next deadline.
    async fn look(&mut self, reference: PodRef) {
        let Some(pod) = self.shared.pods.get(&reference).filter(|pod| pod.may_wait()) else {
            // The deadline is gone already; whoever removes the pod from the store has told so.
            self.forget(&reference);
            return;
        };
        let told = self.held.get_mut(&reference).and_then(|held| held.told.take());
        let was_told = told.is_some();
        let told = self.tell(&pod, told).await;
        self.count(&reference, i64::from(told.is_some()) - i64::from(was_told));
        if let Some(held) = self.held.get_mut(&reference) {
            held.told = told;
            held.wait = (held.wait * 2).min(LOOK_AT_LEAST);
            held.deadline = self.deadlines.insert(reference, held.wait);
        }
    }

    /// What the pod's users have been told afterwards.
    async fn tell(&self, pod: &AskingPod, told: Option<(Notice, Instant)>) -> Option<(Notice, Instant)> {
        let namespace = pod.namespace().unwrap_or_default();
        let bindings = self.shared.bindings.of(&namespace);
        let whys = match whys(&self.shared.client, &namespace, &pod.demands, &bindings).await {
            Ok(whys) => whys,
            Err(error) => {
                debug!(namespace, pod = pod.name_any(), %error, "what a pod waits for cannot be looked up");
                return told;
            }
        };
        let notice = notice("it waits", &whys)?;
        if let Some((before, at)) = told.filter(|(before, at)| *before == notice && at.elapsed() < AGAIN) {
            return Some((before, at));
        }
        self.shared.teller.tell(&pod.object_ref(&()), &notice).await;
        if let (Some(owner), Some(notice)) =
            (self.shared.owners.of(pod).await, self::notice("a pod of it waits", &whys))
        {
            self.shared.teller.tell(&owner.reference(&namespace), &notice).await;
        }
        Some((notice, Instant::now()))
    }
}

/// What is told of a waiting pod; nothing when no Secret is what it waits for.
fn notice(who: &str, whys: &[Why]) -> Option<Notice> {
    let first = whys.first()?;
    let texts: Vec<&str> = whys.iter().map(|why| why.text.as_str()).collect();
    Some(Notice::warning(first.reason, format!("{who} for credentials: {}", texts.join("; and "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(reason: &'static str, text: &str) -> Why {
        Why { reason, text: text.to_owned() }
    }

    #[test]
    fn all_reasons_are_told_in_one_event() {
        let notice = notice("it waits", &[why("BindingMissing", "a"), why("SecretMissing", "b")]).unwrap();
        assert_eq!(
            (notice.reason, notice.note.as_str()),
            ("BindingMissing", "it waits for credentials: a; and b")
        );
    }

    #[test]
    fn a_pod_that_waits_for_something_else_is_not_told_of() {
        assert_eq!(notice("it waits", &[]), None);
    }
}
