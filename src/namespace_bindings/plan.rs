//! The plan: which namespace gets which instance, by selection, names, ttl and limits. Pure and deterministic, so that a
//! restarted controller continues where the former one ended.

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

/// The instances that exist, by namespace and name of the NamespaceBinding. There are several where a NamespaceBinding was
/// recreated with another `bindingName`.
pub(super) type Existing = HashMap<(String, String), Vec<Arc<ServiceInstance>>>;

/// Since when an instance could not be created, by namespace and NamespaceBinding: the API server refused it, or its name is
/// taken.
pub(super) type Refusals = HashMap<(String, String), Timestamp>;

/// How long a refused instance keeps its slot of the limits before another refused one gets it. Instances that were not
/// refused never wait for this.
const RETRY_TURN: Duration = Duration::from_mins(5);

/// Whether an instance that was refused at `since` must give its slot to another.
pub(super) fn retry_turn_is_over(since: Timestamp, now: Timestamp) -> bool {
    since + RETRY_TURN <= now
}

/// What the plan follows from.
pub(super) struct Inputs<'a> {
    pub(super) rules: &'a [Arc<Rule>],
    pub(super) namespaces: &'a [Arc<NamespaceMeta>],
    pub(super) existing: &'a Existing,
    /// The former plan: what was granted stays granted, also while the instance is being created.
    pub(super) before: &'a Plan,
    /// Granted instances that could not be created. They take no slot of the limits from others.
    pub(super) refusals: &'a Refusals,
    /// bindery's own namespace: no NamespaceBinding selects it, because its pods are not injected. Existing objects stay.
    pub(super) own: &'a str,
    pub(super) now: Timestamp,
}

/// What each namespace gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) namespaces: HashMap<String, Vec<Assignment>>,
    /// The generation of each NamespaceBinding that the plan follows.
    pub(super) generations: HashMap<String, Option<i64>>,
    /// What stays as it is, by namespace and NamespaceBinding, because the NamespaceBinding is invalid.
    pub(super) frozen: HashSet<(String, String)>,
    /// The binding names of the invalid NamespaceBindings.
    pub(super) unread: HashSet<String>,
    /// When the plan changes without an event.
    pub(super) next: Option<Timestamp>,
}

/// The decision about one namespace and one NamespaceBinding that selects it.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) rule: Arc<Rule>,
    pub(super) verdict: Verdict,
}

/// Whether a namespace gets its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Granted {
        /// How near the end of the ttl is, if there is a ttl.
        stage: Option<Stage>,
    },
    /// `limits.total` is reached.
    OverTotal { limit: i32 },
    /// `limits.perLabel` is reached.
    OverLabel { label: String, value: String, limit: i32 },
    /// The parameters cannot be rendered for the namespace, so that it takes no slot of the limits.
    InvalidTemplate { error: TemplateError },
    /// An older NamespaceBinding uses the same `bindingName` in the namespace.
    NameClash { with: String },
    /// The ttl is over.
    Expired { since: Timestamp },
}

impl PartialEq for Assignment {
    fn eq(&self, other: &Self) -> bool {
        let version =
            |assignment: &Self| (assignment.rule.object.uid(), assignment.rule.object.metadata.generation);
        version(self) == version(other) && self.verdict == other.verdict
    }
}

impl Plan {
    fn granted(&self, namespace: &str, rule: &str) -> bool {
        let is_granted = |assignment: &Assignment| {
            assignment.rule.name() == rule && matches!(assignment.verdict, Verdict::Granted { .. })
        };
        self.namespaces.get(namespace).is_some_and(|assignments| assignments.iter().any(is_granted))
    }
}

/// A namespace that may get an instance, if the limits allow it.
struct Candidate<'a> {
    namespace: &'a str,
    created: Option<Timestamp>,
    /// Since when its instance has been refused, unless it holds a slot for a retry.
    refused: Option<Timestamp>,
    label: Option<&'a str>,
    stage: Option<Stage>,
}

/// Plans. `rules` must be in the order of their precedence.
pub(super) fn plan(inputs: &Inputs<'_>) -> Plan {
    let generation = |rule: &Arc<Rule>| (rule.name().to_owned(), rule.object.metadata.generation);
    let mut plan = Plan { generations: inputs.rules.iter().map(generation).collect(), ..Plan::default() };
    let mut candidates: Vec<Vec<Candidate<'_>>> = inputs.rules.iter().map(|_| Vec::new()).collect();
    for namespace in inputs.namespaces {
        if namespace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let is_own = namespace.metadata.name.as_deref() == Some(inputs.own);
        let is_meant = |rule: &Rule| !is_own || inputs.holds(&namespace.name_any(), rule);
        let selects = |rule: &Rule| rule.selects(&namespace.metadata) && is_meant(rule);
        let mut selecting: Vec<_> =
            inputs.rules.iter().enumerate().filter(|(_, rule)| selects(rule)).collect();
        // A NamespaceBinding that already has an instance there comes first; otherwise a name clash would delete its data.
        selecting.sort_by_key(|(_, rule)| !inputs.holds(&namespace.name_any(), rule));
        let mut names: HashMap<&str, &str> = HashMap::new();
        for (index, rule) in selecting {
            if let Some(older) = names.get(rule.binding_name()) {
                let verdict = Verdict::NameClash { with: (*older).to_owned() };
                plan.assign(namespace, rule, verdict);
                continue;
            }
            names.insert(rule.binding_name(), rule.name());
            match inputs.stage(rule, namespace) {
                Some(Stage::Expired { since }) => plan.assign(namespace, rule, Verdict::Expired { since }),
                stage => {
                    plan.changes_with(stage, inputs.now);
                    if let Some(error) = inputs.template_problem(rule, namespace) {
                        plan.assign(namespace, rule, Verdict::InvalidTemplate { error });
                        continue;
                    }
                    if rule.limits().is_some()
                        && let Some(since) = inputs.refusal(&namespace.name_any(), rule)
                        && !retry_turn_is_over(since, inputs.now)
                    {
                        plan.changes_at(since + RETRY_TURN);
                    }
                    candidates[index].push(Candidate {
                        namespace: namespace.metadata.name.as_deref().unwrap_or_default(),
                        created: namespace.creation_timestamp().map(|time| time.0),
                        refused: inputs.refused(rule, namespace),
                        label: counted_label(rule, namespace),
                        stage,
                    });
                }
            }
        }
    }
    for (rule, candidates) in inputs.rules.iter().zip(candidates) {
        for (namespace, verdict) in inputs.apply_limits(rule, candidates) {
            let assignment = Assignment { rule: rule.clone(), verdict };
            plan.namespaces.entry(namespace.to_owned()).or_default().push(assignment);
        }
    }
    plan
}

impl Plan {
    fn assign(&mut self, namespace: &NamespaceMeta, rule: &Arc<Rule>, verdict: Verdict) {
        let assignment = Assignment { rule: rule.clone(), verdict };
        self.namespaces.entry(namespace.name_any()).or_default().push(assignment);
    }

    fn changes_with(&mut self, stage: Option<Stage>, now: Timestamp) {
        let at = match stage {
            Some(Stage::Living { announced_at, .. }) if announced_at > now => announced_at,
            // There is no instance whose expiry could be announced.
            Some(Stage::Living { until, .. }) => until,
            Some(Stage::Expiring { at }) => at,
            Some(Stage::Expired { .. }) | None => return,
        };
        self.changes_at(at);
    }

    fn changes_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Whether a refusal still matters: the instance is planned and does not exist.
    pub(super) fn still_refused(&self, (namespace, rule): &(String, String), existing: &Existing) -> bool {
        let mut assignments = self.namespaces.get(namespace).into_iter().flatten();
        assignments.any(|assignment| {
            assignment.rule.name() == rule && instance(existing, namespace, &assignment.rule).is_none()
        })
    }
}

/// The value of the label of `limits.perLabel`.
fn counted_label<'a>(rule: &Rule, namespace: &'a NamespaceMeta) -> Option<&'a str> {
    let label = &rule.limits()?.per_label.as_ref()?.label;
    namespace.metadata.labels.as_ref()?.get(label).map(String::as_str)
}

/// The instance of a NamespaceBinding in a namespace, under its current `bindingName`.
fn instance<'h>(existing: &'h Existing, namespace: &str, rule: &Rule) -> Option<&'h Arc<ServiceInstance>> {
    let all = existing.get(&(namespace.to_owned(), rule.name().to_owned()))?;
    all.iter().find(|instance| instance.name_any() == rule.binding_name())
}

impl Inputs<'_> {
    fn holds(&self, namespace: &str, rule: &Rule) -> bool {
        instance(self.existing, namespace, rule).is_some()
    }

    /// Why the parameters cannot be rendered, where the instance would take a slot of the limits.
    fn template_problem(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<TemplateError> {
        rule.limits()?;
        if self.holds(&namespace.name_any(), rule) {
            return None;
        }
        rule.instance(&namespace.metadata).err()
    }

    /// Since when the instance has been refused, if it is.
    fn refusal(&self, namespace: &str, rule: &Rule) -> Option<Timestamp> {
        self.refusals.get(&(namespace.to_owned(), rule.name().to_owned())).copied()
    }

    fn refused(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<Timestamp> {
        let name = namespace.metadata.name.as_deref()?;
        let since = self.refusal(name, rule)?;
        let is_its_turn = self.before.granted(name, rule.name()) && !retry_turn_is_over(since, self.now);
        (!is_its_turn).then_some(since)
    }

    fn stage(&self, rule: &Rule, namespace: &NamespaceMeta) -> Option<Stage> {
        let life = rule.ttl.as_ref()?;
        let instance = instance(self.existing, &namespace.name_any(), rule);
        Some(stage(life, &namespace.metadata, instance.map(|instance| &instance.metadata), self.now))
    }

    /// Which candidates the limits allow.
    fn apply_limits<'c>(&self, rule: &Rule, candidates: Vec<Candidate<'c>>) -> Vec<(&'c str, Verdict)> {
        let granted =
            |candidate: &Candidate<'c>| (candidate.namespace, Verdict::Granted { stage: candidate.stage });
        let Some(limits) = rule.limits() else { return candidates.iter().map(granted).collect() };
        let is_refused = |candidate: &Candidate<'_>| self.refusal(candidate.namespace, rule).is_some();
        let has = |candidate: &Candidate<'_>| {
            let is_being_created =
                || self.before.granted(candidate.namespace, rule.name()) && !is_refused(candidate);
            self.holds(candidate.namespace, rule) || is_being_created()
        };
        let (inside, waiting): (Vec<_>, Vec<_>) = candidates.into_iter().partition(has);
        let mut verdicts: Vec<_> = inside.iter().map(granted).collect();
        let mut capacity = Capacity::new(limits, &inside);
        let elsewhere = self.surplus_instances(rule, &inside);
        capacity.total = capacity.total.saturating_add(elsewhere.values().sum());
        // Instances in unknown namespaces count towards the total only.
        for namespace in self.namespaces {
            let name = namespace.metadata.name.as_deref().unwrap_or_default();
            if let Some(count) = elsewhere.get(name) {
                *capacity.labels.entry(counted_label(rule, namespace)).or_default() += count;
            }
        }
        // Refused instances are retried with the slots that are left.
        let (refused, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_refused);
        verdicts.extend(capacity.grant(waiting));
        verdicts.extend(capacity.grant(refused));
        verdicts
    }

    /// How many instances exist that the plan does not want any more, by namespace.
    fn surplus_instances(&self, rule: &Rule, inside: &[Candidate<'_>]) -> HashMap<&str, i32> {
        let inside: HashSet<&str> = inside.iter().map(|candidate| candidate.namespace).collect();
        let mut elsewhere = HashMap::new();
        for ((namespace, _), instances) in self.existing.iter().filter(|((_, name), _)| name == rule.name()) {
            let is_inside = inside.contains(namespace.as_str());
            let is_surplus =
                |instance: &&Arc<ServiceInstance>| !is_inside || instance.name_any() != rule.binding_name();
            for _ in instances.iter().filter(is_surplus) {
                *elsewhere.entry(namespace.as_str()).or_default() += 1;
            }
        }
        elsewhere
    }
}

/// The slots that the limits leave.
struct Capacity<'a> {
    limits: &'a crate::apis::bindery::namespace_binding::Limits,
    total: i32,
    labels: HashMap<Option<&'a str>, i32>,
}

impl<'a> Capacity<'a> {
    fn new(limits: &'a crate::apis::bindery::namespace_binding::Limits, inside: &[Candidate<'a>]) -> Self {
        let mut labels = HashMap::new();
        for candidate in inside {
            *labels.entry(candidate.label).or_default() += 1;
        }
        Self { limits, total: i32::try_from(inside.len()).unwrap_or(i32::MAX), labels }
    }

    /// Grants slots: first to the label with the fewest instances, within a label to the oldest namespace. Among refused
    /// instances the one whose refusal is longest ago comes first.
    fn grant<'c>(&mut self, mut waiting: Vec<Candidate<'c>>) -> Vec<(&'c str, Verdict)>
    where
        'c: 'a,
    {
        waiting.sort_by_key(|candidate| (candidate.refused, candidate.created, candidate.namespace));
        let mut queues: HashMap<Option<&'c str>, VecDeque<Candidate<'c>>> = HashMap::new();
        for candidate in waiting {
            queues.entry(candidate.label).or_default().push_back(candidate);
        }
        let mut verdicts = Vec::new();
        let turn = |capacity: &Self, label: Option<&'c str>, first: &Candidate<'c>| {
            let has = capacity.labels.get(&label).copied().unwrap_or_default();
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

    /// Why no further namespace with this label gets a slot.
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

/// Whether the ttl of an assignment counts from the last pod, and matters.
pub(super) fn counts_pods(assignment: &Assignment) -> bool {
    let is_counted = assignment.rule.ttl.is_some_and(|life| life.since == Since::LastPod);
    is_counted && matches!(assignment.verdict, Verdict::Granted { .. } | Verdict::Expired { .. })
}

/// The assignments of a namespace in which a pod runs: those whose ttl is over by the last annotation are granted, where the
/// instance still exists. A namespace that lost its instance gets it back from the next plan, which knows the limits.
pub(super) fn keep_active(assignments: &[Assignment], is_there: impl Fn(&Rule) -> bool) -> Vec<Assignment> {
    let keep = |assignment: &Assignment| {
        let is_over = matches!(assignment.verdict, Verdict::Expired { .. });
        let verdict = if is_over && counts_pods(assignment) && is_there(&assignment.rule) {
            Verdict::Granted { stage: None }
        } else {
            assignment.verdict.clone()
        };
        Assignment { rule: assignment.rule.clone(), verdict }
    };
    assignments.iter().map(keep).collect()
}

#[cfg(test)]
mod tests;
