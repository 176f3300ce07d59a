//! What policies did to requests. A refused object never exists, so neither the audit nor a webhook sees it: only the API
//! server itself knows, and tells it in its metrics and in its audit log.

use std::{collections::BTreeMap, io::BufRead};

use axum::http::Request;
use kube::Client;
use serde::Serialize;
use serde_json::Value;

use crate::policy::cel::policy_of_object;

/// The API server's counter of what each ValidatingAdmissionPolicy did.
const COUNTER: &str = "apiserver_validating_admission_policy_check_total{";

/// What an API server did by a policy since it started. A request counts once for each expression that it violates.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AtAdmission {
    pub(super) policy: String,
    pub(super) refused: u64,
    pub(super) warned: u64,
    pub(super) recorded: u64,
}

/// The refusals of a rule in a namespace.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusals {
    pub(super) policy: String,
    pub(super) rule: String,
    pub(super) namespace: String,
    pub(super) refused: u64,
}

/// Reads the metrics of the API server that answers.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub(super) async fn at_admission(client: &Client) -> kube::Result<Vec<AtAdmission>> {
    let request = Request::get("/metrics").body(Vec::new()).map_err(kube::Error::HttpError)?;
    Ok(in_metrics(&client.request_text(request).await?))
}

fn in_metrics(text: &str) -> Vec<AtAdmission> {
    let mut counts: BTreeMap<String, AtAdmission> = BTreeMap::new();
    for line in text.lines() {
        let Some((labels, value)) = line.strip_prefix(COUNTER).and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let label = |name: &str| {
            let rest = labels.split_once(&format!("{name}=\""))?.1;
            rest.split_once('"').map(|(value, _)| value)
        };
        let Some(policy) = label("policy").and_then(policy_of_object) else { continue };
        let new = || AtAdmission { policy: policy.to_owned(), refused: 0, warned: 0, recorded: 0 };
        let count = counts.entry(policy.to_owned()).or_insert_with(new);
        // The counter is a whole number that is written as a float, in the worst case with an exponent.
        let number: f64 = value.trim().parse().unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counters are whole and positive"
        )]
        let number = number as u64;
        match label("enforcement_action") {
            Some("deny") => count.refused += number,
            Some("warn") => count.warned += number,
            Some("audit") => count.recorded += number,
            _ => {}
        }
    }
    counts.into_values().collect()
}

/// Counts the refusals in an audit log. Lines that are not events are skipped.
///
/// # Errors
/// When the log cannot be read.
pub(super) fn in_audit_log(log: impl BufRead) -> std::io::Result<Vec<Refusals>> {
    let mut counts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(&line?).unwrap_or_default();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/stage") != "ResponseComplete" || text("/requestURI").contains("dryRun=") {
            continue;
        }
        if let Some((policy, rule)) = refusal(text("/responseStatus/message")) {
            let place = (policy.to_owned(), rule.to_owned(), text("/objectRef/namespace").to_owned());
            *counts.entry(place).or_default() += 1;
        }
    }
    let refusals = counts.into_iter().map(|((policy, rule, namespace), refused)| Refusals {
        policy,
        rule,
        namespace,
        refused,
    });
    Ok(refusals.collect())
}

/// The policy and the rule in the API server's message about a refusal, by itself or by bindery's webhook.
fn refusal(message: &str) -> Option<(&str, &str)> {
    let (policy, rest) = if let Some((_, rest)) = message.split_once("ValidatingAdmissionPolicy '") {
        let (object, rest) = rest.split_once('\'')?;
        (policy_of_object(object)?, rest)
    } else {
        message
            .split_once(".policies.bindery.dev\"")?
            .1
            .split_once("CredentialPolicy '")?
            .1
            .split_once('\'')?
    };
    let rule = rest.split_once("denied request: [")?.1.split_once(']')?.0;
    Some((policy, rule))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_api_servers_metrics_are_summed_by_policy() {
        let line = |policy: &str, action: &str, count: &str| {
            format!(
                "{COUNTER}enforcement_action=\"{action}\",error_type=\"no_error\",policy=\"{policy}\",policy_binding=\"{policy}\"}} {count}\n"
            )
        };
        let text = line("bindery-policy-strict-enforce", "deny", "3")
            + &line("bindery-policy-strict-enforce-token-secrets", "deny", "1")
            + &line("bindery-policy-strict-enforce", "allow", "40")
            + &line("bindery-policy-strict-warn", "warn", "1e+06")
            + &line("somebody-elses", "deny", "9")
            + "apiserver_request_total 3\n";
        let strict = AtAdmission { policy: "strict".to_owned(), refused: 4, warned: 1_000_000, recorded: 0 };
        assert_eq!(in_metrics(&text), [strict]);
    }

    #[test]
    fn refusals_in_an_audit_log_are_counted_by_rule_and_namespace() {
        let event = |stage: &str, uri: &str, message: &str| {
            json!({"kind": "Event", "stage": stage, "requestURI": uri, "objectRef": {"namespace": "shop"},
                "responseStatus": {"code": 403, "message": message}})
            .to_string()
                + "\n"
        };
        let message = "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'bindery-policy-strict-enforce' with binding \
            'bindery-policy-strict-enforce' denied request: [filesOnly] credentials may ...";
        let by_webhook = "admission webhook \"pods.policies.bindery.dev\" denied the request: CredentialPolicy 'lax' denied \
            request: [noRandomValues] what is named ...";
        let log = event("ResponseComplete", "/api/v1/namespaces/shop/pods", message).repeat(2)
            + &event("RequestReceived", "/api/v1/namespaces/shop/pods", message)
            + &event("ResponseComplete", "/api/v1/namespaces/shop/pods?dryRun=All", message)
            + &event("ResponseComplete", "/api/v1/namespaces/shop/pods", by_webhook)
            + &event("ResponseComplete", "/api/v1/namespaces/shop/pods", "another refusal")
            + "no event\n";
        let counted = in_audit_log(log.as_bytes()).unwrap();
        let refusals = |policy: &str, rule: &str, refused| Refusals {
            policy: policy.to_owned(),
            rule: rule.to_owned(),
            namespace: "shop".to_owned(),
            refused,
        };
        assert_eq!(counted, [refusals("lax", "noRandomValues", 1), refusals("strict", "filesOnly", 2)]);
    }
}
