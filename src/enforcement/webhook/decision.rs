//! The decision about an object that violates policies. Pure.

use std::collections::BTreeMap;

use crate::{
    admission::{Decision, DenialStatus},
    apis::bindery::credential_policy::{Mode, RuleName},
    policy::Verdict,
};

/// How many places a message names.
const MOST_PLACES: usize = 10;
/// The entry in the API server's audit log.
pub(super) const VIOLATION: &str = "violation";

/// Decides about an object by what the policies say.
pub(super) fn of_verdicts(verdicts: &[Verdict]) -> Decision {
    let mut findings: BTreeMap<(Mode, &str, RuleName, &str), Vec<String>> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.exception.is_none()) {
        let of = (verdict.mode, verdict.policy.as_str(), verdict.finding.rule, verdict.message.as_str());
        let finding = format!("{}: {}", verdict.finding.place, verdict.finding.what);
        findings.entry(of).or_default().push(finding);
    }
    let texts = |wanted: Mode| -> Vec<String> {
        let of_mode = findings.iter().filter(|((mode, ..), _)| *mode == wanted);
        of_mode
            .map(|((_, policy, rule, message), places)| text(wanted, policy, *rule, message, places))
            .collect()
    };
    of_texts(texts)
}

/// Decides about an object with more values than bindery reads. `rules` are those that hold in its Namespace.
pub(super) fn too_large(rules: &[(&str, RuleName, Mode)]) -> Decision {
    let message = "the object has so many values that bindery does not read it; split it";
    let texts = |wanted: Mode| -> Vec<String> {
        let of_mode = rules.iter().filter(|(.., mode)| *mode == wanted);
        of_mode.map(|(policy, rule, _)| text(wanted, policy, *rule, message, &[])).collect()
    };
    of_texts(texts)
}

fn of_texts(texts: impl Fn(Mode) -> Vec<String>) -> Decision {
    let [refusals, warnings, records] = [Mode::Enforce, Mode::Warn, Mode::Audit].map(texts);
    let outcome = match (warnings.is_empty(), records.is_empty()) {
        (false, _) => "warned",
        (true, false) => "recorded",
        (true, true) => "unchanged",
    };
    let decision = if refusals.is_empty() {
        Decision::unchanged().counted_as(outcome)
    } else {
        Decision::deny("refused", DenialStatus::Forbidden, refusals.join("; "))
    };
    let decision = decision.with_warnings(warnings);
    if records.is_empty() { decision } else { decision.with_audit(VIOLATION, records.join("; ")) }
}

/// The message, in the form of the API server's own about ValidatingAdmissionPolicies.
fn text(mode: Mode, policy: &str, rule: RuleName, message: &str, places: &[String]) -> String {
    let did = if mode == Mode::Enforce { "denied request" } else { "is violated" };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = format!("CredentialPolicy '{policy}' {did}: [{}] {message}", rule.name());
    let named = places.iter().take(MOST_PLACES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match places.len().saturating_sub(MOST_PLACES) {
        _ if places.is_empty() => said,
        0 => format!("{said}: {named}"),
        more => format!("{said}: {named} and {more} more"),
    }
}
