//! The planner: collects changes for a moment, plans for all namespaces again, and enqueues the namespaces whose plan changed.
//! Namespaces for which only the spec of a NamespaceBinding changed are enqueued one after the other.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use tokio::sync::mpsc as tokio_mpsc;
use tracing::debug;

use super::{
    controller::{Controller, Stores, Trigger, duration_until},
    diff::owner,
    plan::{Assignment, Existing, Inputs, plan},
    rule::{InvalidRule, Rule},
};
use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::k8s::namespaces::NamespaceMeta;

/// The shortest time for which changes are collected before the planner runs; and the factor by which that time exceeds the
/// duration of the last run.
const DEBOUNCE: (Duration, u32) = (Duration::from_millis(20), 4);
/// The shortest time between two rounds of writing statuses.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// The same after a round in which a status could not be written.
const STATUS_RETRY: Duration = Duration::from_secs(5);
/// How often the planner runs without a change.
const RESYNC_INTERVAL: Duration = Duration::from_mins(5);
/// The time between two namespaces that follow a changed spec.
const ROLLOUT_INTERVAL: Duration = Duration::from_millis(100);

/// An invalid NamespaceBinding, and why it is invalid.
pub(super) type Unreadable = (Arc<NamespaceBinding>, InvalidRule);

/// The namespaces to enqueue.
#[derive(Debug, Default)]
struct Affected {
    now: HashSet<String>,
    /// Those for which only the spec of a NamespaceBinding changed.
    rollout: VecDeque<String>,
}

impl Controller {
    pub(super) async fn run_planner(
        self: Arc<Self>,
        mut triggers: tokio_mpsc::UnboundedReceiver<Trigger>,
        queue: mpsc::UnboundedSender<ObjectRef<NamespaceMeta>>,
    ) {
        let Stores { rules, namespaces, instances, bindings } = &self.stores;
        let read = tokio::join!(
            rules.wait_until_ready(),
            namespaces.wait_until_ready(),
            instances.wait_until_ready(),
            bindings.wait_until_ready(),
        );
        debug!(?read, "the NamespaceBinding controller has read its objects");
        // The first statuses are written after the first plan.
        let (mut reported, mut is_reported, mut pause) = (None, false, STATUS_INTERVAL);
        let (mut affected, mut rolled_out) = (Affected::default(), Instant::now());
        let (mut replanned, mut took) = (Instant::now(), Duration::ZERO);
        loop {
            let next = self.plan.load().next;
            let mut wait = next
                .map_or(RESYNC_INTERVAL, duration_until)
                .min(RESYNC_INTERVAL.saturating_sub(replanned.elapsed()));
            if !is_reported {
                wait = wait.min(since(reported).map_or(Duration::ZERO, |since| pause.saturating_sub(since)));
            }
            if !affected.rollout.is_empty() {
                wait = wait.min(ROLLOUT_INTERVAL.saturating_sub(rolled_out.elapsed()));
            }
            let mut is_needed = false;
            if let Ok(Some(first)) = tokio::time::timeout(wait, triggers.recv()).await {
                let window = DEBOUNCE.0.max(took * DEBOUNCE.1);
                is_needed = collect_triggers(first, window, &mut triggers, &mut affected.now).await;
                is_reported = false;
            }
            let is_due = next.is_some_and(|next| next <= Timestamp::now());
            if is_needed || is_due || replanned.elapsed() >= RESYNC_INTERVAL {
                let started = Instant::now();
                self.replan(&mut affected);
                took = started.elapsed();
                (replanned, is_reported) = (Instant::now(), false);
            }
            if rolled_out.elapsed() >= ROLLOUT_INTERVAL {
                affected.now.extend(affected.rollout.pop_front());
                rolled_out = Instant::now();
            }
            for namespace in affected.now.drain() {
                // The receiver is gone only during shutdown.
                let _ = queue.unbounded_send(ObjectRef::new(&namespace));
            }
            if !is_reported && since(reported).is_none_or(|since| since >= pause) {
                // A status that could not be written is retried: users who wait for a namespace read it.
                is_reported = self.write_statuses().await;
                pause = if is_reported { STATUS_INTERVAL } else { STATUS_RETRY };
                reported = Some(Instant::now());
            }
        }
    }

    /// All valid NamespaceBindings, the oldest first, and the invalid ones.
    pub(super) fn rules(&self) -> (Vec<Arc<Rule>>, Vec<Unreadable>) {
        let (mut rules, mut invalid) = (Vec::new(), Vec::new());
        for object in self.stores.rules.state() {
            if object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            match Rule::read(&object) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(error) => invalid.push((object, error)),
            }
        }
        rules.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        (rules, invalid)
    }

    /// Plans for all namespaces, and adds those whose plan changed to `affected`.
    fn replan(&self, affected: &mut Affected) {
        let (rules, invalid) = self.rules();
        let graces = rules.iter().map(|rule| (rule.name().to_owned(), rule.grace)).collect();
        self.graces.store(Arc::new(graces));
        let existing = self.existing();
        let before = self.plan.load_full();
        let refusals = self.lock_refusals().clone();
        let mut replanned = plan(&Inputs {
            rules: &rules,
            namespaces: &self.stores.namespaces.state(),
            existing: &existing,
            before: &before,
            refusals: &refusals,
            own: &self.own,
            now: Timestamp::now(),
        });
        self.lock_refusals().retain(|key, _| replanned.still_refused(key, &existing));
        // Objects of an invalid NamespaceBinding stay as they are.
        let unread: HashSet<String> = invalid.iter().map(|(object, _)| object.name_any()).collect();
        replanned.frozen = existing.keys().filter(|(_, rule)| unread.contains(rule)).cloned().collect();
        replanned.unread = invalid.iter().map(|(object, _)| object.binding_name().to_owned()).collect();
        for (namespace, assignments) in &replanned.namespaces {
            match before.namespaces.get(namespace) {
                Some(known) if known == assignments => {}
                Some(known) if differs_only_in_spec(known, assignments) => {
                    affected.rollout.push_back(namespace.clone());
                }
                _ => {
                    affected.now.insert(namespace.clone());
                }
            }
        }
        let lost = before.namespaces.keys().filter(|name| !replanned.namespaces.contains_key(*name));
        let frozen = before.frozen.symmetric_difference(&replanned.frozen).map(|(namespace, _)| namespace);
        affected.now.extend(lost.chain(frozen).cloned());
        self.plan.store(Arc::new(replanned));
    }

    fn existing(&self) -> Existing {
        let mut existing = Existing::new();
        for instance in self.stores.instances.state() {
            let key = (instance.namespace().unwrap_or_default(), owner(instance.as_ref()).to_owned());
            existing.entry(key).or_default().push(instance);
        }
        existing
    }
}

fn since(window: Option<Instant>) -> Option<Duration> {
    window.map(|window| window.elapsed())
}

/// Collects the changes that arrive within a time window. Returns whether the planner must run.
async fn collect_triggers(
    first: Trigger,
    length: Duration,
    triggers: &mut tokio_mpsc::UnboundedReceiver<Trigger>,
    affected: &mut HashSet<String>,
) -> bool {
    let mut is_needed = false;
    let mut take = |trigger| match trigger {
        Trigger::Namespace(name) => {
            affected.insert(name);
            is_needed = true;
        }
        Trigger::Rules => is_needed = true,
        Trigger::Report => {}
    };
    take(first);
    let others = async {
        while let Some(trigger) = triggers.recv().await {
            take(trigger);
        }
    };
    let _ = tokio::time::timeout(length, others).await;
    is_needed
}

/// Whether the two plans of a namespace differ only in the specs of their NamespaceBindings.
fn differs_only_in_spec(known: &[Assignment], replanned: &[Assignment]) -> bool {
    let same = |(known, replanned): (&Assignment, &Assignment)| {
        known.rule.object.uid() == replanned.rule.object.uid()
            && known.rule.object.spec.default_for_pods == replanned.rule.object.spec.default_for_pods
            && known.verdict == replanned.verdict
    };
    known.len() == replanned.len() && known.iter().zip(replanned).all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::namespace_bindings::{plan::Verdict, rule::tests::rule};

    fn assignments(spec: &Value, verdict: Verdict) -> Vec<Assignment> {
        vec![Assignment { rule: Arc::new(rule("db", spec)), verdict }]
    }

    #[test]
    fn only_a_new_decision_is_urgent_not_a_changed_spec() {
        let granted = || Verdict::Granted { stage: None };
        let known = assignments(&json!({}), granted());
        assert!(differs_only_in_spec(&known, &assignments(&json!({"env": "A=uri"}), granted())));
        assert!(!differs_only_in_spec(&known, &assignments(&json!({}), Verdict::OverTotal { limit: 1 })));
        assert!(!differs_only_in_spec(&known, &assignments(&json!({"defaultForPods": true}), granted())));
        assert!(!differs_only_in_spec(&known, &[]));
    }
}
