//! Decides which namespace gets which service: selection, names, ttl and limits. Pure and deterministic, so a
//! restarted controller continues where the last one stopped.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{
    rule::Rule,
    template::TemplateError,
    ttl::{Stage, stage},
};
use crate::{
    apis::{bindery::namespace_binding::Since, servicecatalog::ServiceInstance},
    k8s::namespaces::NamespaceMeta,
};

/// The instances that were created for NamespaceBindings, by namespace and by the NamespaceBinding's name. There are
/// several if a NamespaceBinding was recreated with another `bindingName`.
pub(super) type Held = HashMap<(String, String), Vec<Arc<ServiceInstance>>>;

/// When the API server refused an instance or another user's object blocked it, by namespace and NamespaceBinding.
pub(super) type Refusals = HashMap<(String, String), Timestamp>;

/// How long a refused namespace is retried before another refused one gets its slot. Namespaces that were not refused
/// never wait for this.
const TURN: Duration = Duration::from_mins(5);

/// Whether the turn of a refused namespace is over.
pub(super) fn turn_is_over(since: Timestamp, now: Timestamp) -> bool {
    since + TURN <= now
}

/// The input of the plan.
pub(super) struct Facts<'a> {
    pub(super) rules: &'a [Arc<Rule>],
    pub(super) namespaces: &'a [Arc<NamespaceMeta>],
    pub(super) held: &'a Held,
    /// The former plan. A granted slot stays granted, also while its instance is being created.
    pub(super) before: &'a Plan,
    /// Granted instances that could not be created. They take no slot.
    pub(super) refusals: &'a Refusals,
    /// bindery's own namespace. It gets no services, because its pods are not bound; existing services stay.
    pub(super) own: &'a str,
    pub(super) now: Timestamp,
}

/// The services of each namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) namespaces: HashMap<String, Vec<Share>>,
    /// The generation of each NamespaceBinding that the plan used.
    pub(super) generations: HashMap<String, Option<i64>>,
    /// Pairs of namespace and NamespaceBinding that nothing decides about, because the NamespaceBinding is invalid.
    pub(super) frozen: HashSet<(String, String)>,
    /// The `bindingName`s of invalid NamespaceBindings.
    pub(super) unread: HashSet<String>,
    /// When the plan changes by itself.
    pub(super) next: Option<Timestamp>,
}

/// The decision about a namespace that a NamespaceBinding selects.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) rule: Arc<Rule>,
    pub(super) verdict: Verdict,
}

/// Whether a namespace gets the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The namespace gets the service.
    Granted {
        /// How near the end is, if there is a ttl.
        stage: Option<Stage>,
    },
    /// `limits.total` is reached.
    OverTotal { limit: i32 },
    /// `limits.perLabel` is reached for the namespace's label.
    OverLabel { label: String, value: String, limit: i32 },
    /// The instance cannot be built from spec and namespace, so the namespace takes no slot.
    Unfillable { error: TemplateError },
    /// An older NamespaceBinding uses the same name in the namespace.
    NameClash { with: String },
    /// The ttl is over.
    Expired { since: Timestamp },
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        let version = |share: &Self| (share.rule.object.uid(), share.rule.object.metadata.generation);
        version(self) == version(other) && self.verdict == other.verdict
    }
}

impl Plan {
    fn granted(&self, namespace: &str, rule: &str) -> bool {
        let is_granted =
            |share: &Share| share.rule.name() == rule && matches!(share.verdict, Verdict::Granted { .. });
        self.namespaces.get(namespace).is_some_and(|shares| shares.iter().any(is_granted))
    }
}

/// A namespace that may get the service of a rule.
struct Candidate<'a> {
    namespace: &'a str,
    created: Option<Timestamp>,
    /// When the namespace was refused, unless it has its turn.
    refused: Option<Timestamp>,
    label: Option<&'a str>,
    stage: Option<Stage>,
}

/// Computes the plan. `rules` must be sorted by seniority.
pub(super) fn plan(facts: &Facts<'_>) -> Plan {
    let generation = |rule: &Arc<Rule>| (rule.name().to_owned(), rule.object.metadata.generation);
    let mut plan = Plan { generations: facts.rules.iter().map(generation).collect(), ..Plan::default() };
    let mut candidates: Vec<Vec<Candidate<'_>>> = facts.rules.iter().map(|_| Vec::new()).collect();
    for namespace in facts.namespaces {
        if namespace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let is_own = namespace.metadata.name.as_deref() == Some(facts.own);
        let is_meant = |rule: &Rule| !is_own || facts.holds(&namespace.name_any(), rule);
        let selects = |rule: &Rule| rule.selects(&namespace.metadata) && is_meant(rule);
        let mut selecting: Vec<_> =
            facts.rules.iter().enumerate().filter(|(_, rule)| selects(rule)).collect();
        // The rule that already created the instance keeps the name; otherwise data would be lost.
        selecting.sort_by_key(|(_, rule)| !facts.holds(&namespace.name_any(), rule));
        let mut names: HashMap<&str, &str> = HashMap::new();
        for (index, rule) in selecting {
            if let Some(older) = names.get(rule.binding_name()) {
                let verdict = Verdict::NameClash { with: (*older).to_owned() };
                plan.share(namespace, rule, verdict);
                continue;
            }
            names.insert(rule.binding_name(), rule.name());
            match facts.stage(rule, namespace) {
                Some(Stage::Expired { since }) => plan.share(namespace, rule, Verdict::Expired { since }),
                stage => {
                    plan.changes_with(stage, facts.now);
                    if let Some(error) = facts.unfillable(rule, namespace) {
                        plan.share(namespace, rule, Verdict::Unfillable { error });
                        continue;
                    }
                    if rule.limits().is_some()
                        && let Some(since) = facts.refusal(&namespace.name_any(), rule)
                        && !turn_is_over(since, facts.now)
                    {
                        plan.changes_at(since + TURN);
                    }
                    candidates[index].push(Candidate {
                        namespace: namespace.metadata.name.as_deref().unwrap_or_default(),
                        created: namespace.creation_timestamp().map(|time| time.0),
                        refused: facts.refused(rule, namespace),
                        label: counted_label(rule, namespace),
                        stage,
                    });
                }
            }
        }
    }
    for (rule, candidates) in facts.rules.iter().zip(candidates) {
        for (namespace, verdict) in facts.admit(rule, candidates) {
            let share = Share { rule: rule.clone(), verdict };
            plan.namespaces.entry(namespace.to_owned()).or_default().push(share);
        }
    }
    plan
}

impl Plan {
    fn share(&mut self, namespace: &NamespaceMeta, rule: &Arc<Rule>, verdict: Verdict) {
        let share = Share { rule: rule.clone(), verdict };
        self.namespaces.entry(namespace.name_any()).or_default().push(share);
    }

    fn changes_with(&mut self, stage: Option<Stage>, now: Timestamp) {
        let at = match stage {
            Some(Stage::Living { announced_at, .. }) if announced_at > now => announced_at,
            // Without an instance there is no end to announce.
            Some(Stage::Living { until, .. }) => until,
            Some(Stage::Expiring { at }) => at,
            Some(Stage::Expired { .. }) | None => return,
        };
        self.changes_at(at);
    }

    fn changes_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Whether a refusal still matters: the namespace should have the instance and does not.
    pub(super) fn still_refused(&self, (namespace, rule): &(String, String), held: &Held) -> bool {
        let mut shares = self.namespaces.get(namespace).into_iter().flatten();
        shares.any(|share| share.rule.name() == rule && instance(held, namespace, &share.rule).is_none())
    }
}

/// Whether the pods of the namespace decide how long the share lasts.
pub(super) fn counts_pods(share: &Share) -> bool {
    let is_counted = share.rule.ttl.is_some_and(|life| life.since == Since::LastPod);
    is_counted && matches!(share.verdict, Verdict::Granted { .. } | Verdict::Expired { .. })
}

/// What is over only by the last note is not over, where it is still there. Who lost it gets it back by a new decision,
/// which knows the limits.
pub(super) fn kept(shares: &[Share], is_there: impl Fn(&Rule) -> bool) -> Vec<Share> {
    let keep = |share: &Share| {
        let is_over = matches!(share.verdict, Verdict::Expired { .. });
        let verdict = if is_over && counts_pods(share) && is_there(&share.rule) {
            Verdict::Granted { stage: None }
        } else {
            share.verdict.clone()
        };
        Share { rule: share.rule.clone(), verdict }
    };
    shares.iter().map(keep).collect()
}

/// The value of the label by which the rule counts.
fn counted_label<'a>(rule: &Rule, namespace: &'a NamespaceMeta) -> Option<&'a str> {
    let label = &rule.limits()?.per_label.as_ref()?.label;
    namespace.metadata.labels.as_ref()?.get(label).map(String::as_str)
}

/// The namespace's instance of a rule, under the rule's present name.
fn instance<'h>(held: &'h Held, namespace: &str, rule: &Rule) -> Option<&'h Arc<ServiceInstance>> {
    let all = held.get(&(namespace.to_owned(), rule.name().to_owned()))?;
    all.iter().find(|instance| instance.name_any() == rule.binding_name())
}

impl Facts<'_> {
    fn holds(&self, namespace: &str, rule: &Rule) -> bool {
        instance(self.held, namespace, rule).is_some()
    }

    /// Why no instance can be built for a namespace that would take a slot.
    fn unfillable(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<TemplateError> {
        rule.limits()?;
        if self.holds(&namespace.name_any(), rule) {
            return None;
        }
        rule.instance(&namespace.metadata).err()
    }

    /// When the namespace's instance was refused.
    fn refusal(&self, namespace: &str, rule: &Rule) -> Option<Timestamp> {
        self.refusals.get(&(namespace.to_owned(), rule.name().to_owned())).copied()
    }

    fn refused(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<Timestamp> {
        let name = namespace.metadata.name.as_deref()?;
        let since = self.refusal(name, rule)?;
        let is_its_turn = self.before.granted(name, rule.name()) && !turn_is_over(since, self.now);
        (!is_its_turn).then_some(since)
    }

    fn stage(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<Stage> {
        let life = rule.ttl.as_ref()?;
        let instance = instance(self.held, &namespace.name_any(), rule);
        Some(stage(life, &namespace.metadata, instance.map(|instance| &instance.metadata), self.now))
    }

    /// Decides which candidates get a slot.
    fn admit<'c>(&self, rule: &Rule, candidates: Vec<Candidate<'c>>) -> Vec<(&'c str, Verdict)> {
        let granted =
            |candidate: &Candidate<'c>| (candidate.namespace, Verdict::Granted { stage: candidate.stage });
        let Some(limits) = rule.limits() else { return candidates.iter().map(granted).collect() };
        let is_refused = |candidate: &Candidate<'_>| self.refusal(candidate.namespace, rule).is_some();
        let has = |candidate: &Candidate<'_>| {
            let is_on_its_way =
                || self.before.granted(candidate.namespace, rule.name()) && !is_refused(candidate);
            self.holds(candidate.namespace, rule) || is_on_its_way()
        };
        let (inside, waiting): (Vec<_>, Vec<_>) = candidates.into_iter().partition(has);
        let mut verdicts: Vec<_> = inside.iter().map(granted).collect();
        let mut room = Room::new(limits, &inside);
        let elsewhere = self.held_elsewhere(rule, &inside);
        room.total = room.total.saturating_add(elsewhere.values().sum());
        // An instance in an unknown namespace counts as well.
        for namespace in self.namespaces {
            let name = namespace.metadata.name.as_deref().unwrap_or_default();
            if let Some(count) = elsewhere.get(name) {
                *room.labels.entry(counted_label(rule, namespace)).or_default() += count;
            }
        }
        // Refused candidates are retried only with slots that no other candidate wants.
        let (refused, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_refused);
        verdicts.extend(room.let_in(waiting));
        verdicts.extend(room.let_in(refused));
        verdicts
    }

    /// How many instances of the rule still exist outside the candidates, by namespace.
    fn held_elsewhere(&self, rule: &Rule, inside: &[Candidate<'_>]) -> HashMap<&str, i32> {
        let inside: HashSet<&str> = inside.iter().map(|candidate| candidate.namespace).collect();
        let mut elsewhere = HashMap::new();
        for ((namespace, _), instances) in self.held.iter().filter(|((_, name), _)| name == rule.name()) {
            let is_inside = inside.contains(namespace.as_str());
            let is_left =
                |instance: &&Arc<ServiceInstance>| !is_inside || instance.name_any() != rule.binding_name();
            for _ in instances.iter().filter(is_left) {
                *elsewhere.entry(namespace.as_str()).or_default() += 1;
            }
        }
        elsewhere
    }
}

/// The free slots.
struct Room<'a> {
    limits: &'a crate::apis::bindery::namespace_binding::Limits,
    total: i32,
    labels: HashMap<Option<&'a str>, i32>,
}

impl<'a> Room<'a> {
    fn new(limits: &'a crate::apis::bindery::namespace_binding::Limits, inside: &[Candidate<'a>]) -> Self {
        let mut labels = HashMap::new();
        for candidate in inside {
            *labels.entry(candidate.label).or_default() += 1;
        }
        Self { limits, total: i32::try_from(inside.len()).unwrap_or(i32::MAX), labels }
    }

    /// Grants slots, first to labels with the fewest instances, and within a label to the oldest namespace; among
    /// refused namespaces, to the one that was refused longest ago.
    fn let_in<'c>(&mut self, mut waiting: Vec<Candidate<'c>>) -> Vec<(&'c str, Verdict)>
    where
        'c: 'a,
    {
        waiting.sort_by_key(|candidate| (candidate.refused, candidate.created, candidate.namespace));
        let mut queues: HashMap<Option<&'c str>, VecDeque<Candidate<'c>>> = HashMap::new();
        for candidate in waiting {
            queues.entry(candidate.label).or_default().push_back(candidate);
        }
        let mut verdicts = Vec::new();
        let turn = |room: &Self, label: Option<&'c str>, first: &Candidate<'c>| {
            let has = room.labels.get(&label).copied().unwrap_or_default();
            Reverse((first.refused, has, first.created, first.namespace, label))
        };
        let mut turns: BinaryHeap<_> =
            queues.iter().filter_map(|(label, queue)| Some(turn(self, *label, queue.front()?))).collect();
        while let Some(Reverse((_, has, _, _, label))) = turns.pop() {
            let Some(queue) = queues.get_mut(&label) else { continue };
            if let Some(refusal) = self.refusal(has, label) {
                verdicts.extend(queue.drain(..).map(|candidate| (candidate.namespace, refusal.clone())));
                continue;
            }
            let Some(candidate) = queue.pop_front() else { continue };
            self.total += 1;
            *self.labels.entry(label).or_default() += 1;
            verdicts.push((candidate.namespace, Verdict::Granted { stage: candidate.stage }));
            if let Some(next) = queue.front() {
                turns.push(turn(self, label, next));
            }
        }
        verdicts
    }

    /// The limit that stops further grants for this label.
    fn refusal(&self, has: i32, label: Option<&str>) -> Option<Verdict> {
        if let Some(per_label) = self.limits.per_label.as_ref().filter(|limit| has >= limit.count) {
            return Some(Verdict::OverLabel {
                label: per_label.label.clone(),
                value: label.unwrap_or_default().to_owned(),
                limit: per_label.count,
            });
        }
        let limit = self.limits.total.filter(|limit| self.total >= *limit)?;
        Some(Verdict::OverTotal { limit })
    }
}

#[cfg(test)]
mod tests;
