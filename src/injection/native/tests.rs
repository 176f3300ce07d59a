//! What can be told of the expressions without an API server. `tests/native` evaluates them.

use super::*;
use crate::injection::{
    names::{SECRET_VOLUME_PREFIX, volume_name},
    source::{Object, ObjectKind},
};

/// The variables to which an expression refers.
fn references(expression: &str) -> Vec<&str> {
    let rest = expression.split("variables.").skip(1);
    rest.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap()).collect()
}

#[test]
fn a_variable_refers_only_to_those_before_it() {
    for texts in [Texts::OfPod, Texts::OfPodOrNamespace] {
        let mut known = Vec::new();
        for Definition { name, expression } in definitions(texts) {
            for reference in references(&expression) {
                assert!(known.contains(&reference), "{name}: {reference} in {expression}");
            }
            known.push(name);
        }
        let patch = patches(texts);
        assert!(references(&patch).iter().all(|reference| known.contains(reference)), "{patch}");
    }
}

#[test]
fn the_conditions_of_the_webhook_have_no_variables_and_no_namespace() {
    let NativeInjection { own, defaults, .. } = compile();
    for expression in [own.is_bound, defaults.is_bound] {
        assert!(!expression.contains("variables."), "{expression}");
        assert!(!expression.contains("namespaceObject"), "{expression}");
    }
}

/// The form takes names of up to 48 characters without dots: the names of their volumes contain no hash.
#[test]
fn the_longest_name_of_the_form_has_a_volume_without_a_hash() {
    let definition = definitions(Texts::OfPod).into_iter().find(|it| it.name == "isForm").unwrap();
    assert!(definition.expression.contains("n.size() <= 48"), "{}", definition.expression);
    let name = "a".repeat(48);
    let object = Object { kind: ObjectKind::Secret, name: &name };
    assert_eq!(volume_name(object), format!("{SECRET_VOLUME_PREFIX}{name}"));
}
