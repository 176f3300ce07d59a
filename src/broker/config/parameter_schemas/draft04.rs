//! Checks that the metaschema lacks. Draft-04 ignores keywords of later drafts, so that no platform or broker would
//! enforce a rule with one: such keywords are rejected, each with the alternative in draft-04. An `enum` holds at
//! least one value and no value twice, as the text of draft-04 says and older metaschemas require.

use serde_json::{Map, Value};

/// Keywords that draft-04 does not define, each with the remedy.
const LATER: [(&str, &str); 20] = [
    ("$anchor", "refer to it by `#/definitions/NAME`"),
    ("$defs", "write `definitions`"),
    ("$dynamicAnchor", "refer to it by `#/definitions/NAME`"),
    ("$dynamicRef", "write `$ref`"),
    ("$id", "leave it out"),
    ("$recursiveRef", "write `$ref`"),
    ("const", "write `enum` with one value"),
    ("contains", "write `not: {items: {not: …}}`"),
    ("dependentRequired", "write `dependencies`"),
    ("dependentSchemas", "write `dependencies`"),
    ("else", "write `anyOf`"),
    ("if", "write `anyOf`"),
    ("maxContains", "leave it out"),
    ("minContains", "leave it out"),
    ("nullable", "write `type` as a list with `null`"),
    ("prefixItems", "write `items` as a list"),
    ("propertyNames", "write `patternProperties` and `additionalProperties: false`"),
    ("then", "write `anyOf`"),
    ("unevaluatedItems", "write `additionalItems`"),
    ("unevaluatedProperties", "write `additionalProperties`"),
];

/// Keywords whose value is a schema, or for some a list of schemas.
const SCHEMAS: [&str; 7] =
    ["additionalItems", "additionalProperties", "allOf", "anyOf", "items", "not", "oneOf"];

/// Keywords whose value maps names that the author chose to schemas.
const BY_NAME: [&str; 4] = ["definitions", "dependencies", "patternProperties", "properties"];

/// Reports the first mistake, at any place where a schema may be.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut open = vec![(String::new(), schema)];
    while let Some((place, schema)) = open.pop() {
        match schema {
            Value::Object(members) => {
                refuse_later(&place, members)?;
                check_enum(&place, members)?;
                open.extend(within(&place, members));
            }
            Value::Array(list) => {
                let items = list.iter().enumerate();
                open.extend(items.map(|(index, item)| (format!("{place}/{index}"), item)));
            }
            // Not a schema; the metaschema checks what is allowed here.
            _ => {}
        }
    }
    Ok(())
}

fn refuse_later(place: &str, members: &Map<String, Value>) -> Result<(), String> {
    let found = LATER.iter().find(|(keyword, _)| members.contains_key(*keyword));
    found.map_or(Ok(()), |(keyword, remedy)| {
        Err(format!(
            "has no meaning at {:?}: draft-04 ignores `{keyword}`; {remedy}",
            format!("{place}/{keyword}")
        ))
    })
}

fn check_enum(place: &str, members: &Map<String, Value>) -> Result<(), String> {
    let Some(Value::Array(values)) = members.get("enum") else { return Ok(()) };
    let place = format!("{place}/enum");
    if values.is_empty() {
        return Err(format!("allows nothing at {place:?}: an `enum` has at least one value"));
    }
    let is_twice = |(index, value): (usize, &Value)| values[..index].contains(value);
    if values.iter().enumerate().any(is_twice) {
        return Err(format!("has the same value twice at {place:?}: an `enum` has each value once"));
    }
    Ok(())
}

fn within<'a>(place: &str, members: &'a Map<String, Value>) -> Vec<(String, &'a Value)> {
    let mut found = Vec::new();
    for (keyword, value) in members {
        if SCHEMAS.contains(&keyword.as_str()) {
            found.push((format!("{place}/{keyword}"), value));
        }
        if BY_NAME.contains(&keyword.as_str())
            && let Value::Object(named) = value
        {
            let named = named.iter().filter(|(_, value)| value.is_object());
            found.extend(named.map(|(name, value)| (format!("{place}/{keyword}/{name}"), value)));
        }
    }
    found
}
