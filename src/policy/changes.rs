//! Judges changes of objects that are no pods: what only bindery writes, and what users of a namespace may ask for.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    judge::{Finding, Policies, Policy, Verdict},
    namespace::Namespace,
    protected::{Change, may_change},
    services,
};
use crate::apis::bindery::credential_policy::RuleName;

impl Policies {
    /// What the policies say about a change of an object that is no pod.
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
            for named in policy.spec.named_rules() {
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
        match (rule, &rules.protected_objects, &rules.allowed_services, change.after) {
            (RuleName::ProtectedObjects, Some(settings), ..) => {
                let touched = change.touches();
                let touched = touched.filter(|_| !may_change(&change.author, settings, &self.excluded));
                let found =
                    |what: &str| Finding { rule, place: "metadata".to_owned(), what: what.to_owned() };
                touched.map(|kind| found(kind.what())).into_iter().collect()
            }
            (RuleName::AllowedServices, _, Some(settings), Some(after))
                if services::is_touched(change.before, after) =>
            {
                let unmet = services::unmet(&settings.limits, after, namespace).into_iter();
                unmet.map(|(place, what)| Finding { rule, place, what }).collect()
            }
            _ => Vec::new(),
        }
    }
}
