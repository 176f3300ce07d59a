//! Compiles the common forms of injection into CEL for a MutatingAdmissionPolicy, so that the API server binds pods
//! without bindery. A form is compiled only if the result equals that of [`super::inject`], without a warning or an
//! error; all other pods stay with the webhook. Whether a pod is bound already is a second expression, for the webhook's
//! `matchConditions`: the webhook reviews every pod that is not completely bound, so no pod is missed if the policy is
//! absent, fails or is too expensive.

mod form;
mod patch;
mod state;
mod text;

use serde::Serialize;

use self::{
    form::{Texts, form, may_have_form},
    patch::{is_marked, patches},
    state::{is_bound, may_bind, of_policy, states},
    text::{Definition, literal, nested},
};
use super::{InjectSettings, MIRROR_POD};
use crate::contract::pod;

/// What the chart needs for native injection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeInjection {
    /// The containers that are excluded by default.
    pub exclude_containers: Vec<String>,
    /// For pods with annotations of their own.
    pub own: NativePolicy,
    /// For other pods in Namespaces with defaults. It is a policy of its own, because a policy costs time for every pod
    /// that it matches, and conditions cannot read the Namespace.
    pub defaults: NativePolicy,
}

/// A MutatingAdmissionPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NativePolicy {
    /// The pods for which the API server evaluates the policy.
    pub match_conditions: Vec<Named>,
    /// The variables. Each refers only to variables before it.
    pub variables: Vec<Named>,
    /// The JSON patch of the only mutation.
    pub patch: String,
    /// Whether a pod is bound, for the webhook.
    pub is_bound: String,
    /// Whether a pod may be bound, for the webhook that adds gates. It costs less than [`NativePolicy::is_bound`].
    pub may_be_bound: String,
}

/// A named expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The expression.
    pub expression: String,
}

/// In the expressions: a regular expression for the names of excluded containers, as a literal. It depends on the
/// installation's values, so the chart fills it in. A list of names would take more time for each container.
pub const EXCLUDED: &str = "EXCLUDED_CONTAINERS";

/// Compiles the injection.
#[must_use]
pub fn compile() -> NativeInjection {
    let policy = |texts: Texts, is_bound: String, may_be_bound: String| NativePolicy {
        match_conditions: conditions(texts),
        variables: definitions(texts)
            .into_iter()
            .map(|Definition { name, expression }| Named { name: name.to_owned(), expression })
            .collect(),
        patch: patches(texts),
        is_bound,
        may_be_bound,
    };
    let of_pod = [form(Texts::OfPod), states()].concat();
    let is_bound = nested(&of_pod, &["isBounded", "isForm"], &is_bound());
    NativeInjection {
        exclude_containers: InjectSettings::default().exclude_containers,
        own: policy(Texts::OfPod, is_bound, may_have_form()),
        defaults: policy(Texts::OfPodOrNamespace, is_marked(), is_marked()),
    }
}

fn definitions(texts: Texts) -> Vec<Definition> {
    [form(texts), states(), of_policy()].concat()
}

fn conditions(texts: Texts) -> Vec<Named> {
    let named = |name: &str, expression: String| Named { name: name.to_owned(), expression };
    let annotations = "object.metadata.?annotations.orValue({})";
    let (bind, of_container) = (literal(pod::BIND), literal(pod::BIND_CONTAINER));
    let asks = match texts {
        Texts::OfPod => named("asks-for-credentials", format!("{annotations}[?{bind}].orValue('') != ''")),
        Texts::OfPodOrNamespace => named(
            "says-nothing-itself",
            format!("!{annotations}.exists(k, k == {bind} || k.startsWith({of_container}))"),
        ),
    };
    let is_no_mirror_pod = named("is-no-mirror-pod", format!("!({} in {annotations})", literal(MIRROR_POD)));
    let mut conditions = vec![asks, is_no_mirror_pod];
    // The API server evaluates a policy again after its own changes. A mark may have to be removed in any pod.
    if texts == Texts::OfPod {
        conditions.push(named("has-an-unbound-container", may_bind()));
    }
    conditions
}

#[cfg(test)]
mod tests;
