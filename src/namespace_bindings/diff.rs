//! The diff of one namespace: the steps from its observed objects to its plan. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::{
    namespace_defaults,
    plan::{Assignment, Verdict},
    rule::{GRACE, Rule, is_as_wanted},
    template::TemplateError,
    ttl::{Stage, annotation_time},
};
use crate::{
    apis::servicecatalog::{NameReference, ServiceBinding, ServiceBindingSpec, ServiceInstance},
    contract::{binding, branch},
    k8s::events::Event,
};

/// The action of events about NamespaceBindings.
pub(super) const EVENT_ACTION: &str = "Reconcile";

/// A namespace, the objects of NamespaceBindings in it, and its plan.
pub(super) struct Observed<'a> {
    pub(super) namespace: &'a ObjectMeta,
    pub(super) assignments: &'a [Assignment],
    pub(super) instances: &'a [Arc<ServiceInstance>],
    pub(super) bindings: &'a [Arc<ServiceBinding>],
    /// The grace period of the NamespaceBinding with this name, while it exists.
    pub(super) grace: &'a dyn Fn(&str) -> Option<Duration>,
    /// The binding names of invalid NamespaceBindings.
    pub(super) unread: &'a HashSet<String>,
    pub(super) now: Timestamp,
}

/// The steps, the findings for the status, and when to reconcile again.
#[derive(Debug, Default)]
pub(super) struct Diff {
    pub(super) steps: Vec<Step>,
    /// A merge patch of the Namespace's metadata.
    pub(super) metadata_patch: Option<Value>,
    /// The findings by name of the NamespaceBinding.
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) requeue_at: Option<Timestamp>,
}

/// A change for the NamespaceBinding of this name.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) rule: String,
    pub(super) change: Change,
}

#[derive(Debug)]
pub(super) enum Change {
    /// Creates an instance.
    CreateInstance(Box<ServiceInstance>),
    /// Creates a binding.
    CreateBinding(Box<ServiceBinding>),
    /// Sets or removes an annotation of an instance.
    AnnotateInstance {
        instance: Arc<ServiceInstance>,
        annotation: &'static str,
        value: Option<String>,
        event: Option<Event>,
    },
    /// Sets the names of a binding's variables.
    SetBindingEnv { binding: Arc<ServiceBinding>, env: Option<String> },
    /// Deletes the instance and the binding.
    Delete { instance: Option<Arc<ServiceInstance>>, binding: Option<Arc<ServiceBinding>>, event: Event },
}

/// What the status of the NamespaceBinding reports about a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Why the namespace does not have its instance.
    pub(super) problem: Option<Problem>,
    /// Whether a new instance would get another spec.
    pub(super) is_outdated: bool,
}

/// Why a namespace does not have its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether somebody must act.
    pub(super) is_failure: bool,
}

/// Compares plan and observed objects.
pub(super) fn diff(seen: &Observed<'_>) -> Diff {
    let mut diff = Diff::default();
    for assignment in seen.assignments {
        let finding = seen.diff_assignment(assignment, &mut diff);
        diff.findings.insert(assignment.rule.name().to_owned(), finding);
    }
    for instance in seen.instances.iter().filter(|instance| !seen.is_wanted(instance.as_ref())) {
        seen.remove_after_grace(instance, &mut diff);
    }
    for binding in seen.bindings.iter().filter(|binding| !seen.is_wanted(binding.as_ref())) {
        if seen.instances.iter().all(|instance| instance.name_any() != binding.name_any()) {
            let event = Event::normal(EVENT_ACTION, "Removed", "Its instance is gone".to_owned());
            let change = Change::Delete { instance: None, binding: Some(binding.clone()), event };
            diff.steps.push(Step { rule: owner(binding.as_ref()).to_owned(), change });
        }
    }
    diff.metadata_patch = namespace_defaults::metadata_patch(seen.namespace, &seen.defaults());
    diff
}

/// The name of the NamespaceBinding that an object belongs to.
pub(super) fn owner(object: &impl ResourceExt) -> &str {
    object.labels().get(branch::NAMESPACE_BINDING).map_or("", String::as_str)
}

impl Observed<'_> {
    /// Whether the plan has an assignment for this object.
    fn is_wanted(&self, object: &impl ResourceExt) -> bool {
        let (owner, name) = (owner(object), object.name_any());
        self.assignments
            .iter()
            .any(|assignment| assignment.rule.name() == owner && assignment.rule.binding_name() == name)
    }

    fn instance(&self, rule: &Rule) -> Option<&Arc<ServiceInstance>> {
        let is_its = |instance: &&Arc<ServiceInstance>| {
            owner(instance.as_ref()) == rule.name() && instance.name_any() == rule.binding_name()
        };
        self.instances.iter().find(is_its)
    }

    fn binding(&self, rule: &Rule) -> Option<&Arc<ServiceBinding>> {
        let is_its = |binding: &&Arc<ServiceBinding>| {
            owner(binding.as_ref()) == rule.name() && binding.name_any() == rule.binding_name()
        };
        self.bindings.iter().find(is_its)
    }

    fn diff_assignment(&self, assignment: &Assignment, diff: &mut Diff) -> Finding {
        let rule = &assignment.rule;
        let pending = |reason, message| Finding {
            problem: Some(Problem { reason, message, is_failure: false }),
            is_outdated: false,
        };
        match &assignment.verdict {
            Verdict::Granted { stage } => self.ensure_present(rule, *stage, diff),
            Verdict::OverTotal { limit } => pending(
                "LimitReached",
                format!(
                    "limits.total of the NamespaceBinding {} is {limit}; the namespace waits until another one is deleted",
                    rule.name()
                ),
            ),
            Verdict::OverLabel { label, value, limit } => pending(
                "LimitReached",
                format!(
                    "limits.perLabel of the NamespaceBinding {} is {limit} for {label}={value}; the namespace waits until another one \
                     with this label is deleted",
                    rule.name()
                ),
            ),
            Verdict::NameClash { with } => {
                let message = format!(
                    "the NamespaceBinding {with} already uses the name {} in this namespace; give {} another bindingName",
                    rule.binding_name(),
                    rule.name()
                );
                Finding {
                    problem: Some(Problem { reason: "NameClash", message, is_failure: true }),
                    is_outdated: false,
                }
            }
            Verdict::InvalidTemplate { error } => {
                Finding { problem: Some(template_problem(error)), is_outdated: false }
            }
            Verdict::Expired { since } => {
                self.expire(rule, *since, diff);
                Finding::default()
            }
        }
    }

    /// Adds the steps after which the namespace has its instance and its binding.
    fn ensure_present(&self, rule: &Rule, stage: Option<Stage>, diff: &mut Diff) -> Finding {
        let mut step = |change| diff.steps.push(Step { rule: rule.name().to_owned(), change });
        let wanted = rule.instance(self.namespace);
        let problem = wanted.as_ref().err().map(template_problem);
        let Some(instance) = self.instance(rule) else {
            let Ok(wanted) = wanted else { return Finding { problem, is_outdated: false } };
            step(Change::CreateInstance(Box::new(new_instance(rule, self.namespace, wanted))));
            if self.binding(rule).is_none() {
                step(Change::CreateBinding(Box::new(new_binding(rule, self.namespace))));
            }
            return Finding::default();
        };
        if instance.metadata.deletion_timestamp.is_some() {
            // A user who deletes the instance wants it recreated. It can be deleted only after its binding.
            if let Some(binding) = self.binding(rule).filter(|binding| is_live(binding.as_ref())) {
                let note = "Its instance is being deleted".to_owned();
                let event = Event::normal(EVENT_ACTION, "Removed", note);
                step(Change::Delete { instance: None, binding: Some(binding.clone()), event });
            }
            return Finding::default();
        }
        match self.binding(rule) {
            None => step(Change::CreateBinding(Box::new(new_binding(rule, self.namespace)))),
            Some(binding) => {
                let env = rule.object.spec.env.clone();
                if is_live(binding.as_ref()) && binding.annotations().get(binding::ENV) != env.as_ref() {
                    step(Change::SetBindingEnv { binding: binding.clone(), env });
                }
            }
        }
        if instance.annotations().contains_key(branch::LEAVES_AT) {
            step(annotate(instance, branch::LEAVES_AT, None, None));
        }
        self.announce_expiry(rule, instance, stage, diff);
        let is_outdated = wanted.map_or(true, |wanted| !is_as_wanted(&instance.spec, &wanted));
        Finding { problem, is_outdated }
    }

    /// Announces the end of the ttl in an annotation and an event, or withdraws the announcement.
    fn announce_expiry(
        &self,
        rule: &Rule,
        instance: &Arc<ServiceInstance>,
        stage: Option<Stage>,
        diff: &mut Diff,
    ) {
        let announced = annotation_time(&instance.metadata, branch::EXPIRES_AT);
        let change = match stage {
            Some(Stage::Expiring { at }) if announced != Some(at) => {
                let name = self.namespace.name.as_deref().unwrap_or_default();
                let note = format!(
                    "It will be deleted with all its data at {at:.0}, when the ttl of the NamespaceBinding {} is over. \
                     To keep it: bindery extend --namespace {name} --for 24h",
                    rule.name()
                );
                let event = Event::warning(EVENT_ACTION, "Expiring", note);
                annotate(instance, branch::EXPIRES_AT, Some(at.to_string()), Some(event))
            }
            Some(Stage::Living { .. }) | None if instance.annotations().contains_key(branch::EXPIRES_AT) => {
                let note = "It stays: its ttl was extended".to_owned();
                let event = Event::normal(EVENT_ACTION, "Extended", note);
                annotate(instance, branch::EXPIRES_AT, None, Some(event))
            }
            _ => return,
        };
        diff.steps.push(Step { rule: rule.name().to_owned(), change });
    }

    fn expire(&self, rule: &Rule, since: Timestamp, diff: &mut Diff) {
        let note = format!("Deleted: the ttl of the NamespaceBinding {} was over at {since:.0}", rule.name());
        let event = Event::warning(EVENT_ACTION, "Expired", note);
        delete(rule.name(), self.instance(rule), self.binding(rule), event, diff);
    }

    /// Deletes an instance of a namespace that is not selected any more, once the grace period is over.
    fn remove_after_grace(&self, instance: &Arc<ServiceInstance>, diff: &mut Diff) {
        let rule = owner(instance.as_ref());
        let (grace, announced) = ((self.grace)(rule), annotation_time(&instance.metadata, branch::LEAVES_AT));
        let extended =
            annotation_time(self.namespace, branch::EXTENDED_UNTIL).filter(|until| *until > self.now);
        let after = |grace: Duration| extended.unwrap_or(self.now).max(self.now + grace);
        // The annotation may be outdated: the spec changed, the time was extended, or a user wrote it.
        let is_valid = |at: &Timestamp| {
            grace.is_none_or(|grace| *at <= after(grace)) && extended.is_none_or(|until| until <= *at)
        };
        let Some(at) = announced.filter(is_valid) else {
            let at = after(grace.unwrap_or(GRACE));
            let note = format!(
                "The instance will be deleted at {at:.0} with all its data, because the NamespaceBinding {rule} \
                does not select the namespace any more. To keep it, restore the namespace's labels"
            );
            let event = Event::warning(EVENT_ACTION, "Leaving", note);
            let change = annotate(instance, branch::LEAVES_AT, Some(at.to_string()), Some(event));
            diff.steps.push(Step { rule: rule.to_owned(), change });
            return;
        };
        if at > self.now {
            diff.requeue_at = Some(diff.requeue_at.map_or(at, |requeue_at| requeue_at.min(at)));
            return;
        }
        let is_its = |binding: &&Arc<ServiceBinding>| {
            owner(binding.as_ref()) == rule && binding.name_any() == instance.name_any()
        };
        let note =
            format!("Deleted, because the NamespaceBinding {rule} does not select the namespace any more");
        let event = Event::warning(EVENT_ACTION, "Left", note);
        delete(rule, Some(instance), self.bindings.iter().find(is_its), event, diff);
    }

    /// The default bindings of the namespace's pods. They include planned bindings that are not ready, because pods wait for
    /// those; bindings that will be deleted; and bindings of invalid NamespaceBindings.
    fn defaults(&self) -> Vec<&str> {
        let gives = |assignment: &&Assignment| {
            assignment.rule.object.spec.default_for_pods
                && !matches!(assignment.verdict, Verdict::NameClash { .. })
        };
        let mut names: Vec<&str> =
            self.assignments.iter().filter(gives).map(|assignment| assignment.rule.binding_name()).collect();
        names.sort_unstable();
        let is_there = |name: &&str| {
            let leaving = |instance: &&Arc<ServiceInstance>| !self.is_wanted(instance.as_ref());
            let leaves =
                || self.instances.iter().filter(leaving).any(|instance| instance.name_any() == **name);
            !names.contains(name) && (self.unread.contains(*name) || leaves())
        };
        let leaving: Vec<&str> =
            namespace_defaults::default_bindings(self.namespace).filter(is_there).collect();
        names.extend(leaving);
        names
    }
}

/// Adds the step that deletes the instance and the binding, if they exist.
fn delete(
    rule: &str,
    instance: Option<&Arc<ServiceInstance>>,
    binding: Option<&Arc<ServiceBinding>>,
    event: Event,
    diff: &mut Diff,
) {
    let instance = instance.filter(|instance| is_live(instance.as_ref())).cloned();
    let binding = binding.filter(|binding| is_live(binding.as_ref())).cloned();
    if instance.is_some() || binding.is_some() {
        let change = Change::Delete { instance, binding, event };
        diff.steps.push(Step { rule: rule.to_owned(), change });
    }
}

fn template_problem(error: &TemplateError) -> Problem {
    Problem { reason: "InvalidTemplate", message: error.to_string(), is_failure: true }
}

fn is_live(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_none()
}

fn annotate(
    instance: &Arc<ServiceInstance>,
    annotation: &'static str,
    value: Option<String>,
    event: Option<Event>,
) -> Change {
    Change::AnnotateInstance { instance: instance.clone(), annotation, value, event }
}

fn new_instance(
    rule: &Rule,
    namespace: &ObjectMeta,
    spec: crate::apis::servicecatalog::ServiceInstanceSpec,
) -> ServiceInstance {
    let mut instance = ServiceInstance::new(rule.binding_name(), spec);
    set_ownership(&mut instance.metadata, rule, namespace);
    instance
}

fn new_binding(rule: &Rule, namespace: &ObjectMeta) -> ServiceBinding {
    let name = rule.binding_name();
    let spec = ServiceBindingSpec {
        instance_ref: NameReference { name: name.to_owned() },
        ..ServiceBindingSpec::default()
    };
    let mut new_binding = ServiceBinding::new(name, spec);
    set_ownership(&mut new_binding.metadata, rule, namespace);
    if let Some(env) = &rule.object.spec.env {
        new_binding.annotations_mut().insert(binding::ENV.to_owned(), env.clone());
    }
    new_binding
}

/// Labels an object as belonging to a NamespaceBinding. It gets no owner reference: deleting a NamespaceBinding would delete
/// every database at once.
fn set_ownership(metadata: &mut ObjectMeta, rule: &Rule, namespace: &ObjectMeta) {
    let (label, bindery) = binding::MANAGED_BY;
    metadata.namespace.clone_from(&namespace.name);
    metadata.labels = Some(BTreeMap::from([
        (label.to_owned(), bindery.to_owned()),
        (branch::NAMESPACE_BINDING.to_owned(), rule.name().to_owned()),
    ]));
    let uid = rule.object.uid().unwrap_or_default();
    metadata.annotations = Some(BTreeMap::from([(branch::NAMESPACE_BINDING_UID.to_owned(), uid)]));
}

#[cfg(test)]
mod tests;
