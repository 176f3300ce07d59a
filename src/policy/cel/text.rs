//! Pieces of CEL text.

use super::super::path::Step;
use crate::contract::pod;
pub(super) use crate::injection::cel::{list, literal};

/// Whether `value` is one of these names, of which each may end with a star. `false` without names.
pub(super) fn is_among(value: &str, names: &[String]) -> String {
    let exact: Vec<_> = names.iter().filter(|name| !name.ends_with('*')).collect();
    let beginnings = names.iter().filter_map(|name| name.strip_suffix('*'));
    let exact = (!exact.is_empty()).then(|| format!("{value} in {}", list(&exact)));
    let beginnings = beginnings.map(|beginning| format!("{value}.startsWith({})", literal(beginning)));
    any(exact.into_iter().chain(beginnings))
}

/// Whether any of these expressions is true.
pub(super) fn any(expressions: impl IntoIterator<Item = String>) -> String {
    joined(expressions, " || ", "false")
}

/// Whether all of these expressions are true.
pub(super) fn all(expressions: impl IntoIterator<Item = String>) -> String {
    joined(expressions, " && ", "true")
}

fn joined(expressions: impl IntoIterator<Item = String>, operator: &str, of_none: &str) -> String {
    let expressions: Vec<_> = expressions.into_iter().collect();
    match expressions.as_slice() {
        [] => of_none.to_owned(),
        [only] => only.clone(),
        several => format!("({})", several.join(operator)),
    }
}

/// Whether the text matches any of these regular expressions.
pub(super) fn matches(value: &str, patterns: &[&str]) -> String {
    let pattern = match patterns {
        [only] => (*only).to_owned(),
        several => several.iter().map(|pattern| format!("({pattern})")).collect::<Vec<_>>().join("|"),
    };
    format!("{value}.matches({})", literal(&pattern))
}

/// The fields at the beginning of a path, as text, and the rest of the path behind a list, if there is one.
pub(super) fn fields<'a>(path: &'a [Step<'a>]) -> (String, Option<&'a [Step<'a>]>) {
    let fields: Vec<_> = path
        .iter()
        .map_while(|step| match step {
            Step::Field(name) => Some(format!(".?{name}")),
            Step::Items => None,
        })
        .collect();
    (fields.concat(), path.get(fields.len() + 1..).filter(|_| fields.len() < path.len()))
}

/// Whether a value at a path below `value` fulfils the test.
pub(super) fn exists(value: &str, path: &[Step<'_>], test: &dyn Fn(&str) -> String, depth: usize) -> String {
    let (fields, of_items) = fields(path);
    let (found, inner) = (format!("{value}{fields}"), format!("v{depth}"));
    match of_items {
        Some(of_items) => {
            let rest = exists(&inner, of_items, test, depth + 1);
            format!("{found}.orValue([]).exists({inner}, {rest})")
        }
        None if fields.is_empty() => test(value),
        None => format!("{found}.optMap({inner}, {}).orValue(false)", test(&inner)),
    }
}

/// All texts at a path below the items of a list, as one list.
pub(super) fn all_texts(items: &str, path: &[Step<'_>]) -> String {
    let (texts, nesting) = collected("c", path, 0);
    format!("{items}.map(c, {texts}){}", ".flatten()".repeat(nesting))
}

/// The text at a path, or nested lists of the texts, and how deep they are nested.
fn collected(value: &str, path: &[Step<'_>], depth: usize) -> (String, usize) {
    let (fields, of_items) = fields(path);
    let found = format!("{value}{fields}");
    let inner = format!("v{depth}");
    match of_items {
        Some(of_items) => {
            let (rest, nesting) = collected(&inner, of_items, depth + 1);
            (format!("{found}.orValue([]).map({inner}, {rest})"), nesting + 1)
        }
        None if fields.is_empty() => (found, 0),
        None => (format!("{found}.orValue('')"), 0),
    }
}

/// Whether the annotation named by the variable `key` binds a pod.
pub(super) fn binds(key: &str) -> String {
    format!("({key} == {} || {key}.startsWith({}))", literal(pod::BIND), literal(pod::BIND_CONTAINER))
}

#[cfg(test)]
mod tests {
    use super::{super::super::path::steps, *};

    #[test]
    fn names_with_a_star_are_beginnings() {
        let names =
            |names: &[&str]| is_among("x", &names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&[]), "false");
        assert_eq!(names(&["a", "b"]), "x in ['a', 'b']");
        assert_eq!(names(&["a", "b*", "*"]), "(x in ['a'] || x.startsWith('b') || x.startsWith(''))");
    }

    #[test]
    fn texts_at_a_path_become_nested_lists() {
        let of = |path| collected("c", &steps(path), 0);
        assert_eq!(of("a.b"), ("c.?a.?b.orValue('')".to_owned(), 0));
        assert_eq!(of("a[]"), ("c.?a.orValue([]).map(v0, v0)".to_owned(), 1));
        assert_eq!(
            of("a[].b[].c"),
            ("c.?a.orValue([]).map(v0, v0.?b.orValue([]).map(v1, v1.?c.orValue('')))".to_owned(), 2)
        );
    }

    #[test]
    fn paths_become_nested_macros() {
        let test = |value: &str| format!("T({value})");
        let of = |path| exists("c", &steps(path), &test, 0);
        assert_eq!(of(""), "T(c)");
        assert_eq!(of("a.b"), "c.?a.?b.optMap(v0, T(v0)).orValue(false)");
        assert_eq!(of("a[]"), "c.?a.orValue([]).exists(v0, T(v0))");
        assert_eq!(
            of("a.b[].c.d"),
            "c.?a.?b.orValue([]).exists(v0, v0.?c.?d.optMap(v1, T(v1)).orValue(false))"
        );
    }
}
