//! The rule about who may bind, in CEL: the API server's authorizer is asked for the pod's service account, once for each
//! binding, each time by a validation of its own, because the API server allows two checks in one expression.

use k8s_openapi::api::admissionregistration::v1::{Validation, Variable};

use super::{
    super::{
        access::{GROUP, RESOURCE, VERB},
        binders::{MOST_BINDINGS, SECRET, refusal, too_many, ways},
        path::steps,
        ways::Root,
    },
    text::{all_texts, is_among, literal},
    validation, variable,
};
use crate::{apis::bindery::credential_policy::CredentialPolicySpec, contract};

/// What the annotation of the pod, or of its Namespace, binds, and the Secrets to which the pod refers.
pub(super) fn names() -> Vec<Variable> {
    let referred = ways().map(|way| {
        let items = if way.root == Root::Container { "containers" } else { "volumes" };
        all_texts(&format!("variables.{items}"), &steps(way.path))
    });
    let referred = referred.collect::<Vec<_>>().join(" + ");
    let (prefix, length) = (literal(SECRET), SECRET.len());
    vec![
        variable("annotated", "variables.isDebug ? [] : variables.bound"),
        variable(
            "secrets",
            format!(
                "{referred} + variables.annotated.filter(n, n.startsWith({prefix})).map(n, n.substring({length}))"
            ),
        ),
    ]
}

/// The names of the bindings that the pod uses.
pub(super) fn variables(spec: &CredentialPolicySpec) -> Vec<Variable> {
    let allowed = spec.rules.who_may_bind.as_ref().map_or(&[][..], |rule| &rule.allow_secrets);
    let not_allowed = format!("!({})", is_among("n", allowed));
    let suffix = contract::env_secret_name("");
    let bindings = variable(
        "bindings",
        format!(
            "(variables.secrets.filter(n, n != '' && {not_allowed})\
             .map(n, n.endsWith({end}) ? n.substring(0, n.size() - {size}) : n) + \
             variables.annotated.filter(n, !n.contains('/') && {not_allowed})).distinct()",
            end = literal(&suffix),
            size = suffix.len()
        ),
    );
    names().into_iter().chain([bindings]).collect()
}

/// One validation for each binding, and one for pods with too many.
pub(super) fn validations(is_off: &str, message: &str) -> Vec<Validation> {
    let start = literal(&format!("{message}: "));
    let too_many_text = literal(&format!("{message}: {}", too_many()));
    let few = format!("{is_off} || variables.bindings.size() <= {MOST_BINDINGS}");
    let mut all = vec![validation(message.to_owned(), few, Some(too_many_text))];
    let words = refusal("ACCOUNT", "BINDING");
    let words: Vec<_> = words.split("ACCOUNT").flat_map(|part| part.split("BINDING")).map(literal).collect();
    for index in 0..MOST_BINDINGS {
        let name = format!("variables.bindings[{index}]");
        let check = format!(
            "authorizer.serviceAccount(variables.namespaceName, variables.account).group('{GROUP}')\
             .resource('{RESOURCE}').namespace(variables.namespaceName).name({name}).check('{VERB}').allowed()"
        );
        let expression = format!(
            "{is_off} || variables.bindings.size() <= {index} || variables.bindings.size() > {MOST_BINDINGS} || {check}"
        );
        let text = format!("{start} + {} + variables.account + {} + {name}", words[0], words[1]);
        all.push(validation(message.to_owned(), expression, Some(text)));
    }
    all
}
