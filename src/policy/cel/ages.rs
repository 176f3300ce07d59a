//! The rule about the age of credentials, in CEL: the API server evaluates it once for each `ServiceBinding` of the pod's
//! namespace, which is the parameter. Without bindings, or if the kind does not exist, every pod is admitted: a lost custom
//! resource definition must not stop the cluster.

use k8s_openapi::{
    api::admissionregistration::v1::{ParamKind, ParamRef, Validation, Variable},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{
    super::{access::GROUP, ages::refusal},
    binders,
    text::literal,
    validation, variable,
};
use crate::{apis::bindery::credential_policy::CredentialPolicySpec, contract};

/// The kind of the parameters.
pub(super) fn kind() -> ParamKind {
    ParamKind { api_version: Some(format!("{GROUP}/v1beta1")), kind: Some("ServiceBinding".to_owned()) }
}

/// All bindings of the pod's namespace.
pub(super) fn all() -> ParamRef {
    ParamRef {
        selector: Some(LabelSelector::default()),
        parameter_not_found_action: Some("Allow".to_owned()),
        ..ParamRef::default()
    }
}

/// Whether the pod uses the binding, and whether the credentials of the binding are too old.
pub(super) fn variables(spec: &CredentialPolicySpec) -> Vec<Variable> {
    let days = spec.rules.max_age.as_ref().map_or(0, |rule| rule.days);
    let suffix = literal(&contract::env_secret_name(""));
    let own = [
        variable("binding", "params.metadata.name"),
        variable("secretName", "params.?spec.?secretName.orValue('')"),
        variable(
            "isUsed",
            format!(
                "variables.binding in variables.annotated || variables.secrets.exists(n, n != '' && \
                 (n == variables.binding || n == variables.binding + {suffix} || n == variables.secretName))"
            ),
        ),
        // The newest credentials come last, and a rotation makes them younger than all others.
        variable("written", "params.?status.?revisions.orValue([]).map(r, timestamp(r.writtenAt))"),
        variable(
            "isOld",
            format!(
                "variables.written.size() > 0 && variables.written.all(w, \
                 variables.times.exists(t, t - w > duration('{}h')))",
                days * 24
            ),
        ),
    ];
    binders::names().into_iter().chain(own).collect()
}

pub(super) fn validations(spec: &CredentialPolicySpec, is_off: &str, message: &str) -> Vec<Validation> {
    let days = spec.rules.max_age.as_ref().map_or(0, |rule| rule.days);
    let words = refusal("BINDING", days);
    let (before, after) = words.split_once("BINDING").unwrap_or((words.as_str(), ""));
    let text =
        format!("{} + variables.binding + {}", literal(&format!("{message}: {before}")), literal(after));
    let expression = format!("{is_off} || !variables.isUsed || !variables.isOld");
    vec![validation(message.to_owned(), expression, Some(text))]
}
