//! The planning task. It collects changes for a moment, then decides everything again and enqueues the namespaces
//! with a new decision. Namespaces with only a changed spec are enqueued one after the other.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use tokio::sync::mpsc as news;
use tracing::debug;

use super::{
    controller::{Controller, News, Stores, until},
    diff::owner,
    plan::{Facts, Held, Share, plan},
    rule::{InvalidRule, Rule},
};
use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::k8s::namespaces::NamespaceMeta;

/// How long changes are collected, at least; after a slow decision, this multiple of its duration.
const GATHER: (Duration, u32) = (Duration::from_millis(20), 4);
/// The shortest interval between status updates.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// The shortest interval after a failed status update.
const REPORT_AGAIN: Duration = Duration::from_secs(5);
/// The longest time between two decisions, in case a change was missed.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// The interval between namespaces that follow a changed spec.
const ROLL_OUT: Duration = Duration::from_millis(100);

/// An invalid NamespaceBinding, and why it is invalid.
pub(super) type Unreadable = (Arc<NamespaceBinding>, InvalidRule);

/// The namespaces to reconcile.
#[derive(Debug, Default)]
struct Concerned {
    now: HashSet<String>,
    /// Namespaces with an unchanged decision but a changed spec.
    in_turn: VecDeque<String>,
}

impl Controller {
    pub(super) async fn plan_for_ever(
        self: Arc<Self>,
        mut heard: news::UnboundedReceiver<News>,
        queue: mpsc::UnboundedSender<ObjectRef<NamespaceMeta>>,
    ) {
        let Stores { rules, namespaces, instances, bindings } = &self.stores;
        let read = tokio::join!(
            rules.wait_until_ready(),
            namespaces.wait_until_ready(),
            instances.wait_until_ready(),
            bindings.wait_until_ready(),
        );
        debug!(?read, "NamespaceBindings are reconciled");
        // The first status update follows the first decision.
        let (mut reported, mut is_reported, mut pause) = (None, false, REPORT_EVERY);
        let (mut concerned, mut rolled_out) = (Concerned::default(), Instant::now());
        let (mut decided, mut took) = (Instant::now(), Duration::ZERO);
        loop {
            let next = self.plan.load().next;
            let mut wait = next.map_or(LOOK_AGAIN, until).min(LOOK_AGAIN.saturating_sub(decided.elapsed()));
            if !is_reported {
                wait = wait.min(since(reported).map_or(Duration::ZERO, |since| pause.saturating_sub(since)));
            }
            if !concerned.in_turn.is_empty() {
                wait = wait.min(ROLL_OUT.saturating_sub(rolled_out.elapsed()));
            }
            let mut decide = false;
            if let Ok(Some(first)) = tokio::time::timeout(wait, heard.recv()).await {
                let moment = GATHER.0.max(took * GATHER.1);
                decide = gather(first, moment, &mut heard, &mut concerned.now).await;
                is_reported = false;
            }
            let is_due = next.is_some_and(|next| next <= Timestamp::now());
            if decide || is_due || decided.elapsed() >= LOOK_AGAIN {
                let started = Instant::now();
                self.decide(&mut concerned);
                took = started.elapsed();
                (decided, is_reported) = (Instant::now(), false);
            }
            if rolled_out.elapsed() >= ROLL_OUT {
                concerned.now.extend(concerned.in_turn.pop_front());
                rolled_out = Instant::now();
            }
            for namespace in concerned.now.drain() {
                // During a stop nobody receives any more.
                let _ = queue.unbounded_send(ObjectRef::new(&namespace));
            }
            if !is_reported && since(reported).is_none_or(|since| since >= pause) {
                // A failed status update is retried, because users of a waiting namespace read the status.
                is_reported = self.report().await;
                pause = if is_reported { REPORT_EVERY } else { REPORT_AGAIN };
                reported = Some(Instant::now());
            }
        }
    }

    /// The rules of all valid NamespaceBindings, the oldest first, and the invalid ones.
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
        rules.sort_by(|a, b| a.seniority().cmp(&b.seniority()));
        (rules, invalid)
    }

    /// Decides everything again, and collects the namespaces to reconcile.
    fn decide(&self, concerned: &mut Concerned) {
        let (rules, invalid) = self.rules();
        let graces = rules.iter().map(|rule| (rule.name().to_owned(), rule.grace)).collect();
        self.graces.store(Arc::new(graces));
        let held = self.held();
        let before = self.plan.load_full();
        let refusals = self.lock_refusals().clone();
        let mut decided = plan(&Facts {
            rules: &rules,
            namespaces: &self.stores.namespaces.state(),
            held: &held,
            before: &before,
            refusals: &refusals,
            own: &self.own,
            now: Timestamp::now(),
        });
        self.lock_refusals().retain(|key, _| decided.still_refused(key, &held));
        // An invalid NamespaceBinding decides nothing; its existing services stay.
        let unread: HashSet<String> = invalid.iter().map(|(object, _)| object.name_any()).collect();
        decided.frozen = held.keys().filter(|(_, rule)| unread.contains(rule)).cloned().collect();
        decided.unread = invalid.iter().map(|(object, _)| object.binding_name().to_owned()).collect();
        for (namespace, shares) in &decided.namespaces {
            match before.namespaces.get(namespace) {
                Some(known) if known == shares => {}
                Some(known) if says_the_same(known, shares) => {
                    concerned.in_turn.push_back(namespace.clone());
                }
                _ => {
                    concerned.now.insert(namespace.clone());
                }
            }
        }
        let lost = before.namespaces.keys().filter(|name| !decided.namespaces.contains_key(*name));
        let frozen = before.frozen.symmetric_difference(&decided.frozen).map(|(namespace, _)| namespace);
        concerned.now.extend(lost.chain(frozen).cloned());
        self.plan.store(Arc::new(decided));
    }

    fn held(&self) -> Held {
        let mut held = Held::new();
        for instance in self.stores.instances.state() {
            let key = (instance.namespace().unwrap_or_default(), owner(instance.as_ref()).to_owned());
            held.entry(key).or_default().push(instance);
        }
        held
    }
}

fn since(moment: Option<Instant>) -> Option<Duration> {
    moment.map(|moment| moment.elapsed())
}

/// Collects further changes for a moment. Returns whether a decision is needed.
async fn gather(
    first: News,
    length: Duration,
    heard: &mut news::UnboundedReceiver<News>,
    concerned: &mut HashSet<String>,
) -> bool {
    let mut decide = false;
    let mut take = |news| match news {
        News::Namespace(name) => {
            concerned.insert(name);
            decide = true;
        }
        News::Rules => decide = true,
        News::Report => {}
    };
    take(first);
    let moment = async {
        while let Some(news) = heard.recv().await {
            take(news);
        }
    };
    let _ = tokio::time::timeout(length, moment).await;
    decide
}

/// Whether two plans grant the same services by the same NamespaceBindings, ignoring their specs.
fn says_the_same(known: &[Share], decided: &[Share]) -> bool {
    let same = |(known, decided): (&Share, &Share)| {
        known.rule.object.uid() == decided.rule.object.uid()
            && known.rule.object.spec.default_for_pods == decided.rule.object.spec.default_for_pods
            && known.verdict == decided.verdict
    };
    known.len() == decided.len() && known.iter().zip(decided).all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::namespace_bindings::{plan::Verdict, rule::tests::rule};

    fn shares(spec: &Value, verdict: Verdict) -> Vec<Share> {
        vec![Share { rule: Arc::new(rule("db", spec)), verdict }]
    }

    #[test]
    fn only_a_new_decision_is_urgent_not_a_changed_spec() {
        let granted = || Verdict::Granted { stage: None };
        let known = shares(&json!({}), granted());
        assert!(says_the_same(&known, &shares(&json!({"env": "A=uri"}), granted())));
        assert!(!says_the_same(&known, &shares(&json!({}), Verdict::OverTotal { limit: 1 })));
        assert!(!says_the_same(&known, &shares(&json!({"defaultForPods": true}), granted())));
        assert!(!says_the_same(&known, &[]));
    }
}
