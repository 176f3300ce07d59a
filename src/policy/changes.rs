//! Judges changes of objects that are not pods: what only bindery writes, what users of a namespace may ask for, and
//! credentials in ConfigMaps.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    config_maps,
    judge::{Finding, Policies, Policy, Verdict},
    namespace::Namespace,
    offences::{in_random_variable, in_variable},
    protected::{Change, may_change},
    services,
};
use crate::apis::bindery::credential_policy::{AllowedServices, ProtectedObjects, RuleName};

/// What an entry of a ConfigMap is called in findings.
const ENTRY: &str = "an entry of a ConfigMap";

impl Policies {
    /// What the policies say about a change of an object that is not a pod.
    #[must_use]
    pub fn judge_change(&self, change: &Change<'_>, now: Timestamp) -> Vec<Verdict> {
        let (outside, template) = (Namespace::default(), Value::Null);
        let namespace = change.namespace.unwrap_or(&outside);
        let subject = change.subject(namespace, &template);
        let holds = |policy: &&Policy| {
            change.namespace.is_none_or(|namespace| policy.reach.holds_in(namespace, &self.excluded))
        };
        let mut verdicts = Vec::new();
        for policy in self.all.iter().filter(holds) {
            for named in self.rules(policy) {
                let findings = self.findings(policy, named.0, change, namespace);
                verdicts.extend(self.verdicts(policy, named, &subject, findings, change.time(now)));
            }
        }
        verdicts
    }

    fn findings(
        &self,
        policy: &Policy,
        rule: RuleName,
        change: &Change<'_>,
        namespace: &Namespace,
    ) -> Vec<Finding> {
        let rules = &policy.spec.rules;
        let found = match rule {
            RuleName::ProtectedObjects => {
                rules.protected_objects.as_ref().map(|settings| self.protected(settings, change))
            }
            RuleName::AllowedServices => {
                rules.allowed_services.as_ref().map(|settings| unmet(settings, change, namespace))
            }
            RuleName::NoPlainText if policy.reach.is_for_all_pods() => {
                let judged = rules.no_plain_text.as_ref().filter(|settings| settings.config_maps);
                judged.map(|settings| in_entries(change, |entry| in_variable(settings, entry, ENTRY)))
            }
            RuleName::NoRandomValues if policy.reach.is_for_all_pods() => {
                let judged = rules.no_random_values.as_ref().filter(|settings| settings.config_maps);
                judged.map(|settings| in_entries(change, |entry| in_random_variable(settings, entry, ENTRY)))
            }
            _ => None,
        };
        let finding = |(place, what)| Finding { rule, place, what };
        found.into_iter().flatten().map(finding).collect()
    }

    fn protected(&self, settings: &ProtectedObjects, change: &Change<'_>) -> Vec<(String, String)> {
        let touched = change.touches();
        let touched = touched.filter(|_| !may_change(&change.author, settings, &self.excluded));
        touched.map(|kind| ("metadata".to_owned(), kind.what().to_owned())).into_iter().collect()
    }
}

/// The limits that an object does not meet.
fn unmet(settings: &AllowedServices, change: &Change<'_>, namespace: &Namespace) -> Vec<(String, String)> {
    let after = change.after.filter(|after| services::is_touched(change.before, after));
    after.map_or_else(Vec::new, |after| services::unmet(&settings.limits, after, namespace))
}

/// What is wrong with entries of a ConfigMap.
fn in_entries(change: &Change<'_>, judge: impl Fn(&Value) -> Option<String>) -> Vec<(String, String)> {
    let after = change.after.filter(|after| config_maps::is_touched(change.before, after));
    let entries = after.into_iter().flat_map(config_maps::entries);
    entries.filter_map(|(place, entry)| Some((place, judge(&entry)?))).collect()
}
