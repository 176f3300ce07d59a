//! Pieces of CEL text.

pub(super) use super::super::cel::{list, literal};

/// A variable of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) expression: String,
}

pub(super) fn define(name: &'static str, expression: impl Into<String>) -> Definition {
    Definition { name, expression: expression.into() }
}

/// All of these conditions, in the order in which they are evaluated.
pub(super) fn all(conditions: &[String]) -> String {
    conditions.join(" && ")
}

/// The expression without variables, for conditions, which have none: each definition becomes the only element of a list
/// over which a macro runs. Nothing after a definition in `guards` is evaluated unless it is true.
pub(super) fn nested(definitions: &[Definition], guards: &[&str], body: &str) -> String {
    let nested = definitions.iter().rev().fold(body.to_owned(), |inner, Definition { name, expression }| {
        let inner = if guards.contains(name) { format!("{name} && {inner}") } else { inner };
        format!("[{expression}].exists({name}, {inner})")
    });
    nested.replace("variables.", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_nested_macros() {
        let definitions =
            [define("a", "1"), define("isOk", "variables.a > 0"), define("b", "variables.a + 1")];
        assert_eq!(
            nested(&definitions, &["isOk"], "variables.b == 2"),
            "[1].exists(a, [a > 0].exists(isOk, isOk && [a + 1].exists(b, b == 2)))"
        );
    }
}
