//! Paths into a pod, such as `env[].valueFrom.secretKeyRef.name`: fields separated by dots, `[]` for every item of a list.
//! An absent field ends the walk.

use serde_json::Value;

/// A step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The field of this name.
    Field(&'a str),
    /// Every item of a list.
    Items,
}

/// The steps of a path.
pub(super) fn steps(path: &str) -> Vec<Step<'_>> {
    let of_part = |part| match str::strip_suffix(part, "[]") {
        Some(name) => vec![Step::Field(name), Step::Items],
        None => vec![Step::Field(part)],
    };
    path.split('.').filter(|part| !part.is_empty()).flat_map(of_part).collect()
}

/// Calls `each` with every value at the path, and with its place: the path with the names of list items.
pub(super) fn walk<'a>(value: &'a Value, place: &str, path: &str, each: &mut impl FnMut(String, &'a Value)) {
    go(value, place.to_owned(), &steps(path), each);
}

fn go<'a>(value: &'a Value, place: String, steps: &[Step<'_>], each: &mut impl FnMut(String, &'a Value)) {
    // The API server drops fields with `null`.
    if value.is_null() {
        return;
    }
    let Some((step, rest)) = steps.split_first() else { return each(place, value) };
    match step {
        Step::Field(name) => {
            if let Some(inner) = value.get(name) {
                let place = if place.is_empty() { (*name).to_owned() } else { format!("{place}.{name}") };
                go(inner, place, rest, each);
            }
        }
        Step::Items => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                go(item, format!("{place}[{}]", label(item, index)), rest, each);
            }
        }
    }
}

/// The name of a list item, or its index.
fn label(item: &Value, index: usize) -> String {
    let name = item.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map_or_else(|| index.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_step_by_step() {
        assert_eq!(steps(""), []);
        assert_eq!(steps("a[].b.c"), [Step::Field("a"), Step::Items, Step::Field("b"), Step::Field("c")]);
    }

    #[test]
    fn walks_visit_every_item_and_name_its_place() {
        let pod = json!({"spec": {"volumes": [{"name": "a", "secret": {"secretName": "x"}}, {"secret": {"secretName": "y"}},
            {"name": "c", "secret": null}, "odd"]}});
        let mut found = Vec::new();
        for path in ["spec.volumes[].secret.secretName", "metadata.labels", "spec[].x", "spec.volumes.name"] {
            walk(&pod, "", path, &mut |place, value| found.push((place, value.clone())));
        }
        let found: Vec<_> =
            found.iter().map(|(place, value)| (place.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(
            found,
            [("spec.volumes[a].secret.secretName", "x"), ("spec.volumes[1].secret.secretName", "y"),]
        );
    }
}
