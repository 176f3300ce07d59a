//! The statuses of policies and exceptions. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, CredentialPolicyStatus, Engine, RuleStatus},
        credential_policy_exception::{CredentialPolicyException, CredentialPolicyExceptionStatus},
    },
    policy::cel::Compiled,
};

/// The status of a policy after a pass. `failure` is a reason and a message.
pub(super) fn of_policy(
    policy: &CredentialPolicy,
    compiled: &[Compiled],
    failure: Option<(&'static str, String)>,
    exceptions: &[CredentialPolicyException],
    now: Timestamp,
) -> CredentialPolicyStatus {
    let (status, reason, message) = match failure {
        None => ("True", "Enforced", "the API server holds all rules, also while bindery is away".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    let former = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let condition = condition("Ready", status, reason, message, policy.metadata.generation, former, now);
    let mut rules: Vec<RuleStatus> = Vec::new();
    for (rule, mode, _) in policy.spec.named_rules() {
        let with_rule = compiled.iter().filter(|it| it.rules.contains(&rule));
        let admission_policies: Vec<_> = with_rule.map(|it| it.policy.name_any()).collect();
        if !admission_policies.is_empty() {
            rules.push(RuleStatus { rule, mode, engine: Engine::ApiServer, admission_policies });
        }
    }
    let modes: Vec<_> = rules.iter().map(|it| format!("{}={}", it.rule.name(), it.mode.name())).collect();
    let is_active =
        |it: &&CredentialPolicyException| it.spec.policy == policy.name_any() && it.spec.expires_at.0 > now;
    CredentialPolicyStatus {
        observed_generation: policy.metadata.generation.unwrap_or_default(),
        conditions: vec![condition],
        summary: (!modes.is_empty()).then(|| modes.join(",")),
        rules,
        exceptions: i64::try_from(exceptions.iter().filter(is_active).count()).unwrap_or(i64::MAX),
    }
}

/// The status of an exception.
pub(super) fn of_exception(
    exception: &CredentialPolicyException,
    has_policy: bool,
    now: Timestamp,
) -> CredentialPolicyExceptionStatus {
    let spec = &exception.spec;
    let (status, reason, message) = if spec.expires_at.0 <= now {
        (
            "False",
            "ExceptionExpired",
            "the exception has ended; delete it, or set a later spec.expiresAt".to_owned(),
        )
    } else if has_policy {
        ("True", "Exempting", format!("the pods may violate rules of the policy until {}", spec.expires_at.0))
    } else {
        (
            "False",
            "PolicyNotFound",
            format!("there is no CredentialPolicy {}; correct spec.policy", spec.policy),
        )
    };
    let former = exception.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = exception.metadata.generation;
    let condition = condition("Active", status, reason, message, generation, former, now);
    CredentialPolicyExceptionStatus {
        observed_generation: generation.unwrap_or_default(),
        conditions: vec![condition],
    }
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    former: &[Condition],
    now: Timestamp,
) -> Condition {
    let same = former.iter().find(|former| former.type_ == type_ && former.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: same.map_or(Time(now), |former| former.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::cel::compile;

    fn policy() -> CredentialPolicy {
        serde_json::from_value(json!({"metadata": {"name": "p", "generation": 3},
            "spec": {"rules": {"filesOnly": {"mode": "Enforce"}, "noPlainText": {}}}}))
        .unwrap()
    }

    fn exception(policy: &str, end: &str) -> CredentialPolicyException {
        serde_json::from_value(json!({"metadata": {"name": "e", "generation": 2}, "spec": {"policy": policy,
            "namespaces": ["a"], "reason": "r", "owner": "o", "expiresAt": end}}))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_names_who_holds_each_rule() {
        let now = at("2026-01-01T00:00:00Z");
        let exceptions = [
            exception("p", "2026-02-01T00:00:00Z"),
            exception("p", "2025-02-01T00:00:00Z"),
            exception("q", "2026-02-01T00:00:00Z"),
        ];
        let compiled = compile(&policy(), &exceptions, &[], now).unwrap();
        let status = of_policy(&policy(), &compiled, None, &exceptions, now);
        assert_eq!(status.observed_generation, 3);
        assert_eq!(status.exceptions, 1);
        assert_eq!(status.summary.as_deref(), Some("noPlainText=Audit,filesOnly=Enforce"));
        assert_eq!(status.rules[1].admission_policies, ["bindery-policy-p-enforce"]);
        assert_eq!(
            (status.conditions[0].status.as_str(), status.conditions[0].reason.as_str()),
            ("True", "Enforced")
        );
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let (first, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let mut policy = policy();
        policy.status = Some(of_policy(&policy, &[], None, &[], first));
        let same = of_policy(&policy, &[], None, &[], later);
        assert_eq!(same.conditions[0].last_transition_time, Time(first));
        let failed = of_policy(&policy, &[], Some(("ApplyFailed", "x".to_owned())), &[], later);
        assert_eq!(failed.conditions[0].last_transition_time, Time(later));
        assert_eq!(failed.conditions[0].status, "False");
    }

    #[test]
    fn an_exception_says_whether_it_counts() {
        let reason = |end: &str, has_policy| {
            let status = of_exception(&exception("p", end), has_policy, at("2026-01-01T00:00:00Z"));
            status.conditions[0].reason.clone()
        };
        assert_eq!(reason("2026-01-01T00:00:01Z", true), "Exempting");
        assert_eq!(reason("2026-01-01T00:00:00Z", true), "ExceptionExpired");
        assert_eq!(reason("2026-01-01T00:00:01Z", false), "PolicyNotFound");
    }
}
