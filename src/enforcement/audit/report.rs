//! The report of a namespace: what a `PolicyReport` (`wgpolicyk8s.io/v1alpha2`) and a Report (`openreports.io/v1alpha1`), which
//! have the same fields, say about its objects. It contains no time, so that it changes only when a result does. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::{
    Resource, ResourceExt,
    api::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{findings::Violation, kinds::ObjectName};
use crate::{
    apis::bindery::credential_policy::{CredentialPolicy, Mode, RuleName},
    contract::{FIELD_MANAGER, binding::MANAGED_BY, policy::RESULTS_LEFT_OUT},
};

/// The name of every report.
pub(super) const NAME: &str = "bindery";

/// How many results a report lists. The API server limits the size of an object, and a result has up to 1 KiB.
const MOST_RESULTS: usize = 1000;

/// A kind of report.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::enforcement) struct ReportKind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
}

/// The kinds of reports that bindery writes where they are installed.
pub(super) static REPORT_KINDS: [ReportKind; 2] = [
    ReportKind { group: "wgpolicyk8s.io", version: "v1alpha2", kind: "PolicyReport" },
    ReportKind { group: "openreports.io", version: "v1alpha1", kind: "Report" },
];

impl ReportKind {
    pub(in crate::enforcement) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, self.version, self.kind))
    }
}

/// A rule that holds in a namespace, with its policy and mode.
pub(super) type Held<'a> = (&'a str, RuleName, Mode);

/// The report of a namespace, without apiVersion and kind. `held` are the rules that hold there; each without a violation
/// passes.
pub(super) fn report(
    namespace: &str,
    objects: &BTreeMap<&ObjectName, (&str, Vec<&Violation>)>,
    held: &[Held<'_>],
    policies: &[CredentialPolicy],
) -> Value {
    let mut results = Vec::new();
    let mut violated = BTreeSet::new();
    let mut named = BTreeSet::new();
    for (object, (uid, violations)) in objects {
        for violation in violations {
            violated.insert((violation.policy.as_str(), violation.rule));
            named.insert(violation.policy.as_str());
            results.push(result(namespace, object, uid, violation));
        }
    }
    for (policy, rule, mode) in held.iter().filter(|(policy, rule, _)| !violated.contains(&(*policy, *rule)))
    {
        named.insert(policy);
        results.push(pass(policy, *rule, *mode));
    }
    let count = |wanted: &str| results.iter().filter(|result| result["result"] == wanted).count();
    let summary = json!({"pass": count("pass"), "fail": count("fail"), "warn": count("warn"), "error": 0, "skip": count("skip")});
    // The sort is stable: results of the same kind stay in the order of their objects.
    results.sort_by_key(order);
    let left_out = results.len().saturating_sub(MOST_RESULTS);
    results.truncate(MOST_RESULTS);
    let (label, value) = MANAGED_BY;
    let mut report = json!({
        "metadata": {"name": NAME, "namespace": namespace, "labels": {label: value},
            "ownerReferences": owners(policies, &named)},
        "results": results,
        "summary": summary,
    });
    if left_out > 0 {
        report["metadata"]["annotations"] = json!({RESULTS_LEFT_OUT: left_out.to_string()});
    }
    report
}

/// The policies own the report: the API server deletes it with the last of them, also while bindery is away.
fn owners(policies: &[CredentialPolicy], named: &BTreeSet<&str>) -> Vec<Value> {
    let mut owners: Vec<_> = policies
        .iter()
        .filter(|policy| named.contains(policy.name_any().as_str()))
        .map(|policy| {
            json!({"apiVersion": CredentialPolicy::api_version(&()), "kind": CredentialPolicy::kind(&()),
                "name": policy.name_any(), "uid": policy.uid().unwrap_or_default()})
        })
        .collect();
    owners.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    owners
}

/// Failures come first, so that a limited report keeps them.
fn order(result: &Value) -> u8 {
    match result["result"].as_str() {
        Some("fail") => 0,
        Some("warn") => 1,
        Some("skip") => 2,
        _ => 3,
    }
}

fn result(namespace: &str, object: &ObjectName, uid: &str, violation: &Violation) -> Value {
    let mut result = base(&violation.policy, violation.rule, violation.mode);
    result["message"] = json!(violation.message);
    result["resources"] = json!([{"apiVersion": object.kind.api_version(), "kind": object.kind.name,
        "namespace": namespace, "name": object.name, "uid": uid}]);
    result["scored"] = json!(violation.mode == Mode::Enforce);
    result["result"] = json!(match (&violation.exception, violation.mode) {
        (Some(_), _) => "skip",
        (None, Mode::Enforce) => "fail",
        (None, Mode::Warn | Mode::Audit) => "warn",
    });
    if let Some(exception) = &violation.exception {
        result["properties"]["exception"] = json!(exception);
    }
    result
}

fn pass(policy: &str, rule: RuleName, mode: Mode) -> Value {
    let mut result = base(policy, rule, mode);
    result["message"] = json!("no pod and no workload of the namespace violates the rule");
    result["scored"] = json!(true);
    result["result"] = json!("pass");
    result
}

fn base(policy: &str, rule: RuleName, mode: Mode) -> Value {
    let severity = if rule == RuleName::NoPlainText { "high" } else { "medium" };
    json!({"source": FIELD_MANAGER, "policy": policy, "rule": rule.name(), "category": "Credentials",
        "severity": severity, "properties": {"mode": mode.name()}})
}

#[cfg(test)]
mod tests;
