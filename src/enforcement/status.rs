//! The statuses of policies and exceptions. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{audit::AuditState, type_check::TypeCheck};
use crate::{
    apis::bindery::{
        credential_policy::{AuditCounts, CredentialPolicy, CredentialPolicyStatus, Engine, RuleStatus},
        credential_policy_exception::{CredentialPolicyException, CredentialPolicyExceptionStatus},
    },
    policy::cel::Compiled,
};

/// The reason of a policy that somebody switched off.
pub(super) const STOOD_DOWN: &str = "StoodDown";

/// The status of a policy after a pass. `failure` is a reason and a message.
pub(super) fn of_policy(
    policy: &CredentialPolicy,
    compiled: &[Compiled],
    failure: Option<(&'static str, String)>,
    exceptions: &[CredentialPolicyException],
    audit: &AuditState,
    type_check: &TypeCheck,
    now: Timestamp,
) -> CredentialPolicyStatus {
    let is_off = failure.as_ref().is_some_and(|(reason, _)| *reason == STOOD_DOWN);
    let (status, reason, message) = match failure {
        None => ("True", "Enforced", held_by(policy)),
        Some((reason, message)) => ("False", reason, message),
    };
    let former = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = policy.metadata.generation;
    let ready = condition("Ready", status, reason, message, generation, former, now);
    let (status, reason, message) = type_check.verdict();
    let type_checked = condition("TypesChecked", status, reason, message, generation, former, now);
    let (audited, counts) = of_audit(policy, audit, now);
    let mut rules: Vec<RuleStatus> = Vec::new();
    for (rule, mode, _) in policy.spec.named_rules() {
        let with_rule = compiled.iter().filter(|it| it.rules.contains(&rule));
        let admission_policies: Vec<_> = with_rule.map(|it| it.policy.name_any()).collect();
        let engine = rule.engine();
        if !admission_policies.is_empty() || engine == Engine::Webhook && !is_off {
            rules.push(RuleStatus { rule, mode, engine, admission_policies });
        }
    }
    let modes: Vec<_> = rules.iter().map(|it| format!("{}={}", it.rule.name(), it.mode.name())).collect();
    let is_active =
        |it: &&CredentialPolicyException| it.spec.policy == policy.name_any() && it.is_active(now);
    CredentialPolicyStatus {
        observed_generation: policy.metadata.generation.unwrap_or_default(),
        conditions: vec![ready, audited, type_checked],
        summary: (!modes.is_empty()).then(|| modes.join(",")),
        rules,
        exceptions: i64::try_from(exceptions.iter().filter(is_active).count()).unwrap_or(i64::MAX),
        audit: counts,
    }
}

/// Who holds the rules of a policy.
fn held_by(policy: &CredentialPolicy) -> String {
    let by_webhook: Vec<_> = policy.spec.rules_of(Engine::Webhook).map(|(rule, ..)| rule.name()).collect();
    if by_webhook.is_empty() {
        return "the API server holds all rules, also while bindery is away".to_owned();
    }
    let holds_others = policy.spec.rules_of(Engine::ApiServer).next().is_some();
    let rest = if holds_others { "; the API server holds the other rules" } else { "" };
    format!(
        "bindery's webhook holds {}, which does not hold while bindery is away{rest}",
        by_webhook.join(", ")
    )
}

/// The condition `Audited` and the counts. Those that an earlier process wrote stay until this process has judged.
fn of_audit(
    policy: &CredentialPolicy,
    audit: &AuditState,
    now: Timestamp,
) -> (Condition, Option<AuditCounts>) {
    let (name, generation) = (policy.name_any(), policy.metadata.generation);
    let is_audited = audit.judged.contains(&name);
    let former = policy.status.as_ref();
    let conditions = former.map_or(&[][..], |status| &status.conditions);
    let known = conditions.iter().find(|it| it.type_ == "Audited" && it.observed_generation == generation);
    if let Some(known) = known
        && !is_audited
        && audit.problem.is_none()
    {
        return (known.clone(), former.and_then(|status| status.audit.clone()));
    }
    let (status, reason, message) = audited(is_audited, audit);
    let condition = condition("Audited", status, reason, message, generation, conditions, now);
    (condition, is_audited.then(|| audit.counts.get(&name).cloned().unwrap_or_default()))
}

/// Whether the existing pods and workloads were judged by a policy.
fn audited(is_audited: bool, audit: &AuditState) -> (&'static str, &'static str, String) {
    if let Some(problem) = &audit.problem {
        return ("False", "AuditIncomplete", problem.clone());
    }
    if !is_audited {
        let message = "the existing pods and workloads have not all been judged by this policy yet";
        return ("Unknown", "AuditPending", message.to_owned());
    }
    if audit.reports.is_empty() {
        let message = "violations are counted here and in metrics; install the kind PolicyReport (wgpolicyk8s.io/v1alpha2) or \
            Report (openreports.io/v1alpha1) to have them listed in reports";
        return ("True", "NoReportKind", message.to_owned());
    }
    let kinds: Vec<_> = audit.reports.iter().map(|kind| kind.api_version()).collect();
    let message = format!("reports of {} in the namespaces list the violations", kinds.join(" and "));
    ("True", "ReportsWritten", message)
}

/// The status of an exception.
pub(super) fn of_exception(
    exception: &CredentialPolicyException,
    has_policy: bool,
    now: Timestamp,
) -> CredentialPolicyExceptionStatus {
    let spec = &exception.spec;
    let (status, reason, message) = if !exception.is_active(now) {
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
    use crate::{apis::bindery::credential_policy::AuditCounts, policy::cel::compile};

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
        let status = of_policy(
            &policy(),
            &compiled,
            None,
            &exceptions,
            &AuditState::default(),
            &TypeCheck::Pending,
            now,
        );
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
    fn a_rule_of_the_webhook_is_shown_as_such() {
        let now = at("2026-01-01T00:00:00Z");
        let policy: CredentialPolicy = serde_json::from_value(json!({"metadata": {"name": "p"},
            "spec": {"rules": {"filesOnly": {}, "noRandomValues": {"mode": "Warn"}}}}))
        .unwrap();
        let compiled = compile(&policy, &[], &[], now).unwrap();
        let shown = |failure| {
            of_policy(&policy, &compiled, failure, &[], &AuditState::default(), &TypeCheck::Pending, now)
        };
        let status = shown(None);
        let engines: Vec<_> =
            status.rules.iter().map(|it| (it.rule.name(), it.engine, it.admission_policies.len())).collect();
        assert_eq!(engines, [("noRandomValues", Engine::Webhook, 0), ("filesOnly", Engine::ApiServer, 1)]);
        let message = &status.conditions[0].message;
        assert!(message.starts_with("bindery's webhook holds noRandomValues"), "{message}");
        let stood_down = shown(Some(("StoodDown", "x".to_owned())));
        assert!(stood_down.rules.iter().all(|it| it.engine == Engine::ApiServer));
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let (first, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let mut policy = policy();
        policy.status =
            Some(of_policy(&policy, &[], None, &[], &AuditState::default(), &TypeCheck::Pending, first));
        let same = of_policy(&policy, &[], None, &[], &AuditState::default(), &TypeCheck::Pending, later);
        assert_eq!(same.conditions[0].last_transition_time, Time(first));
        let failed = of_policy(
            &policy,
            &[],
            Some(("ApplyFailed", "x".to_owned())),
            &[],
            &AuditState::default(),
            &TypeCheck::Pending,
            later,
        );
        assert_eq!(failed.conditions[0].last_transition_time, Time(later));
        assert_eq!(failed.conditions[0].status, "False");
    }

    #[test]
    fn a_policy_counts_once_it_is_audited_and_keeps_the_counts_in_the_next_process() {
        let now = at("2026-01-01T00:00:00Z");
        let mut policy = policy();
        let pending = of_policy(&policy, &[], None, &[], &AuditState::default(), &TypeCheck::Pending, now);
        assert_eq!((pending.conditions[1].reason.as_str(), pending.audit), ("AuditPending", None));
        let counts = AuditCounts { violations: 3, ..AuditCounts::default() };
        let state = AuditState {
            judged: ["p".to_owned()].into(),
            counts: [("p".to_owned(), counts.clone())].into(),
            ..AuditState::default()
        };
        let audited = of_policy(&policy, &[], None, &[], &state, &TypeCheck::Pending, now);
        assert_eq!(
            (audited.conditions[1].reason.as_str(), audited.audit.clone()),
            ("NoReportKind", Some(counts))
        );
        policy.status = Some(audited.clone());
        assert_eq!(
            of_policy(&policy, &[], None, &[], &AuditState::default(), &TypeCheck::Pending, now),
            audited
        );
        let broken = AuditState { problem: Some("Pods cannot be read".to_owned()), ..AuditState::default() };
        let incomplete = of_policy(&policy, &[], None, &[], &broken, &TypeCheck::Pending, now);
        assert_eq!(incomplete.conditions[1].reason, "AuditIncomplete");
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
