//! Credentials in ConfigMaps, in CEL.

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, NamedRuleWithOperations, Variable};

use super::{
    super::config_maps::{LONGEST_ENTRY, MOST_TEXT},
    condition, rule, variable,
};

pub(super) fn resources() -> Vec<NamedRuleWithOperations> {
    vec![rule(&["CREATE", "UPDATE"], "", "v1", &["configmaps"])]
}

/// ConfigMaps that are older than the policy keep what they have.
pub(super) fn conditions() -> Vec<MatchCondition> {
    let touched = "oldObject == null || !has(object.metadata.deletionTimestamp) && \
                   dyn(object).?data != dyn(oldObject).?data";
    vec![condition("changes-data", touched.to_owned())]
}

/// The entries, in the form of variables. Evaluating more text would cost more than the API server grants, which would count
/// as a violation; the audit and `bindery check` judge everything.
pub(super) fn variables() -> Vec<Variable> {
    vec![
        variable("account", "''"),
        // A ConfigMap has none, so no exception for images is for it.
        variable("images", "[]"),
        variable("inScope", "true"),
        variable("data", "dyn(object).?data.orValue({})"),
        variable(
            "entries",
            format!(
                "variables.data.map(k, variables.data[k].size() <= {LONGEST_ENTRY}, \
                 {{'name': k, 'value': variables.data[k]}})"
            ),
        ),
        variable(
            "searched",
            format!("variables.entries.map(e, e.value.size()).sum() <= {MOST_TEXT} ? variables.entries : []"),
        ),
    ]
}
