//! The findings as SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/>), which code hosts show beside the lines.

use serde_json::{Value, json};

use super::report::{Judged, Report, sentence};
use crate::{
    apis::bindery::credential_policy::{Mode, RuleName},
    policy::{Verdict, default_message},
};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Writes the report.
pub(super) fn sarif(report: &Report) -> anyhow::Result<String> {
    let rules = RuleName::ALL
        .map(|rule| json!({"id": rule.name(), "shortDescription": {"text": default_message(rule)}}));
    let results: Vec<Value> = report
        .judged
        .iter()
        .flat_map(|judged| judged.verdicts.iter().map(|verdict| result(judged, verdict)))
        .collect();
    let driver = json!({
        "name": "bindery", "version": env!("CARGO_PKG_VERSION"), "rules": rules
    });
    let log = json!({
        "$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]
    });
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn result(judged: &Judged, verdict: &Verdict) -> Value {
    let level = match verdict.mode {
        Mode::Enforce => "error",
        Mode::Warn => "warning",
        Mode::Audit => "note",
    };
    let rule = verdict.finding.rule.name();
    let text = format!("{}: {} (policy {})", judged.described(), sentence(verdict), verdict.policy);
    let mut result = json!({
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": judged.file.replace('\\', "/")}, "region": {"startLine": judged.line}
        }}],
    });
    if let Some(exception) = &verdict.exception {
        let justification = format!("CredentialPolicyException {exception}");
        result["suppressions"] = json!([{"kind": "external", "justification": justification}]);
    }
    result
}
