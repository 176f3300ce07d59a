//! Judges the age of credentials: of the bindings that a pod uses, and of a binding itself.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    ages::{Ages, end_of, refusal},
    judge::{Finding, Policies, Policy, Verdict},
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

    /// What the policies say about the age of a binding's credentials. A policy for some pods only says nothing: it is not known
    /// which pods use the binding.
    #[must_use]
    pub fn judge_age(&self, binding: &Value, namespace: &Namespace, now: Timestamp) -> Vec<Verdict> {
        let name = binding.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let subject = Subject { name, namespace, template: &Value::Null, only_ephemeral: false };
        let mut verdicts = Vec::new();
        let holds = |policy: &&Policy| {
            policy.reach.holds_in(namespace, &self.excluded) && policy.reach.is_for_all_pods()
        };
        for policy in self.all.iter().filter(holds) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_policy_for_all_pods_judges_bindings_themselves() {
        let binding = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
            "metadata": {"name": "db", "namespace": "shop"},
            "status": {"revisions": [{"n": 1, "writtenAt": "2026-01-01T00:00:00Z"}]}});
        let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
        let policies = |scope: &Value| {
            let policy = json!({"metadata": {"name": "p"}, "spec": {"scope": scope, "rules": {"maxAge": {"days": 30}}}});
            Policies::new(&[serde_json::from_value(policy).unwrap()], Vec::new(), Vec::new()).unwrap()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (all, end) = (policies(&json!({})), at("2026-01-31T00:00:00Z"));
        assert_eq!(all.next_age(&binding, at("2026-01-02T00:00:00Z")), Some(end));
        assert!(all.judge_age(&binding, &namespace, end).is_empty());
        let verdicts = all.judge_age(&binding, &namespace, at("2026-02-01T00:00:00Z"));
        assert_eq!(verdicts[0].finding.what, "the credentials of the binding db are older than 30 days");
        let some = policies(&json!({"serviceAccounts": ["app"]}));
        assert!(some.judge_age(&binding, &namespace, at("2026-02-01T00:00:00Z")).is_empty());
    }
}
