//! Label selectors of bindery's own kinds, validated as the API server validates those of its kinds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::Selector;

/// Parses a selector. Refuses what the API server would refuse in its own kinds, because libraries disagree on the
/// meaning.
///
/// # Errors
/// A text that names the key and the problem.
pub fn parse(selector: &LabelSelector) -> Result<Selector, String> {
    for expression in selector.match_expressions.iter().flatten() {
        check(expression)?;
    }
    Selector::try_from(selector.clone()).map_err(|error| error.0)
}

fn check(expression: &LabelSelectorRequirement) -> Result<(), String> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    let (has_values, takes_values) = (
        values.as_ref().is_some_and(|values| !values.is_empty()),
        matches!(operator.as_str(), "In" | "NotIn"),
    );
    let problem = match (takes_values, has_values) {
        (true, false) => "needs values",
        (false, true) => "takes no values",
        _ => return Ok(()),
    };
    Err(format!("operator {operator} of key {key} {problem}"))
}
