//! Templates of CloudFormation (pure): the parameters, outputs and resources of a template in YAML or JSON. Short forms
//! of functions (`!Ref`) are read; functions are not evaluated.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    /// The description.
    #[serde(default)]
    pub description: String,
    /// The parameters by name.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// The resources by name.
    pub resources: BTreeMap<String, Resource>,
    /// The outputs by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
    /// The data that tools store in the template.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A parameter of a template.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Parameter {
    /// The type: `String`, `Number`, a list, or a type of AWS.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The value if none is given.
    pub default: Option<Value>,
    /// The description.
    pub description: Option<String>,
    /// The allowed values; `None` if there is no such list.
    pub allowed_values: Option<Vec<Value>>,
    /// A regular expression that values match.
    pub allowed_pattern: Option<String>,
    /// The smallest number.
    pub min_value: Option<f64>,
    /// The largest number.
    pub max_value: Option<f64>,
    /// The length of the shortest text.
    pub min_length: Option<u64>,
    /// The length of the longest text.
    pub max_length: Option<u64>,
    /// Whether descriptions of the stack mask the value.
    pub no_echo: bool,
}

/// A resource of a template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resource {
    /// The resource's type.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// An output of a template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Output {
    /// The description.
    #[serde(default)]
    pub description: String,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the template cannot be read: {0}")]
pub struct TemplateError(String);

impl TemplateError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When the text is neither YAML nor JSON, or has no resources.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template: Self =
            serde_saphyr::from_str(text).map_err(|error| TemplateError(error.to_string()))?;
        if template.resources.is_empty() {
            return Err(TemplateError("`Resources` is empty; a template needs at least one".to_owned()));
        }
        Ok(template)
    }
}

impl Parameter {
    /// The JSON Schema of the parameter's values. Numbers and truth values may also be given as text, as
    /// CloudFormation takes them.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut schema = Map::new();
        let is_number = self.kind == "Number";
        if let Some(allowed) = &self.allowed_values {
            schema.insert("enum".to_owned(), both_spellings(allowed).into());
        } else if is_number {
            schema.insert("type".to_owned(), json!(["integer", "string"]));
            schema.insert("pattern".to_owned(), "^-?[0-9]+$".into());
        } else {
            schema.insert("type".to_owned(), "string".into());
        }
        let text = |value: &String| Value::from(value.clone());
        let limits = [
            ("minimum", self.min_value.map(number)),
            ("maximum", self.max_value.map(number)),
            ("minLength", self.min_length.filter(|_| !is_number).map(Value::from)),
            ("maxLength", self.max_length.filter(|_| !is_number).map(Value::from)),
            // CloudFormation compares the whole value.
            ("pattern", self.allowed_pattern.as_ref().map(|pattern| format!("^(?:{pattern})$").into())),
            ("description", self.description.as_ref().map(text)),
            ("default", self.default.clone()),
        ];
        schema.extend(limits.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        schema.into()
    }

    /// The text that CloudFormation takes for a value.
    ///
    /// # Errors
    /// When the value is not among the allowed ones, or is out of range.
    pub fn text(&self, value: &Value) -> Result<String, String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return Err("is neither a text, nor a number, nor true or false".to_owned()),
        };
        if let Some(allowed) = &self.allowed_values {
            let allowed: Vec<_> = allowed.iter().map(plain).collect();
            if !allowed.contains(&text) {
                return Err(format!("is {text:?}; take {}", allowed.join(" or ")));
            }
        }
        if self.kind == "Number" {
            let number: f64 = text.parse().map_err(|_| format!("is {text:?}, which is no number"))?;
            let (least, most) = (self.min_value.unwrap_or(f64::MIN), self.max_value.unwrap_or(f64::MAX));
            if !(least..=most).contains(&number) {
                return Err(format!("is {text}; take {least} to {most}"));
            }
        }
        Ok(text)
    }
}

/// The plain text of a scalar.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Each value with its other spelling: a text such as `"1"` or `"true"` as the value that it spells, any other value as
/// text.
fn both_spellings(values: &[Value]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for value in values {
        let other = match value {
            Value::String(text) => {
                serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_object())
            }
            other => Some(other.to_string().into()),
        };
        for value in [Some(value.clone()), other].into_iter().flatten() {
            if !all.contains(&value) {
                all.push(value);
            }
        }
    }
    all
}

/// The JSON number, as an integer if it is whole.
fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "the value is whole and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"
Description: A queue
Parameters:
  Fifo: {Type: String, Default: "false", AllowedValues: ["true", "false"], Description: Keep the order}
  Delay: {Type: Number, Default: 5, MinValue: 0, MaxValue: 900}
Conditions:
  IsFifo: !Equals [!Ref Fifo, "true"]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      DelaySeconds: !Ref Delay
      FifoQueue: !If [IsFifo, true, !Ref "AWS::NoValue"]
Outputs:
  QueueURL: {Description: The URL, Value: !Ref Queue}
  QueueARN: {Value: !GetAtt Queue.Arn}
"#;

    #[test]
    fn a_template_with_short_forms_is_read() {
        let template = Template::parse(YAML).unwrap();
        assert_eq!(template.outputs.keys().collect::<Vec<_>>(), ["QueueARN", "QueueURL"]);
        assert_eq!(template.resources["Queue"].kind, "AWS::SQS::Queue");
        assert_eq!(template.parameters["Delay"].max_value, Some(900.0));
        assert_eq!(template.parameters["Fifo"].default, Some("false".into()));
    }

    #[test]
    fn json_is_read_too() {
        let text =
            r#"{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}, "Outputs": {"A": {"Value": {"Ref": "T"}}}}"#;
        assert_eq!(Template::parse(text).unwrap().resources["T"].kind, "AWS::SNS::Topic");
    }

    #[rstest::rstest]
    #[case("Resources: {}", "empty")]
    #[case("Outputs: {}", "Resources")]
    #[case("a: [", "cannot be read")]
    fn a_text_that_is_no_template_is_refused(#[case] text: &str, #[case] named: &str) {
        let message = Template::parse(text).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }

    #[test]
    fn parameters_have_schemas() {
        let template = Template::parse(YAML).unwrap();
        assert_eq!(
            template.parameters["Delay"].schema(),
            json!({"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "minimum": 0, "maximum": 900, "default": 5})
        );
        assert_eq!(
            template.parameters["Fifo"].schema(),
            json!({"enum": ["true", true, "false", false], "default": "false", "description": "Keep the order"})
        );
    }

    #[rstest::rstest]
    #[case("Delay", json!(7), Ok("7"))]
    #[case("Delay", json!("7"), Ok("7"))]
    #[case("Delay", json!(901), Err("take 0 to 900"))]
    #[case("Delay", json!("x"), Err("no number"))]
    #[case("Fifo", json!(true), Ok("true"))]
    #[case("Fifo", json!("maybe"), Err("take true or false"))]
    #[case("Fifo", json!(["true"]), Err("neither"))]
    fn values_become_text(#[case] name: &str, #[case] value: Value, #[case] expected: Result<&str, &str>) {
        match (Template::parse(YAML).unwrap().parameters[name].text(&value), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(problem), Err(named)) => assert!(problem.contains(named), "{problem}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}
