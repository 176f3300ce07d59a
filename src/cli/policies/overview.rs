//! What `bindery policies` shows. Pure.

use std::{collections::BTreeMap, fmt::Write};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;
use serde::Serialize;

use super::denials::{AtAdmission, Refusals};
use crate::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, Engine, Mode, NamespaceViolations, RuleName},
        credential_policy_exception::CredentialPolicyException,
    },
    cli::columns::aligned,
};

/// Everything that the command shows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    policies: Vec<Policy>,
    exceptions: Vec<Exception>,
    /// What one API server did since it started.
    pub(super) at_admission: Vec<AtAdmission>,
    /// The refusals in an audit log.
    pub(super) refusals: Vec<Refusals>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    name: String,
    /// The reason of the condition `Ready`.
    status: String,
    /// Whether the existing objects were audited.
    is_audited: bool,
    rules: Vec<HeldRule>,
    namespaces: Vec<NamespaceViolations>,
    other_namespaces: i64,
}

/// A rule in one of the modes that it has in some namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeldRule {
    rule: RuleName,
    mode: Mode,
    /// The engine that evaluates the rule at admission; absent if none does.
    engine: Option<Engine>,
    violations: i64,
    exempt: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Exception {
    name: String,
    policy: String,
    owner: String,
    reason: String,
    namespaces: Vec<String>,
    expires_at: Timestamp,
    is_active: bool,
}

impl Overview {
    pub(super) fn new(
        policies: &[CredentialPolicy],
        exceptions: &[CredentialPolicyException],
        now: Timestamp,
    ) -> Self {
        let mut all: Vec<_> = exceptions.iter().map(|it| Exception::of(it, policies, now)).collect();
        all.sort_by(|one, other| (one.expires_at, &one.name).cmp(&(other.expires_at, &other.name)));
        let mut policies: Vec<_> = policies.iter().map(Policy::of).collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        let mut notes = Vec::new();
        for policy in policies.iter().filter(|policy| !policy.is_audited) {
            notes.push(format!("{}: the existing pods and workloads are not audited yet", policy.name));
        }
        for policy in policies.iter().filter(|policy| policy.other_namespaces > 0) {
            notes.push(format!(
                "{}: {} more namespaces have violations",
                policy.name, policy.other_namespaces
            ));
        }
        Self { policies, exceptions: all, notes, ..Self::default() }
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        if self.policies.is_empty() {
            text.push_str("there is no CredentialPolicy\n");
        }
        text.push_str(&self.rules());
        text.push_str(&self.namespaces());
        text.push_str(&self.exceptions());
        text.push_str(&self.admission());
        for note in &self.notes {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    fn rules(&self) -> String {
        let mut rows =
            vec![["POLICY", "STATUS", "RULE", "MODE", "ENGINE", "VIOLATIONS", "EXEMPT"].map(str::to_owned)];
        for policy in &self.policies {
            for rule in &policy.rules {
                let count = |count: i64| if policy.is_audited { count.to_string() } else { "?".to_owned() };
                rows.push([
                    policy.name.clone(),
                    policy.status.clone(),
                    rule.rule.name().to_owned(),
                    rule.mode.name().to_owned(),
                    rule.engine.map_or_else(|| "none".to_owned(), |engine| format!("{engine:?}")),
                    count(rule.violations),
                    count(rule.exempt),
                ]);
            }
        }
        section("", &rows)
    }

    fn namespaces(&self) -> String {
        let mut rows = vec![["POLICY", "NAMESPACE", "VIOLATIONS", "ENFORCED"].map(str::to_owned)];
        for policy in &self.policies {
            rows.extend(policy.namespaces.iter().map(|it| {
                let name = policy.name.clone();
                [name, it.namespace.clone(), it.violations.to_string(), it.enforced.to_string()]
            }));
        }
        section(
            "\nExisting objects that would be refused (ENFORCED), or would be if the mode were Enforce:\n",
            &rows,
        )
    }

    fn exceptions(&self) -> String {
        let mut rows = vec![
            ["EXCEPTION", "POLICY", "NAMESPACES", "OWNER", "ENDS", "STATE", "REASON"].map(str::to_owned),
        ];
        rows.extend(self.exceptions.iter().map(|it| {
            let state = if it.is_active { "active" } else { "ended" };
            let ends = it.expires_at.to_string();
            let namespaces = it.namespaces.join(",");
            [
                it.name.clone(),
                it.policy.clone(),
                namespaces,
                it.owner.clone(),
                ends,
                state.to_owned(),
                it.reason.clone(),
            ]
        }));
        section("\nExceptions:\n", &rows)
    }

    fn admission(&self) -> String {
        let mut rows = vec![["POLICY", "REFUSED", "WARNED", "RECORDED"].map(str::to_owned)];
        rows.extend(self.at_admission.iter().map(|it| {
            [it.policy.clone(), it.refused.to_string(), it.warned.to_string(), it.recorded.to_string()]
        }));
        let mut text = section("\nRequests since this API server started:\n", &rows);
        let mut rows = vec![["POLICY", "RULE", "NAMESPACE", "REFUSED"].map(str::to_owned)];
        rows.extend(
            self.refusals
                .iter()
                .map(|it| [it.policy.clone(), it.rule.clone(), it.namespace.clone(), it.refused.to_string()]),
        );
        text.push_str(&section("\nRefusals in the audit log:\n", &rows));
        text
    }
}

/// A table with its title; nothing if it has no rows beside its header.
fn section<const N: usize>(title: &str, rows: &[[String; N]]) -> String {
    if rows.len() > 1 { format!("{title}{}", aligned(rows)) } else { String::new() }
}

impl Policy {
    fn of(policy: &CredentialPolicy) -> Self {
        let status = policy.status.clone().unwrap_or_default();
        let is_audited = status.audit.is_some();
        let audit = status.audit.unwrap_or_default();
        let mut rules = BTreeMap::new();
        let engine = |rule| status.rules.iter().find(|it| it.rule == rule).map(|it| it.engine);
        for (rule, mode, _) in policy.spec.named_rules() {
            rules.insert(
                (rule, mode),
                HeldRule { rule, mode, engine: engine(rule), violations: 0, exempt: 0 },
            );
        }
        for it in audit.rules {
            let (violations, exempt) = (it.violations, it.exempt);
            let rule = HeldRule { rule: it.rule, mode: it.mode, engine: engine(it.rule), violations, exempt };
            rules.insert((it.rule, it.mode), rule);
        }
        let ready = |condition: &&Condition| condition.type_ == "Ready";
        let reason = status.conditions.iter().find(ready).map(|condition| condition.reason.clone());
        Self {
            name: policy.name_any(),
            status: reason.unwrap_or_else(|| "unknown".to_owned()),
            is_audited,
            rules: rules.into_values().collect(),
            namespaces: audit.namespaces,
            other_namespaces: audit.other_namespaces,
        }
    }
}

impl Exception {
    fn of(exception: &CredentialPolicyException, policies: &[CredentialPolicy], now: Timestamp) -> Self {
        let spec = &exception.spec;
        let is_known = policies.iter().any(|policy| policy.name_any() == spec.policy);
        Self {
            name: exception.name_any(),
            policy: spec.policy.clone(),
            owner: spec.owner.clone(),
            reason: spec.reason.clone(),
            namespaces: spec.namespaces.clone(),
            expires_at: spec.expires_at.0,
            is_active: is_known && exception.is_active(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn overview() -> Overview {
        let policy = serde_json::from_value(json!({"metadata": {"name": "baseline"},
            "spec": {"rules": {"filesOnly": {"mode": "Enforce"}, "noPlainText": {}}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Enforced", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "rules": [{"rule": "filesOnly", "mode": "Enforce", "engine": "ApiServer", "admissionPolicies": ["a"]}],
                "audit": {"violations": 3, "otherNamespaces": 2,
                    "rules": [{"rule": "filesOnly", "mode": "Warn", "violations": 3, "exempt": 1}],
                    "namespaces": [{"namespace": "shop", "violations": 3, "enforced": 0}]}}}))
        .unwrap();
        let exception = |name: &str, policy: &str, end: &str| {
            serde_json::from_value(
                json!({"metadata": {"name": name}, "spec": {"policy": policy, "namespaces": ["shop"],
                "reason": "vendor", "owner": "team", "expiresAt": end}}),
            )
            .unwrap()
        };
        let exceptions = [
            exception("late", "baseline", "2026-03-01T00:00:00Z"),
            exception("early", "baseline", "2025-12-01T00:00:00Z"),
        ];
        Overview::new(&[policy], &exceptions, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_table_has_a_row_for_each_rule_and_mode() {
        let table = overview().table();
        for line in [
            "POLICY     STATUS     RULE          MODE      ENGINE      VIOLATIONS   EXEMPT\n",
            "baseline   Enforced   noPlainText   Audit     none        0            0\n",
            "baseline   Enforced   filesOnly     Warn      ApiServer   3            1\n",
            "baseline   Enforced   filesOnly     Enforce   ApiServer   0            0\n",
            "baseline   shop        3            0\n",
            "early       baseline   shop         team    2025-12-01T00:00:00Z   ended    vendor\n",
            "note: baseline: 2 more namespaces have violations\n",
        ] {
            assert!(table.contains(line), "{line} is not in\n{table}");
        }
        assert!(!table.contains("Requests since"), "{table}");
    }

    #[test]
    fn the_json_has_the_same_facts() {
        let json = serde_json::to_value(overview()).unwrap();
        assert_eq!(json["policies"][0]["rules"][1]["violations"], 3);
        assert_eq!(json["exceptions"][0]["isActive"], false);
        assert_eq!(json["exceptions"][1]["expiresAt"], "2026-03-01T00:00:00Z");
    }
}
