//! What the audit has found: for each object that violates a rule, the rules and the reasons. Objects that violate nothing
//! are not kept, and of the others only names. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::{Kind, ObjectName};
use crate::{
    apis::bindery::credential_policy::{AuditCounts, Mode, NamespaceViolations, RuleName, RuleViolations},
    policy::Verdict,
};

/// How many places of an object a message names.
const MOST_PLACES: usize = 3;
/// How long a message can be, in bytes: a thousand of them fit into a report.
const MOST_BYTES: usize = 500;
/// How many namespaces a policy's status names.
const MOST_NAMESPACES: usize = 20;

/// An object violates a rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) policy: String,
    pub(super) rule: RuleName,
    pub(super) mode: Mode,
    /// The exception that exempts the object.
    pub(super) exception: Option<String>,
    /// The policy's message and the places in the object. Never a value that may be a credential.
    pub(super) message: String,
}

/// The violations of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violations {
    pub(super) uid: String,
    pub(super) all: Vec<Violation>,
    /// What is violated as well if there is no binding of this name.
    pub(super) if_missing: BTreeMap<String, Vec<Violation>>,
}

impl Violations {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.if_missing.is_empty()
    }
}

/// The names of bindings, by namespace.
type Bindings = BTreeMap<String, BTreeSet<String>>;

/// All objects that violate a rule, by namespace.
#[derive(Debug, Default)]
pub(super) struct Findings {
    namespaces: BTreeMap<String, BTreeMap<ObjectName, Violations>>,
    /// The namespaces whose violations changed since they were last taken.
    changed: BTreeSet<String>,
    /// The bindings that exist; `None` as long as they are unknown.
    bindings: Option<Bindings>,
    /// The bindings of a list that is not complete yet.
    listing: Bindings,
}

impl Findings {
    /// Replaces the violations of an object.
    pub(super) fn set(&mut self, namespace: &str, object: ObjectName, violations: Violations) {
        if violations.is_empty() {
            return self.remove(namespace, &object);
        }
        let objects = self.namespaces.entry(namespace.to_owned()).or_default();
        if objects.get(&object) != Some(&violations) {
            objects.insert(object, violations);
            self.changed.insert(namespace.to_owned());
        }
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, namespace: &str, object: &ObjectName) {
        let Some(objects) = self.namespaces.get_mut(namespace) else { return };
        if objects.remove(object).is_some() {
            self.changed.insert(namespace.to_owned());
        }
        if objects.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Forgets the objects of a kind that a complete list does not contain.
    pub(super) fn retain(&mut self, kind: &'static Kind, listed: &BTreeSet<(String, String)>) {
        for (namespace, objects) in &mut self.namespaces {
            let before = objects.len();
            objects.retain(|object, _| {
                object.kind != kind || listed.contains(&(namespace.clone(), object.name.clone()))
            });
            if objects.len() != before {
                self.changed.insert(namespace.clone());
            }
        }
        self.namespaces.retain(|_, objects| !objects.is_empty());
    }

    /// A list of the bindings begins.
    pub(super) fn list_bindings(&mut self) {
        self.listing.clear();
    }

    /// A binding is in the list.
    pub(super) fn list_binding(&mut self, namespace: &str, name: &str) {
        self.listing.entry(namespace.to_owned()).or_default().insert(name.to_owned());
    }

    /// The list is complete.
    pub(super) fn bindings_listed(&mut self) {
        self.bindings = Some(std::mem::take(&mut self.listing));
        let depends = |objects: &BTreeMap<ObjectName, Violations>| {
            objects.values().any(|violations| !violations.if_missing.is_empty())
        };
        let depending = self.namespaces.iter().filter(|(_, objects)| depends(objects));
        self.changed.extend(depending.map(|(namespace, _)| namespace.clone()));
    }

    /// A binding exists from now on, or does not any more.
    pub(super) fn set_binding(&mut self, namespace: &str, name: &str, exists: bool) {
        let Some(bindings) = &mut self.bindings else { return };
        let names = bindings.entry(namespace.to_owned()).or_default();
        let is_new = if exists { names.insert(name.to_owned()) } else { names.remove(name) };
        if names.is_empty() {
            bindings.remove(namespace);
        }
        let objects = self.namespaces.get(namespace);
        let depends = |violations: &Violations| violations.if_missing.contains_key(name);
        if is_new && objects.is_some_and(|objects| objects.values().any(depends)) {
            self.changed.insert(namespace.to_owned());
        }
    }

    /// The namespaces whose violations changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// The namespaces with a violation.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.namespaces.keys()
    }

    /// The objects of a namespace that violate a rule now, each with its uid and violations.
    pub(super) fn of(&self, namespace: &str) -> BTreeMap<&ObjectName, (&str, Vec<&Violation>)> {
        let objects = self.namespaces.get(namespace).into_iter().flatten();
        let present = objects.map(|(object, it)| (object, (it.uid.as_str(), self.present(namespace, it))));
        present.filter(|(_, (_, violations))| !violations.is_empty()).collect()
    }

    /// What an object violates as long as the bindings are those that exist: each rule of a policy once.
    fn present<'a>(&self, namespace: &str, object: &'a Violations) -> Vec<&'a Violation> {
        let mut present: Vec<_> = object.all.iter().collect();
        let Some(bindings) = &self.bindings else { return present };
        let existing = bindings.get(namespace);
        let is_missing = |name: &str| existing.is_none_or(|existing| !existing.contains(name));
        for (_, violations) in object.if_missing.iter().filter(|(name, _)| is_missing(name)) {
            for violation in violations {
                let is_same = |it: &&Violation| (&it.policy, it.rule) == (&violation.policy, violation.rule);
                if !present.iter().any(is_same) {
                    present.push(violation);
                }
            }
        }
        present
    }

    /// The counts of each policy. A policy without violations is not listed.
    pub(super) fn counts(&self) -> BTreeMap<String, AuditCounts> {
        let mut tallies: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
        for (namespace, objects) in &self.namespaces {
            for violation in objects.values().flat_map(|object| self.present(namespace, object)) {
                tallies.entry(&violation.policy).or_default().add(namespace, violation);
            }
        }
        tallies.into_iter().map(|(policy, tally)| (policy.to_owned(), tally.counts())).collect()
    }
}

/// The counts of a policy while they are summed.
#[derive(Default)]
struct Tally<'a> {
    rules: BTreeMap<(RuleName, Mode), RuleCount>,
    namespaces: BTreeMap<&'a str, NamespaceCount>,
}

#[derive(Default)]
struct RuleCount {
    violations: i64,
    exempt: i64,
}

#[derive(Default)]
struct NamespaceCount {
    violations: i64,
    enforced: i64,
}

impl<'a> Tally<'a> {
    fn add(&mut self, namespace: &'a str, violation: &Violation) {
        let of_rule = self.rules.entry((violation.rule, violation.mode)).or_default();
        if violation.exception.is_some() {
            of_rule.exempt += 1;
            return;
        }
        of_rule.violations += 1;
        let of_namespace = self.namespaces.entry(namespace).or_default();
        of_namespace.violations += 1;
        of_namespace.enforced += i64::from(violation.mode == Mode::Enforce);
    }

    fn counts(self) -> AuditCounts {
        let rules: Vec<_> = self
            .rules
            .into_iter()
            .map(|((rule, mode), RuleCount { violations, exempt })| RuleViolations {
                rule,
                mode,
                violations,
                exempt,
            })
            .collect();
        let mut namespaces: Vec<_> = self
            .namespaces
            .into_iter()
            .map(|(name, NamespaceCount { violations, enforced })| NamespaceViolations {
                namespace: name.to_owned(),
                violations,
                enforced,
            })
            .collect();
        // The sort is stable, so namespaces with equal counts stay in the order of their names.
        namespaces.sort_by_key(|it| std::cmp::Reverse(it.violations));
        let others = namespaces.len().saturating_sub(MOST_NAMESPACES);
        namespaces.truncate(MOST_NAMESPACES);
        AuditCounts {
            violations: rules.iter().map(|it| it.violations).sum(),
            rules,
            namespaces,
            other_namespaces: i64::try_from(others).unwrap_or(i64::MAX),
        }
    }
}

/// Joins the verdicts about an object: one violation for each rule of each policy.
pub(super) fn violations(verdicts: Vec<Verdict>) -> Vec<Violation> {
    let mut joined: BTreeMap<(String, RuleName), Vec<Verdict>> = BTreeMap::new();
    for verdict in verdicts {
        joined.entry((verdict.policy.clone(), verdict.finding.rule)).or_default().push(verdict);
    }
    let violation = |((policy, rule), verdicts): ((String, RuleName), Vec<Verdict>)| {
        let first = verdicts.first()?;
        Some(Violation {
            policy,
            rule,
            mode: first.mode,
            exception: first.exception.clone(),
            message: message(&verdicts),
        })
    };
    joined.into_iter().filter_map(violation).collect()
}

fn message(verdicts: &[Verdict]) -> String {
    let mut text = verdicts.first().map(|verdict| verdict.message.clone()).unwrap_or_default();
    let places: Vec<_> = verdicts
        .iter()
        .take(MOST_PLACES)
        .map(|verdict| format!("{}: {}", verdict.finding.place, verdict.finding.what))
        .collect();
    text = format!("{text} ({})", places.join("; "));
    if verdicts.len() > MOST_PLACES {
        text = format!("{text} and in {} more places", verdicts.len() - MOST_PLACES);
    }
    text.truncate(text.floor_char_boundary(MOST_BYTES));
    text
}

#[cfg(test)]
mod tests;
