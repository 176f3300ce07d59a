//! The rule about classes, plans and access levels, in CEL.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, NamedRuleWithOperations, Validation, Variable,
};

use super::{
    super::services::{CLASS_NAMES, OTHER_NAMES, PLAN_NAMES, Part, parts},
    condition, rule,
    text::{all, any, is_among, literal},
    validation, variable,
};
use crate::apis::bindery::credential_policy::{CredentialPolicySpec, ServiceLimit};

pub(super) fn resources() -> Vec<NamedRuleWithOperations> {
    let kinds = ["serviceinstances", "servicebindings"];
    vec![rule(&["CREATE", "UPDATE"], "servicecatalog.k8s.io", "v1beta1", &kinds)]
}

/// Objects that are older than the policy keep what they have.
pub(super) fn conditions() -> Vec<MatchCondition> {
    let fields = CLASS_NAMES.iter().chain(&PLAN_NAMES).chain(&OTHER_NAMES).copied();
    let fields = fields.map(|field| format!(".?{field}")).chain([".?parameters.?access".to_owned()]);
    let differ = any(fields.map(|field| format!("dyn(object).?spec{field} != dyn(oldObject).?spec{field}")));
    let touched = format!("oldObject == null || !has(object.metadata.deletionTimestamp) && {differ}");
    vec![condition("changes-the-service", touched)]
}

pub(super) fn variables() -> Vec<Variable> {
    vec![
        variable("account", "''"),
        // The objects have none, so no exception for images is for them.
        variable("images", "[]"),
        variable("inScope", "true"),
        variable("spec", "dyn(object).?spec.orValue({})"),
        variable("isInstance", "request.resource.resource == 'serviceinstances'"),
    ]
}

/// One validation for each part of each limit.
pub(super) fn validations(spec: &CredentialPolicySpec, is_off: &str, message: &str) -> Vec<Validation> {
    let limits = spec.rules.allowed_services.as_ref().map_or(&[][..], |rule| &rule.limits);
    let of_limit = |limit: &ServiceLimit| {
        let applies = applies(limit);
        let of_part = |part: &Part<'_>| {
            let is_other_kind =
                if part.is_named() { "!variables.isInstance" } else { "variables.isInstance" };
            let text = literal(&format!("{message}: {}", part.demand()));
            let expression = format!("{is_off} || {is_other_kind} || !{applies} || {}", is_met(part));
            validation(message.to_owned(), expression, Some(text))
        };
        parts(limit).iter().map(of_part).collect::<Vec<_>>()
    };
    limits.iter().flat_map(of_limit).collect()
}

fn applies(limit: &ServiceLimit) -> String {
    let named = (!limit.namespaces.is_empty())
        .then(|| format!("({})", is_among("variables.namespaceName", &limit.namespaces)));
    let excepted = format!("!({})", is_among("variables.namespaceName", &limit.except_namespaces));
    format!("({})", all(named.into_iter().chain([excepted])))
}

fn is_met(part: &Part<'_>) -> String {
    let text = |path: &str| -> String {
        let path: String = path.split('.').map(|name| format!(".?{name}")).collect();
        format!("variables.spec{path}.orValue('')")
    };
    // The first field that is set counts.
    let value = match part.fields {
        [only] => text(only),
        [first, second, ..] => format!("({0} != '' ? {0} : {1})", text(first), text(second)),
        [] => "''".to_owned(),
    };
    // A parameter can have any type.
    let is_text = format!("type({value}) == string && {value} != ''");
    let allowed = (!part.allowed.is_empty()).then(|| format!("({})", is_among(&value, part.allowed)));
    let not_forbidden = format!("!({})", is_among(&value, part.forbidden));
    all([is_text].into_iter().chain(allowed).chain([not_forbidden]))
}
