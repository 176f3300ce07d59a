//! The bindings that a pod names in annotations, for the audit: the API server, which sees the pod alone, cannot know whether they
//! exist, and a Secret of such a name could be anybody's.

use k8s_openapi::jiff::Timestamp;

use super::{
    allowed::is_among,
    binders,
    judge::{Finding, Policies, Verdict},
    subject::Subject,
};
use crate::apis::bindery::credential_policy::RuleName;

impl Policies {
    /// What the rule `bindingsOnly` says about each binding that the pod names, if there is no such binding.
    #[must_use]
    pub fn judge_names(&self, subject: &Subject<'_>, now: Timestamp) -> Vec<(String, Verdict)> {
        let names: Vec<_> =
            binders::annotated(subject).into_iter().filter(|name| !name.contains('/')).collect();
        let mut verdicts = Vec::new();
        for policy in self.all.iter().filter(|policy| policy.holds(subject, &self.excluded)) {
            let Some(settings) = &policy.spec.rules.bindings_only else { continue };
            let named = policy.spec.named_rules().find(|(rule, ..)| *rule == RuleName::BindingsOnly);
            let Some(named) = named else { continue };
            for name in names.iter().filter(|name| !is_among(name, &settings.allow_secrets)) {
                let finding = Finding {
                    rule: RuleName::BindingsOnly,
                    place: "metadata.annotations".to_owned(),
                    what: format!("names the binding {name}, which does not exist"),
                };
                let of_policy = self.verdicts(policy, named, subject, vec![finding], now);
                verdicts.extend(of_policy.into_iter().map(|verdict| ((*name).to_owned(), verdict)));
            }
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::policy::Namespace;

    #[test]
    fn every_binding_of_the_annotations_is_named_by_the_rule_about_bindings() {
        let policy = |rules| {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"rules": rules}})).unwrap()
        };
        let names = |rules| {
            let policies = Policies::new(&[policy(rules)], Vec::new(), Vec::new()).unwrap();
            let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
            let template = json!({"metadata": {"annotations": {"bindery.dev/bind": "db, secret/plain, legacy-1"}}, "spec": {}});
            let subject =
                Subject { name: "web", namespace: &namespace, template: &template, only_ephemeral: false };
            let verdicts = policies.judge_names(&subject, Timestamp::now()).into_iter();
            verdicts.map(|(name, verdict)| (name, verdict.finding.what)).collect::<Vec<_>>()
        };
        let told = ("db".to_owned(), "names the binding db, which does not exist".to_owned());
        assert_eq!(names(json!({"bindingsOnly": {"allowSecrets": ["legacy-*"]}})), [told]);
        assert_eq!(names(json!({"filesOnly": {}})), []);
    }
}
