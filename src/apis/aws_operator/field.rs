//! A field of a spec: its place, its schema, and the parameter of the template that its value becomes. One table of fields
//! per kind gives the schema of the custom resource and the parameters of the stack, so that the two cannot differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The longest text that a field takes; CloudFormation's limit for a parameter is 4,096 bytes.
const LONGEST_TEXT: usize = 1024;

/// A field of a spec.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The path in the spec, such as `hashAttribute.name`: at most two names.
    pub path: &'static str,
    /// The parameter of the template.
    pub parameter: &'static str,
    /// The description for `kubectl explain`.
    pub description: &'static str,
    kind: FieldKind,
    is_required: bool,
    is_immutable: bool,
}

#[derive(Clone, Copy, Debug)]
enum FieldKind {
    Flag { default: bool },
    Whole { least: i64, most: i64, default: Option<i64> },
    Text { allowed: &'static [&'static str], default: &'static str },
}

impl Field {
    /// A truth value.
    pub(super) const fn flag(
        path: &'static str,
        parameter: &'static str,
        default: bool,
        description: &'static str,
    ) -> Self {
        Self::new(path, parameter, FieldKind::Flag { default }, description)
    }

    /// A whole number within limits. Zero means absent where zero is below the limits, because Go clients send it.
    pub(super) const fn whole(
        path: &'static str,
        parameter: &'static str,
        (least, most): (i64, i64),
        default: Option<i64>,
        description: &'static str,
    ) -> Self {
        Self::new(path, parameter, FieldKind::Whole { least, most, default }, description)
    }

    /// A text. An empty text means absent, because Go clients send it.
    pub(super) const fn text(
        path: &'static str,
        parameter: &'static str,
        default: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(path, parameter, FieldKind::Text { allowed: &[], default }, description)
    }

    /// One of several texts.
    pub(super) const fn choice(
        path: &'static str,
        parameter: &'static str,
        allowed: &'static [&'static str],
        default: &'static str,
        description: &'static str,
    ) -> Self {
        Self::new(path, parameter, FieldKind::Text { allowed, default }, description)
    }

    const fn new(
        path: &'static str,
        parameter: &'static str,
        kind: FieldKind,
        description: &'static str,
    ) -> Self {
        Self { path, parameter, description, kind, is_required: false, is_immutable: false }
    }

    /// The field must have a value.
    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// The value cannot change, because AWS would replace the resource and lose what it holds.
    pub(super) const fn immutable(self) -> Self {
        Self { is_immutable: true, ..self }
    }

    /// The text that the template's parameter gets; `None` leaves it to the template's default.
    #[must_use]
    pub fn value(&self, spec: &Map<String, Value>) -> Option<String> {
        let mut names = self.path.split('.');
        let mut found = names.next().and_then(|name| spec.get(name));
        for name in names {
            found = found.and_then(|value| value.get(name));
        }
        match self.kind {
            FieldKind::Flag { default } => {
                Some(found.and_then(Value::as_bool).unwrap_or(default).to_string())
            }
            FieldKind::Whole { least, default, .. } => {
                let given = found.and_then(Value::as_i64).filter(|number| *number != 0 || least <= 0);
                given.or(default).map(|number| number.to_string())
            }
            FieldKind::Text { default, .. } => {
                let given = found.and_then(Value::as_str).filter(|text| !text.is_empty());
                given.or(Some(default)).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
            }
        }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            FieldKind::Flag { default } => json!({"type": "boolean", "default": default}),
            FieldKind::Whole { least, most, default } => whole(least, most, default),
            FieldKind::Text { allowed: [], default } => {
                let mut schema = json!({"type": "string", "maxLength": LONGEST_TEXT});
                if self.is_required {
                    schema["minLength"] = json!(1);
                } else {
                    schema["default"] = json!(default);
                }
                schema
            }
            FieldKind::Text { allowed, default } => {
                let mut values: Vec<_> = allowed.to_vec();
                values.push("");
                json!({"type": "string", "enum": values, "default": default})
            }
        };
        schema["description"] = json!(self.description);
        if self.is_immutable {
            let message = format!(
                "{} cannot change, because AWS would replace the resource; create another object",
                self.path
            );
            add_rule(&mut schema, "self == oldSelf", &message);
        }
        schema
    }
}

fn whole(least: i64, most: i64, default: Option<i64>) -> Value {
    let mut schema = json!({"type": "integer", "format": "int64", "maximum": most, "minimum": least.min(0)});
    if let Some(default) = default {
        schema["default"] = json!(default);
    }
    if least > 0 {
        let message = format!("write {least} to {most}, or leave the field out");
        add_rule(&mut schema, &format!("self == 0 || self >= {least}"), &message);
    }
    schema
}

/// Adds a validation rule to a schema.
fn add_rule(schema: &mut Value, rule: &str, message: &str) {
    let rule = json!({"rule": rule, "message": message});
    match schema["x-kubernetes-validations"].as_array_mut() {
        Some(rules) => rules.push(rule),
        None => schema["x-kubernetes-validations"] = json!([rule]),
    }
}

/// The properties of the fields, and the names of those that are required.
pub(super) fn properties(fields: &[Field]) -> (Map<String, Value>, Vec<&'static str>) {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut parents: BTreeMap<&str, (Map<String, Value>, Vec<&str>)> = BTreeMap::new();
    for field in fields {
        match field.path.split_once('.') {
            None => {
                properties.insert(field.path.to_owned(), field.schema());
                if field.is_required {
                    required.push(field.path);
                }
            }
            Some((parent, name)) => {
                let (children, needed) = parents.entry(parent).or_default();
                children.insert(name.to_owned(), field.schema());
                if field.is_required {
                    needed.push(name);
                }
            }
        }
    }
    for (parent, (children, needed)) in parents {
        let description = format!("The settings of {parent}.");
        let mut schema = json!({"type": "object", "description": description, "properties": children});
        if needed.is_empty() {
            // The defaults of the members count only where the object is there.
            schema["default"] = json!({});
        } else {
            schema["required"] = json!(needed);
            required.push(parent);
        }
        properties.insert(parent.to_owned(), schema);
    }
    (properties, required)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Field = Field::whole("delaySeconds", "DelaySeconds", (0, 900), Some(5), "The delay.");
    const UNITS: Field = Field::whole("units", "Units", (1, 40_000), Some(5), "The units.");
    const NAME: Field = Field::text("key.name", "KeyName", "", "The name.").required().immutable();
    const ACCESS: Field =
        Field::choice("access", "Access", &["Private", "PublicRead"], "Private", "Who may read.");

    fn spec(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[rstest::rstest]
    #[case(DELAY, json!({"delaySeconds": 0}), Some("0"))]
    #[case(DELAY, json!({}), Some("5"))]
    #[case(UNITS, json!({"units": 0}), Some("5"))]
    #[case(UNITS, json!({"units": 7}), Some("7"))]
    #[case(NAME, json!({"key": {"name": "id"}}), Some("id"))]
    #[case(NAME, json!({"key": {"name": ""}}), None)]
    #[case(ACCESS, json!({"access": ""}), Some("Private"))]
    fn zero_and_empty_mean_absent_where_they_are_no_value(
        #[case] field: Field,
        #[case] given: Value,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(field.value(&spec(&given)).as_deref(), expected);
    }

    #[test]
    fn nested_fields_become_an_object() {
        let (properties, required) = properties(&[DELAY, NAME]);
        assert_eq!(required, ["key"]);
        assert_eq!(properties["key"]["required"], json!(["name"]));
        assert_eq!(properties["key"]["properties"]["name"]["minLength"], 1);
        assert_eq!(properties["delaySeconds"]["default"], 5);
    }
}
