//! What is to be done in one namespace: what it is to have beside what it has. Pure.

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
};

/// A namespace, what was made in it for NamespaceBindings, and what it is to have.
pub(super) struct Seen<'a> {
    pub(super) namespace: &'a ObjectMeta,
    pub(super) shares: &'a [Share],
    pub(super) instances: &'a [Arc<ServiceInstance>],
    pub(super) bindings: &'a [Arc<ServiceBinding>],
    /// How long what a NamespaceBinding of this name gave is kept without it, as long as there is one.
    pub(super) grace: &'a dyn Fn(&str) -> Option<Duration>,
    /// What the bindings of NamespaceBindings are called that cannot be read.
    pub(super) unread: &'a HashSet<String>,
    pub(super) now: Timestamp,
}

/// What is to be done, what is to be said of it, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) steps: Vec<Step>,
    /// A change of the namespace's metadata.
    pub(super) stamp: Option<Value>,
    /// By NamespaceBinding.
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) again: Option<Timestamp>,
}

/// One change, for the NamespaceBinding of this name.
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
    /// Sets an annotation of an instance, or takes it away.
    Mark {
        instance: Arc<ServiceInstance>,
        annotation: &'static str,
        value: Option<String>,
        notice: Option<Notice>,
    },
    /// Says what a binding's variables are called.
    Name { binding: Arc<ServiceBinding>, env: Option<String> },
    /// Deletes them.
    End { instance: Option<Arc<ServiceInstance>>, binding: Option<Arc<ServiceBinding>>, notice: Notice },
}

/// An event for the users of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) reason: &'static str,
    pub(super) note: String,
    pub(super) is_warning: bool,
}

/// What is to be said of a namespace in the NamespaceBinding's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Why the namespace does not have it.
    pub(super) problem: Option<Problem>,
    /// Whether its instance would be made differently now.
    pub(super) is_outdated: bool,
}

/// Why a namespace does not have what it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether somebody has to do something.
    pub(super) is_failure: bool,
}

/// Compares.
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
            let notice =
                Notice { reason: "Removed", note: "Its instance is gone".to_owned(), is_warning: false };
            let change = Change::End { instance: None, binding: Some(binding.clone()), notice };
            look.steps.push(Step { rule: owner(binding.as_ref()).to_owned(), change });
        }
    }
    look.stamp = namespace_defaults::stamp(seen.namespace, &seen.defaults());
    look
}

/// The NamespaceBinding that an object was made for.
pub(super) fn owner(object: &impl ResourceExt) -> &str {
    object.labels().get(branch::NAMESPACE_BINDING).map_or("", String::as_str)
}

impl Seen<'_> {
    /// Whether the namespace has a say in this object still being there.
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
                    "limits.total of the NamespaceBinding {} is {limit}; it waits for another to go",
                    rule.name()
                ),
            ),
            Verdict::OverLabel { label, value, limit } => pending(
                "LimitReached",
                format!(
                    "limits.perLabel of the NamespaceBinding {} is {limit} for {label}={value}; it waits for another of \
                     these to go",
                    rule.name()
                ),
            ),
            Verdict::NameClash { with } => {
                let message = format!(
                    "the NamespaceBinding {with} gives something called {} already; give {} another bindingName",
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

    /// Sees to it that the namespace has instance and binding.
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
            // Whoever deletes the instance wants it made anew, and it goes only after its binding.
            if let Some(binding) = self.binding(rule).filter(|binding| is_live(binding.as_ref())) {
                let notice = Notice {
                    reason: "Removed",
                    note: "Its instance is being deleted".to_owned(),
                    is_warning: false,
                };
                step(Change::End { instance: None, binding: Some(binding.clone()), notice });
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

    /// Says when the end comes, once it is near.
    fn announce(&self, rule: &Rule, instance: &Arc<ServiceInstance>, stage: Option<Stage>, look: &mut Look) {
        let said = moment(&instance.metadata, branch::EXPIRES_AT);
        let change = match stage {
            Some(Stage::Expiring { at }) if said != Some(at) => {
                let name = self.namespace.name.as_deref().unwrap_or_default();
                let note = format!(
                    "It will be deleted at {at:.0} with all its data, because ttl of the NamespaceBinding {} is over then. \
                     To keep it: bindery extend --namespace {name} --for 24h",
                    rule.name()
                );
                let notice = Notice { reason: "Expiring", note, is_warning: true };
                mark(instance, branch::EXPIRES_AT, Some(at.to_string()), Some(notice))
            }
            Some(Stage::Living { .. }) | None if instance.annotations().contains_key(branch::EXPIRES_AT) => {
                let note = "It is kept: its time was extended".to_owned();
                let notice = Notice { reason: "Extended", note, is_warning: false };
                mark(instance, branch::EXPIRES_AT, None, Some(notice))
            }
            _ => return,
        };
        look.steps.push(Step { rule: rule.name().to_owned(), change });
    }

    fn expire(&self, rule: &Rule, since: Timestamp, look: &mut Look) {
        let note = format!("Deleted: ttl of the NamespaceBinding {} is over since {since:.0}", rule.name());
        let notice = Notice { reason: "Expired", note, is_warning: true };
        end(rule.name(), self.instance(rule), self.binding(rule), notice, look);
    }

    /// What the namespace is not to have any more goes after a while.
    fn let_go(&self, instance: &Arc<ServiceInstance>, look: &mut Look) {
        let rule = owner(instance.as_ref());
        let (grace, said) = ((self.grace)(rule), moment(&instance.metadata, branch::LEAVES_AT));
        let extended = moment(self.namespace, branch::EXTENDED_UNTIL).filter(|until| *until > self.now);
        let after = |grace: Duration| extended.unwrap_or(self.now).max(self.now + grace);
        // The spec may have been changed since, the time extended, and users may write on the instance.
        let is_fair = |at: &Timestamp| {
            grace.is_none_or(|grace| *at <= after(grace)) && extended.is_none_or(|until| until <= *at)
        };
        let Some(at) = said.filter(is_fair) else {
            let at = after(grace.unwrap_or(GRACE));
            let note = format!(
                "It will be deleted at {at:.0} with all its data, because the NamespaceBinding {rule} does not select the \
                 namespace any more. To keep it, give the namespace its labels back"
            );
            let notice = Notice { reason: "Leaving", note, is_warning: true };
            let change = mark(instance, branch::LEAVES_AT, Some(at.to_string()), Some(notice));
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
        let notice = Notice { reason: "Left", note, is_warning: true };
        end(rule, Some(instance), self.bindings.iter().find(is_its), notice, look);
    }

    /// What pods of the namespace are bound to by default: also what it waits for, for pods wait as well, what it has not
    /// lost yet, and what nobody decides about.
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

/// Ends what a NamespaceBinding gave, as far as it is there.
fn end(
    rule: &str,
    instance: Option<&Arc<ServiceInstance>>,
    binding: Option<&Arc<ServiceBinding>>,
    notice: Notice,
    look: &mut Look,
) {
    let instance = instance.filter(|instance| is_live(instance.as_ref())).cloned();
    let binding = binding.filter(|binding| is_live(binding.as_ref())).cloned();
    if instance.is_some() || binding.is_some() {
        let change = Change::End { instance, binding, notice };
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
    notice: Option<Notice>,
) -> Change {
    Change::Mark { instance: instance.clone(), annotation, value, notice }
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

/// Whose it is. No owner reference: deleting a NamespaceBinding would take every database with it at once.
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
