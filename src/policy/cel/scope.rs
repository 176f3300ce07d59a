//! In which mode a rule holds for a pod, in CEL.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
    jiff::Timestamp,
};

use super::{
    super::{exception::is_about, namespace::NAME_LABEL, scope::SYSTEM_NAMESPACES},
    text::{all, any, is_among, list, literal},
};
use crate::apis::bindery::{
    credential_policy::{CredentialPolicySpec, Mode, Override, RuleName},
    credential_policy_exception::CredentialPolicyException,
};

/// The namespaces in which the policy holds, for the binding of a ValidatingAdmissionPolicy.
pub(super) fn namespace_selector(spec: &CredentialPolicySpec, excluded: &[String]) -> LabelSelector {
    let scope = spec.scope.clone().unwrap_or_default();
    let mut names: Vec<String> = SYSTEM_NAMESPACES.map(str::to_owned).to_vec();
    names.extend(excluded.iter().chain(&scope.exclude_namespaces).cloned());
    names.sort();
    names.dedup();
    let mut selector = scope.namespace_selector.unwrap_or_default();
    selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
        key: NAME_LABEL.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(names),
    });
    selector
}

/// Whether the service account and the images of the pod are in the policy's scope.
pub(super) fn has_pod(spec: &CredentialPolicySpec) -> String {
    let images = spec.scope.as_ref().map_or(&[][..], |scope| &scope.images);
    let images =
        (!images.is_empty()).then(|| format!("variables.images.exists(i, {})", is_among("i", images)));
    all([has_account(spec)].into_iter().chain(images))
}

/// Whether the service account is in the policy's scope.
pub(super) fn has_account(spec: &CredentialPolicySpec) -> String {
    let accounts = spec.scope.as_ref().map_or(&[][..], |scope| &scope.service_accounts);
    if accounts.is_empty() { "true".to_owned() } else { is_among("variables.account", accounts) }
}

/// The modes that a rule can have in some namespace.
pub(super) fn possible_modes(rule: RuleName, otherwise: Mode, overrides: &[Override]) -> Vec<Mode> {
    let mut modes: Vec<_> =
        overrides.iter().filter(|it| is_meant(it, rule)).map(|it| it.mode).chain([otherwise]).collect();
    modes.sort_unstable();
    modes.dedup();
    modes
}

/// The mode of a rule for the pod: the mode's name, or an empty string where the rule does not hold.
pub(super) fn mode(
    rule: RuleName,
    otherwise: Mode,
    spec: &CredentialPolicySpec,
    exemptions: Vec<String>,
) -> String {
    let allowed = match rule {
        RuleName::NoServiceAccountTokens => {
            let rule = spec.rules.no_service_account_tokens.as_ref();
            rule.map(|rule| is_among("variables.account", &rule.allow_service_accounts))
        }
        _ => None,
    };
    let out = any(exemptions.into_iter().chain(allowed));
    let overrides = spec.overrides.iter().filter(|wanted| is_meant(wanted, rule));
    let chain: String =
        overrides.map(|wanted| format!("{} ? {} : ", selects(wanted), literal(wanted.mode.name()))).collect();
    format!("!variables.inScope || {out} ? '' : {chain}{}", literal(otherwise.name()))
}

fn is_meant(wanted: &Override, rule: RuleName) -> bool {
    wanted.rules.is_empty() || wanted.rules.contains(&rule)
}

/// Whether an override is for the pod's Namespace.
fn selects(wanted: &Override) -> String {
    let names =
        (!wanted.namespaces.is_empty()).then(|| is_among("variables.namespaceName", &wanted.namespaces));
    let labels = wanted.namespace_selector.iter().flat_map(|selector| {
        let equal =
            selector.match_labels.iter().flatten().map(|(key, value)| requirement(key, "In", &[value]));
        let expressions = selector.match_expressions.iter().flatten().map(|it| {
            let values: Vec<_> = it.values.iter().flatten().collect();
            requirement(&it.key, &it.operator, &values)
        });
        equal.chain(expressions).collect::<Vec<_>>()
    });
    all(names.into_iter().chain(labels))
}

fn requirement(key: &str, operator: &str, values: &[&String]) -> String {
    let value = format!("variables.namespaceLabels[?{}]", literal(key));
    match operator {
        "In" => format!("{value}.optMap(l, l in {}).orValue(false)", list(values)),
        "NotIn" => format!("!{value}.optMap(l, l in {}).orValue(false)", list(values)),
        "Exists" => format!("{value}.hasValue()"),
        // The selector was parsed before, so there is no other operator.
        _ => format!("!{value}.hasValue()"),
    }
}

/// The exemptions from a rule, one expression for each exception that has not expired. The API server knows no time, but
/// it sets the times in an object's metadata, so an exception ends by itself, also while bindery is away.
pub(super) fn exemptions(
    policy: &str,
    rule: RuleName,
    exceptions: &[CredentialPolicyException],
    now: Timestamp,
) -> Vec<String> {
    let meant = exceptions.iter().filter(|it| is_about(it, policy, rule) && it.is_active(now));
    meant.map(exemption).collect()
}

fn exemption(exception: &CredentialPolicyException) -> String {
    let spec = &exception.spec;
    let among = |value: &str, names: &[String]| (!names.is_empty()).then(|| is_among(value, names));
    let images = (!spec.images.is_empty()).then(|| {
        format!("variables.images.size() > 0 && variables.images.all(i, {})", is_among("i", &spec.images))
    });
    let end = literal(&spec.expires_at.0.to_string());
    let conditions = [
        Some(format!("variables.namespaceName in {}", list(&spec.namespaces))),
        among("variables.name", &spec.names),
        among("variables.account", &spec.service_accounts),
        images,
        Some(format!("variables.times.size() > 0 && variables.times.all(t, t < timestamp({end}))")),
    ];
    all(conditions.into_iter().flatten())
}
