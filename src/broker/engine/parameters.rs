//! Parameters in requests: the meaning of `null`, and the parameters after an update. `config::parameter_schemas` checks
//! parameters against a plan's JSON Schema. Pure.

use crate::osb::Object;

/// Removes parameters that are `null`, which counts as absent.
pub(super) fn given(parameters: &Object) -> Object {
    let given = parameters.iter().filter(|(_, value)| !value.is_null());
    given.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The parameters that an update sends, if any: platforms send an empty object in updates that change no parameter.
pub(super) fn sent(parameters: Option<&Object>) -> Option<&Object> {
    parameters.filter(|parameters| !parameters.is_empty())
}

/// The parameters after an update. Each parameter in the update replaces the current value as a whole; `null` removes
/// it; all others stay.
pub(super) fn merged(in_force: &Object, sent: Option<&Object>) -> Object {
    let mut merged = in_force.clone();
    for (name, value) in sent.into_iter().flatten() {
        if value.is_null() {
            merged.remove(name);
        } else {
            merged.insert(name.clone(), value.clone());
        }
    }
    merged
}

/// The current parameters without those that an update removes.
pub(super) fn without_nulls_of(in_force: &Object, sent: Option<&Object>) -> Object {
    let is_taken =
        |name: &String| sent.is_some_and(|sent| sent.get(name).is_some_and(serde_json::Value::is_null));
    in_force
        .iter()
        .filter(|(name, _)| !is_taken(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else() {
        let in_force = object(json!({"keep": {"a": 1}, "list": [1, 2], "gone": 1}));
        let to = |sent: Value| Value::from(merged(&in_force, sent_of(&object(sent)).as_ref()));
        assert_eq!(to(json!({})), Value::from(in_force.clone()));
        assert_eq!(
            to(json!({"list": [3], "gone": null, "new": {"b": null}})),
            json!({"keep": {"a": 1}, "list": [3], "new": {"b": null}})
        );
        assert_eq!(to(json!({"keep": {"b": 2}}))["keep"], json!({"b": 2}), "a value is taken as a whole");
        assert_eq!(to(json!({"unknown": null})), Value::from(in_force.clone()));
    }

    fn sent_of(given: &Object) -> Option<Object> {
        sent(Some(given)).cloned()
    }

    #[test]
    fn nothing_is_asked_for_with_null() {
        assert_eq!(given(&object(json!({"a": null, "b": 1}))), object(json!({"b": 1})));
        assert_eq!(sent(Some(&Object::new())), None);
        assert_eq!(
            without_nulls_of(&object(json!({"a": 1, "b": 2})), Some(&object(json!({"a": null, "b": 3})))),
            object(json!({"b": 2}))
        );
    }
}
