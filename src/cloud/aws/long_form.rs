//! Templates with CloudFormation's functions in the long form (pure): `!Ref Queue` becomes `{"Ref": "Queue"}`, so that a
//! program can change a template and write it as JSON.

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

use super::template::TemplateError;

/// How deep a template may be nested.
const DEEPEST: usize = 64;

type Events<'a> = Parser<'a, StrInput<'a>>;

/// The template in YAML or JSON as a value, with functions in the long form.
///
/// # Errors
/// When the text is not one document of YAML, has aliases or duplicate keys, or is nested too deeply.
pub fn parse(text: &str) -> Result<Value, TemplateError> {
    let mut events = Parser::new_from_str(text);
    let mut root = None;
    loop {
        match next(&mut events)? {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => return root.ok_or_else(|| TemplateError::new("it is empty")),
            _ if root.is_some() => return Err(TemplateError::new("it has several documents; keep one")),
            event => root = Some(node(&mut events, event, 0)?),
        }
    }
}

fn next<'a>(events: &mut Events<'a>) -> Result<Event<'a>, TemplateError> {
    loop {
        match events.next_event() {
            Some(Ok((Event::Comment(..), _))) => {}
            Some(Ok((event, _))) => return Ok(event),
            Some(Err(error)) => return Err(TemplateError::new(error.to_string())),
            None => return Ok(Event::StreamEnd),
        }
    }
}

fn node<'a>(events: &mut Events<'a>, event: Event<'a>, depth: usize) -> Result<Value, TemplateError> {
    if depth > DEEPEST {
        return Err(TemplateError::new(format!("it is nested more than {DEEPEST} levels deep")));
    }
    match event {
        Event::Scalar(text, style, _, tag) => {
            let value = match style {
                ScalarStyle::Plain if tag.is_none() => plain(&text),
                _ => Value::from(text.into_owned()),
            };
            function(tag.as_deref(), value)
        }
        Event::SequenceStart(_, _, tag) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => return function(tag.as_deref(), items.into()),
                    event => items.push(node(events, event, depth + 1)?),
                }
            }
        }
        Event::MappingStart(_, _, tag) => {
            let mut map = Map::new();
            loop {
                let key = match next(events)? {
                    Event::MappingEnd => return function(tag.as_deref(), map.into()),
                    Event::Scalar(key, ..) => key.into_owned(),
                    _ => return Err(TemplateError::new("a key of it is no text")),
                };
                let event = next(events)?;
                let value = node(events, event, depth + 1)?;
                if map.insert(key.clone(), value).is_some() {
                    return Err(TemplateError::new(format!("it has the key {key:?} twice")));
                }
            }
        }
        Event::Alias(_) => {
            Err(TemplateError::new("it has an alias (`*`), which CloudFormation does not take"))
        }
        other => Err(TemplateError::new(format!("{other:?} is in the place of a value"))),
    }
}

/// The long form of a function's short form.
fn function(tag: Option<&Tag>, value: Value) -> Result<Value, TemplateError> {
    let Some(tag) = tag.filter(|tag| tag.handle() == "!") else { return Ok(value) };
    let (name, argument) = match (tag.suffix(), value) {
        ("Ref", value) => ("Ref".to_owned(), value),
        ("Condition", value) => ("Condition".to_owned(), value),
        ("GetAtt", Value::String(text)) => {
            let (resource, attribute) = text.split_once('.').ok_or_else(|| {
                TemplateError::new(format!("!GetAtt {text} names no attribute; write RESOURCE.ATTRIBUTE"))
            })?;
            ("Fn::GetAtt".to_owned(), vec![Value::from(resource), attribute.into()].into())
        }
        (name, value) => (format!("Fn::{name}"), value),
    };
    Ok(Map::from_iter([(name, argument)]).into())
}

/// A scalar without quotes: CloudFormation reads JSON's scalars, and all else as text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" | "True" => true.into(),
        "false" | "False" => false.into(),
        // A date or an account's number with a leading zero is not a number.
        _ => text.parse::<Number>().map_or_else(|_| text.into(), Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_forms_become_long_forms() {
        let text = r#"
AWSTemplateFormatVersion: 2010-09-09 # a comment
# Another one.
Conditions: {IsFifo: !Equals [!Ref Fifo, "true"], Both: !And [!Condition IsFifo, !Not [!Equals [a, b]]]}
Resources:
  Queue:
    Properties:
      Name: !Sub "${AWS::StackName}-q"
      Delay: 5
      Redrive: !If [IsFifo, {arn: !GetAtt Dead.Arn}, !Ref "AWS::NoValue"]
      Other: !GetAtt [Dead, Arn]
      Id: "0123"
"#;
        assert_eq!(
            parse(text).unwrap(),
            json!({"AWSTemplateFormatVersion": "2010-09-09",
                "Conditions": {"IsFifo": {"Fn::Equals": [{"Ref": "Fifo"}, "true"]},
                    "Both": {"Fn::And": [{"Condition": "IsFifo"}, {"Fn::Not": [{"Fn::Equals": ["a", "b"]}]}]}},
                "Resources": {"Queue": {"Properties": {"Name": {"Fn::Sub": "${AWS::StackName}-q"}, "Delay": 5,
                    "Redrive": {"Fn::If": ["IsFifo", {"arn": {"Fn::GetAtt": ["Dead", "Arn"]}}, {"Ref": "AWS::NoValue"}]},
                    "Other": {"Fn::GetAtt": ["Dead", "Arn"]}, "Id": "0123"}}}})
        );
        assert_eq!(parse(r#"{"a": [1, true, null]}"#).unwrap(), json!({"a": [1, true, null]}));
    }

    #[rstest::rstest]
    #[case("", "empty")]
    #[case("a: [", "cannot be read")]
    #[case("a: 1\na: 2", "twice")]
    #[case("a: &x [1]\nb: [*x, *x]", "alias")]
    #[case("a: 1\n---\nb: 2", "several documents")]
    #[case("[a]: 1", "no text")]
    #[case("a: !GetAtt Queue", "names no attribute")]
    fn what_is_no_template_is_refused(#[case] text: &str, #[case] named: &str) {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }

    #[test]
    fn a_deep_template_is_refused() {
        let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let message = parse(&nested).unwrap_err().to_string();
        assert!(message.contains("deep"), "{message}");
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
