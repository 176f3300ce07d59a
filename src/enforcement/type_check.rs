//! What the API server's type check says about the expressions of a policy. It checks them against the schemas of all kinds that
//! the policy is for, and finds for example a field that does not exist. Pure.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;

/// How many warnings a message quotes.
const MOST_WARNINGS: usize = 3;
/// How long the quotation of a warning can be, in characters.
const LONGEST: usize = 300;

/// The result of the type check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeCheck {
    /// The API server has not checked all expressions yet.
    Pending,
    /// It has checked all, with these warnings.
    Done(Vec<String>),
}

impl TypeCheck {
    /// Reads the result from the objects of a policy.
    pub(super) fn of<'a>(objects: impl IntoIterator<Item = Option<&'a ValidatingAdmissionPolicy>>) -> Self {
        let mut warnings = Vec::new();
        for object in objects {
            let Some(object) = object else { return Self::Pending };
            let status = object.status.as_ref();
            let is_current = |seen: &i64| Some(*seen) == object.metadata.generation;
            let checked = status.filter(|status| status.observed_generation.as_ref().is_some_and(is_current));
            let Some(check) = checked.and_then(|status| status.type_checking.as_ref()) else {
                return Self::Pending;
            };
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let found = check.expression_warnings.iter().flatten();
            warnings.extend(found.map(|it| format!("{name}, {}: {}", it.field_ref, short(&it.warning))));
        }
        Self::Done(warnings)
    }

    /// The status, the reason and the message of a condition.
    pub(super) fn verdict(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::Pending => {
                let message = "the API server has not checked the types of all expressions yet";
                ("Unknown", "TypeCheckPending", message.to_owned())
            }
            Self::Done(warnings) if warnings.is_empty() => {
                ("True", "NoWarnings", "the API server checked the types of all expressions".to_owned())
            }
            Self::Done(warnings) => {
                let quoted: Vec<_> = warnings.iter().take(MOST_WARNINGS).map(String::as_str).collect();
                let others = warnings.len() - quoted.len();
                let others = if others > 0 { format!("; and {others} more") } else { String::new() };
                let message = format!("the API server warns: {}{others}", quoted.join("; "));
                ("False", "ExpressionWarnings", message)
            }
        }
    }
}

/// The warning on one line.
fn short(warning: &str) -> String {
    let text = warning.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(status: &Value) -> ValidatingAdmissionPolicy {
        serde_json::from_value(json!({"metadata": {"name": "p", "generation": 2}, "status": status})).unwrap()
    }

    #[test]
    fn only_a_check_of_the_present_expressions_counts() {
        let done = |status: &Value| TypeCheck::of([Some(&object(status))]);
        assert_eq!(TypeCheck::of([None]), TypeCheck::Pending);
        assert_eq!(done(&json!({})), TypeCheck::Pending);
        assert_eq!(done(&json!({"observedGeneration": 1, "typeChecking": {}})), TypeCheck::Pending);
        assert_eq!(done(&json!({"observedGeneration": 2})), TypeCheck::Pending);
        assert_eq!(done(&json!({"observedGeneration": 2, "typeChecking": {}})), TypeCheck::Done(Vec::new()));
    }

    #[test]
    fn warnings_are_quoted_on_one_line() {
        let warning =
            json!({"fieldRef": "spec.validations[0].expression", "warning": "undefined\n field 'x'"});
        let checked = object(
            &json!({"observedGeneration": 2, "typeChecking": {"expressionWarnings": vec![warning; 5]}}),
        );
        let (status, reason, message) = TypeCheck::of([Some(&checked)]).verdict();
        assert_eq!((status, reason), ("False", "ExpressionWarnings"));
        assert!(message.contains("p, spec.validations[0].expression: undefined field 'x'; p, "), "{message}");
        assert!(message.ends_with("; and 2 more"), "{message}");
    }
}
