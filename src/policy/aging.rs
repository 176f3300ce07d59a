//! Judges the age of credentials: of the bindings that a pod uses, and of a binding itself.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    ages::{Ages, end_of, refusal},
    judge::{Finding, Policies, Verdict},
    namespace::Namespace,
    subject::Subject,
};
use crate::apis::bindery::credential_policy::{MaxAge, RuleName};

impl Policies {
    /// The same policies, with the ages of credentials that are known.
    #[must_use]
    pub fn with_ages(mut self, ages: Ages) -> Self {
        self.ages = ages;
        self
    }

    /// The bindings of the pod whose credentials are too old.
    pub(super) fn aged(&self, settings: &MaxAge, subject: &Subject<'_>, now: Timestamp) -> Vec<Finding> {
        let old = self.ages.too_old(settings, subject, now).into_iter();
        let finding = |binding: &str| Finding {
            rule: RuleName::MaxAge,
            place: "spec".to_owned(),
            what: refusal(binding, settings.days),
        };
        old.map(finding).collect()
    }

    /// What the policies say about the age of a binding's credentials.
    #[must_use]
    pub fn judge_age(&self, binding: &Value, namespace: &Namespace, now: Timestamp) -> Vec<Verdict> {
        let name = binding.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let subject = Subject { name, namespace, template: &Value::Null, only_ephemeral: false };
        let mut verdicts = Vec::new();
        for policy in self.all.iter().filter(|policy| policy.reach.holds_in(namespace, &self.excluded)) {
            let Some(settings) = &policy.spec.rules.max_age else { continue };
            let Some(named) = policy.spec.named_rules().find(|named| named.0 == RuleName::MaxAge) else {
                continue;
            };
            if end_of(binding, settings).is_some_and(|end| end < now) {
                let (rule, place) = (RuleName::MaxAge, "status.revisions".to_owned());
                let finding = Finding { rule, place, what: refusal(name, settings.days) };
                verdicts.extend(self.verdicts(policy, named, &subject, vec![finding], now));
            }
        }
        verdicts
    }

    /// When the credentials of a binding become too old for a policy.
    #[must_use]
    pub fn next_age(&self, binding: &Value, now: Timestamp) -> Option<Timestamp> {
        let rules = self.all.iter().filter_map(|policy| policy.spec.rules.max_age.as_ref());
        rules.filter_map(|rule| end_of(binding, rule)).filter(|end| *end > now).min()
    }
}
