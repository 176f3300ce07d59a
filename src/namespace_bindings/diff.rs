//! Compares the present objects of a namespace with the wanted ones, and derives steps, events and the next check.
//! Pure.

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
    plan::{Share, Verdict},
    rule::{GRACE, Rule, is_as_wanted},
    template::TemplateError,
    ttl::{Stage, moment},
};
use crate::{
    apis::servicecatalog::{LocalReference, ServiceBinding, ServiceBindingSpec, ServiceInstance},
    contract::{binding, branch},
    k8s::events::Event,
};

/// The action of events about NamespaceBindings.
pub(super) const EVENT_ACTION: &str = "Reconcile";

/// A namespace, what was made in it for NamespaceBindings, and what it is to have.
pub(super) struct Seen<'a> {
    pub(super) namespace: &'a ObjectMeta,
    pub(super) shares: &'a [Share],
    pub(super) instances: &'a [Arc<ServiceInstance>],
    pub(super) bindings: &'a [Arc<ServiceBinding>],
    /// The grace period of the NamespaceBinding of this name, if it exists.
    pub(super) grace: &'a dyn Fn(&str) -> Option<Duration>,
    /// The `bindingName`s of invalid NamespaceBindings.
    pub(super) unread: &'a HashSet<String>,
    pub(super) now: Timestamp,
}

/// The result: steps, findings, and when to check again.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) steps: Vec<Step>,
    /// A change of the namespace's metadata.
    pub(super) stamp: Option<Value>,
    /// By NamespaceBinding.
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) again: Option<Timestamp>,
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
    Make(Box<ServiceInstance>),
    /// Creates a binding.
    Bind(Box<ServiceBinding>),
    /// Sets or removes an annotation of an instance.
    Mark {
        instance: Arc<ServiceInstance>,
        annotation: &'static str,
        value: Option<String>,
        event: Option<Event>,
    },
    /// Sets the names of a binding's variables.
    Name { binding: Arc<ServiceBinding>, env: Option<String> },
    /// Deletes them.
    End { instance: Option<Arc<ServiceInstance>>, binding: Option<Arc<ServiceBinding>>, event: Event },
}

/// The state of a namespace for the NamespaceBinding's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Why the service is not ready.
    pub(super) problem: Option<Problem>,
    /// Whether the instance differs from what the present spec would create.
    pub(super) is_outdated: bool,
}

/// Why the service of a namespace is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether a user must act.
    pub(super) is_failure: bool,
}

/// Compares the present objects with the wanted ones.
pub(super) fn look(seen: &Seen<'_>) -> Look {
    let mut look = Look::default();
    for share in seen.shares {
        let finding = seen.look_at(share, &mut look);
        look.findings.insert(share.rule.name().to_owned(), finding);
    }
    for instance in seen.instances.iter().filter(|instance| !seen.is_to_have(instance.as_ref())) {
        seen.let_go(instance, &mut look);
    }
    for binding in seen.bindings.iter().filter(|binding| !seen.is_to_have(binding.as_ref())) {
        if seen.instances.iter().all(|instance| instance.name_any() != binding.name_any()) {
            let event = Event::normal(EVENT_ACTION, "Removed", "Its instance is gone".to_owned());
            let change = Change::End { instance: None, binding: Some(binding.clone()), event };
            look.steps.push(Step { rule: owner(binding.as_ref()).to_owned(), change });
        }
    }
    look.stamp = namespace_defaults::stamp(seen.namespace, &seen.defaults());
    look
}

/// The NamespaceBinding for which an object was created.
pub(super) fn owner(object: &impl ResourceExt) -> &str {
    object.labels().get(branch::NAMESPACE_BINDING).map_or("", String::as_str)
}

impl Seen<'_> {
    /// Whether the plan wants this object to exist.
    fn is_to_have(&self, object: &impl ResourceExt) -> bool {
        let (owner, name) = (owner(object), object.name_any());
        self.shares.iter().any(|share| share.rule.name() == owner && share.rule.binding_name() == name)
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

    fn look_at(&self, share: &Share, look: &mut Look) -> Finding {
        let rule = &share.rule;
        let pending = |reason, message| Finding {
            problem: Some(Problem { reason, message, is_failure: false }),
            is_outdated: false,
        };
        match &share.verdict {
            Verdict::Granted { stage } => self.give(rule, *stage, look),
            Verdict::OverTotal { limit } => pending(
                "LimitReached",
                format!(
                    "limits.total of the NamespaceBinding {} is {limit}; the namespace waits until another one \
                    is gone",
                    rule.name()
                ),
            ),
            Verdict::OverLabel { label, value, limit } => pending(
                "LimitReached",
                format!(
                    "limits.perLabel of the NamespaceBinding {} is {limit} for {label}={value}; the namespace \
                    waits until another one with this label is gone",
                    rule.name()
                ),
            ),
            Verdict::NameClash { with } => {
                let message = format!(
                    "the NamespaceBinding {with} already uses the name {}; give {} another bindingName",
                    rule.binding_name(),
                    rule.name()
                );
                Finding {
                    problem: Some(Problem { reason: "NameClash", message, is_failure: true }),
                    is_outdated: false,
                }
            }
            Verdict::Unfillable { error } => Finding { problem: Some(unfillable(error)), is_outdated: false },
            Verdict::Expired { since } => {
                self.expire(rule, *since, look);
                Finding::default()
            }
        }
    }

    /// Ensures that the namespace has instance and binding.
    fn give(&self, rule: &Rule, stage: Option<Stage>, look: &mut Look) -> Finding {
        let mut step = |change| look.steps.push(Step { rule: rule.name().to_owned(), change });
        let wanted = rule.instance(self.namespace);
        let problem = wanted.as_ref().err().map(unfillable);
        let Some(instance) = self.instance(rule) else {
            let Ok(wanted) = wanted else { return Finding { problem, is_outdated: false } };
            step(Change::Make(Box::new(made(rule, self.namespace, wanted))));
            if self.binding(rule).is_none() {
                step(Change::Bind(Box::new(bound(rule, self.namespace))));
            }
            return Finding::default();
        };
        if instance.metadata.deletion_timestamp.is_some() {
            // A user who deletes the instance wants a new one, and the instance can be deleted only after its
            // binding.
            if let Some(binding) = self.binding(rule).filter(|binding| is_live(binding.as_ref())) {
                let note = "Its instance is being deleted".to_owned();
                let event = Event::normal(EVENT_ACTION, "Removed", note);
                step(Change::End { instance: None, binding: Some(binding.clone()), event });
            }
            return Finding::default();
        }
        match self.binding(rule) {
            None => step(Change::Bind(Box::new(bound(rule, self.namespace)))),
            Some(binding) => {
                let env = rule.object.spec.env.clone();
                if is_live(binding.as_ref()) && binding.annotations().get(binding::ENV) != env.as_ref() {
                    step(Change::Name { binding: binding.clone(), env });
                }
            }
        }
        if instance.annotations().contains_key(branch::LEAVES_AT) {
            step(mark(instance, branch::LEAVES_AT, None, None));
        }
        self.announce(rule, instance, stage, look);
        let is_outdated = wanted.map_or(true, |wanted| !is_as_wanted(&instance.spec, &wanted));
        Finding { problem, is_outdated }
    }

    /// Announces the end once it is near.
    fn announce(&self, rule: &Rule, instance: &Arc<ServiceInstance>, stage: Option<Stage>, look: &mut Look) {
        let said = moment(&instance.metadata, branch::EXPIRES_AT);
        let change = match stage {
            Some(Stage::Expiring { at }) if said != Some(at) => {
                let name = self.namespace.name.as_deref().unwrap_or_default();
                let note = format!(
                    "The instance will be deleted at {at:.0} with all its data, because the ttl of the \
                    NamespaceBinding {} ends. To keep it: bindery extend --namespace {name} --for 24h",
                    rule.name()
                );
                let event = Event::warning(EVENT_ACTION, "Expiring", note);
                mark(instance, branch::EXPIRES_AT, Some(at.to_string()), Some(event))
            }
            Some(Stage::Living { .. }) | None if instance.annotations().contains_key(branch::EXPIRES_AT) => {
                let note = "It is kept: its time was extended".to_owned();
                let event = Event::normal(EVENT_ACTION, "Extended", note);
                mark(instance, branch::EXPIRES_AT, None, Some(event))
            }
            _ => return,
        };
        look.steps.push(Step { rule: rule.name().to_owned(), change });
    }

    fn expire(&self, rule: &Rule, since: Timestamp, look: &mut Look) {
        let note = format!("Deleted: ttl of the NamespaceBinding {} is over since {since:.0}", rule.name());
        let event = Event::warning(EVENT_ACTION, "Expired", note);
        end(rule.name(), self.instance(rule), self.binding(rule), event, look);
    }

    /// Deletes objects that the namespace should not have any more, after the grace period.
    fn let_go(&self, instance: &Arc<ServiceInstance>, look: &mut Look) {
        let rule = owner(instance.as_ref());
        let (grace, said) = ((self.grace)(rule), moment(&instance.metadata, branch::LEAVES_AT));
        let extended = moment(self.namespace, branch::EXTENDED_UNTIL).filter(|until| *until > self.now);
        let after = |grace: Duration| extended.unwrap_or(self.now).max(self.now + grace);
        // The announced time is recomputed, because the spec or the extension may have changed since, and users may
        // write the annotation.
        let is_fair = |at: &Timestamp| {
            grace.is_none_or(|grace| *at <= after(grace)) && extended.is_none_or(|until| until <= *at)
        };
        let Some(at) = said.filter(is_fair) else {
            let at = after(grace.unwrap_or(GRACE));
            let note = format!(
                "The instance will be deleted at {at:.0} with all its data, because the NamespaceBinding {rule} \
                does not select the namespace any more. To keep it, restore the namespace's labels"
            );
            let event = Event::warning(EVENT_ACTION, "Leaving", note);
            let change = mark(instance, branch::LEAVES_AT, Some(at.to_string()), Some(event));
            look.steps.push(Step { rule: rule.to_owned(), change });
            return;
        };
        if at > self.now {
            look.again = Some(look.again.map_or(at, |again| again.min(at)));
            return;
        }
        let is_its = |binding: &&Arc<ServiceBinding>| {
            owner(binding.as_ref()) == rule && binding.name_any() == instance.name_any()
        };
        let note = format!("Deleted: the NamespaceBinding {rule} does not select the namespace any more");
        let event = Event::warning(EVENT_ACTION, "Left", note);
        end(rule, Some(instance), self.bindings.iter().find(is_its), event, look);
    }

    /// The default bindings of the namespace's pods. They include bindings that the namespace waits for, because its
    /// pods should wait too, bindings that it has not lost yet, and bindings of invalid NamespaceBindings.
    fn defaults(&self) -> Vec<&str> {
        let gives = |share: &&Share| {
            share.rule.object.spec.default_for_pods && !matches!(share.verdict, Verdict::NameClash { .. })
        };
        let mut names: Vec<&str> =
            self.shares.iter().filter(gives).map(|share| share.rule.binding_name()).collect();
        names.sort_unstable();
        let is_there = |name: &&str| {
            let leaving = |instance: &&Arc<ServiceInstance>| !self.is_to_have(instance.as_ref());
            let leaves =
                || self.instances.iter().filter(leaving).any(|instance| instance.name_any() == **name);
            !names.contains(name) && (self.unread.contains(*name) || leaves())
        };
        let leaving: Vec<&str> = namespace_defaults::stamped(self.namespace).filter(is_there).collect();
        names.extend(leaving);
        names
    }
}

/// Deletes the objects of a NamespaceBinding that exist.
fn end(
    rule: &str,
    instance: Option<&Arc<ServiceInstance>>,
    binding: Option<&Arc<ServiceBinding>>,
    event: Event,
    look: &mut Look,
) {
    let instance = instance.filter(|instance| is_live(instance.as_ref())).cloned();
    let binding = binding.filter(|binding| is_live(binding.as_ref())).cloned();
    if instance.is_some() || binding.is_some() {
        let change = Change::End { instance, binding, event };
        look.steps.push(Step { rule: rule.to_owned(), change });
    }
}

fn unfillable(error: &TemplateError) -> Problem {
    Problem { reason: "InvalidTemplate", message: error.to_string(), is_failure: true }
}

fn is_live(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_none()
}

fn mark(
    instance: &Arc<ServiceInstance>,
    annotation: &'static str,
    value: Option<String>,
    event: Option<Event>,
) -> Change {
    Change::Mark { instance: instance.clone(), annotation, value, event }
}

fn made(
    rule: &Rule,
    namespace: &ObjectMeta,
    spec: crate::apis::servicecatalog::ServiceInstanceSpec,
) -> ServiceInstance {
    let mut instance = ServiceInstance::new(rule.binding_name(), spec);
    signed(&mut instance.metadata, rule, namespace);
    instance
}

fn bound(rule: &Rule, namespace: &ObjectMeta) -> ServiceBinding {
    let name = rule.binding_name();
    let spec = ServiceBindingSpec {
        instance_ref: LocalReference { name: name.to_owned() },
        ..ServiceBindingSpec::default()
    };
    let mut bound = ServiceBinding::new(name, spec);
    signed(&mut bound.metadata, rule, namespace);
    if let Some(env) = &rule.object.spec.env {
        bound.annotations_mut().insert(binding::ENV.to_owned(), env.clone());
    }
    bound
}

/// Marks an object as created for a NamespaceBinding. It sets no owner reference, because deleting a NamespaceBinding
/// would then delete every database at once.
fn signed(metadata: &mut ObjectMeta, rule: &Rule, namespace: &ObjectMeta) {
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
