//! Makes the API server's JSON parsable while it streams by: `metadata.managedFields` of objects becomes null,
//! because bindery never reads it, and a value that is nested too deeply is replaced by a text that says so. Parsers
//! refuse a whole answer because of one such value, and any user who may write an object can store one. Objects of
//! normal depth pass unchanged, byte for byte. Pure; memory use does not depend on the input.

use serde_json::Value;

/// The nesting limit of an object. Parsers accept 128 levels, and lists, watches and reviews wrap objects in some.
const MOST_LEVELS: usize = 100;

/// The replacement for a value that is nested deeper. If a user writes this text, only that user's object is refused.
const CUT: &str = "bindery.dev: this value nests deeper than 100 levels and is not read";

/// Whether a part of this value was replaced because it is nested too deeply.
#[must_use]
pub fn is_cut(value: &Value) -> bool {
    match value {
        Value::String(text) => text == CUT,
        Value::Array(values) => values.iter().any(is_cut),
        Value::Object(members) => members.values().any(is_cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The message about a field that was replaced.
#[must_use]
pub fn too_deep(field: &str) -> String {
    format!("{field} is nested deeper than 100 levels, which is more than bindery reads; make it flatter")
}

/// Trims a whole body.
#[must_use]
pub fn trimmed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    Trim::default().push(body, &mut out);
    out
}

/// The state of the trimming. The input is fed in pieces that may end anywhere.
#[derive(Debug)]
pub(super) struct Trim {
    most_levels: usize,
    /// The open containers, outermost first.
    open: Vec<Container>,
    state: State,
    /// Whether the next string is a member's name.
    expects_name: bool,
}

#[derive(Debug)]
struct Container {
    is_object: bool,
    /// The member that is being read.
    member: Name,
}

/// The member names that locate an object's `managedFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Items,
    ManagedFields,
    Metadata,
    Object,
    OldObject,
    Request,
    Other,
}

impl Name {
    const LONGEST: usize = "managedFields".len();

    fn of(text: &[u8]) -> Self {
        match text {
            b"items" => Self::Items,
            b"managedFields" => Self::ManagedFields,
            b"metadata" => Self::Metadata,
            b"object" => Self::Object,
            b"oldObject" => Self::OldObject,
            b"request" => Self::Request,
            _ => Self::Other,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Between strings.
    Outside,
    /// In a string.
    Text { is_escaped: bool },
    /// In a member's name; holds its beginning.
    Naming { text: Vec<u8>, is_escaped: bool },
    /// In a container that is removed.
    Skipping { levels: usize, is_text: bool, is_escaped: bool },
}

impl Default for Trim {
    fn default() -> Self {
        Self::to(MOST_LEVELS)
    }
}

impl Trim {
    fn to(most_levels: usize) -> Self {
        Self { most_levels, open: Vec::new(), state: State::Outside, expects_name: false }
    }

    /// Processes the next piece and appends the trimmed output.
    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        // The end of the input that has been passed on.
        let mut done = 0;
        for (at, &byte) in input.iter().enumerate() {
            match &mut self.state {
                State::Outside => {
                    if let Some(instead) = self.structure(byte) {
                        out.extend_from_slice(input.get(done..at).unwrap_or_default());
                        out.extend_from_slice(instead.as_bytes());
                        done = at + 1;
                    }
                }
                State::Text { is_escaped } => {
                    if ends(byte, is_escaped) {
                        self.state = State::Outside;
                    }
                }
                State::Naming { text, is_escaped } => {
                    if ends(byte, is_escaped) {
                        let name = Name::of(text);
                        if let Some(container) = self.open.last_mut() {
                            container.member = name;
                        }
                        self.state = State::Outside;
                    } else if text.len() <= Name::LONGEST {
                        text.push(byte);
                    }
                }
                State::Skipping { levels, is_text, is_escaped } => {
                    done = at + 1;
                    if *is_text {
                        *is_text = !ends(byte, is_escaped);
                        continue;
                    }
                    match byte {
                        b'"' => *is_text = true,
                        b'{' | b'[' => *levels += 1,
                        b'}' | b']' => *levels -= 1,
                        _ => {}
                    }
                    if *levels == 0 {
                        self.state = State::Outside;
                    }
                }
            }
        }
        out.extend_from_slice(input.get(done..).unwrap_or_default());
    }

    /// Processes a byte between strings. Returns the replacement for the container that begins with it, if the
    /// container is removed.
    fn structure(&mut self, byte: u8) -> Option<String> {
        match byte {
            b'"' if self.expects_name => {
                self.state = State::Naming { text: Vec::new(), is_escaped: false };
            }
            b'"' => self.state = State::Text { is_escaped: false },
            b'{' | b'[' => {
                let instead = if self.is_managed_fields() {
                    Some("null".to_owned())
                } else {
                    (self.open.len() >= self.most_levels + self.wrapping()).then(|| format!("\"{CUT}\""))
                };
                if instead.is_some() {
                    self.state = State::Skipping { levels: 1, is_text: false, is_escaped: false };
                    return instead;
                }
                self.expects_name = byte == b'{';
                self.open.push(Container { is_object: self.expects_name, member: Name::Other });
            }
            b'}' | b']' => {
                self.open.pop();
                self.expects_name = false;
            }
            b',' => self.expects_name = self.open.last().is_some_and(|container| container.is_object),
            b':' => self.expects_name = false,
            _ => {}
        }
        None
    }

    /// How many containers wrap the object: none around a single object, two around an item of a list, one in an
    /// event of a watch, two in an admission review.
    fn wrapping(&self) -> usize {
        match self.open.as_slice() {
            [list, items, ..] if list.member == Name::Items && !items.is_object => 2,
            [review, request, ..]
                if review.member == Name::Request
                    && matches!(request.member, Name::Object | Name::OldObject) =>
            {
                2
            }
            [event, ..] if event.member == Name::Object => 1,
            _ => 0,
        }
    }

    /// Whether the value that begins is the `managedFields` of an object.
    fn is_managed_fields(&self) -> bool {
        match self.open.get(self.wrapping()..) {
            Some([object, metadata]) => {
                object.member == Name::Metadata && metadata.member == Name::ManagedFields
            }
            _ => false,
        }
    }
}

/// Whether a byte ends the string.
fn ends(byte: u8, is_escaped: &mut bool) -> bool {
    let was_escaped = std::mem::replace(is_escaped, byte == b'\\' && !*is_escaped);
    byte == b'"' && !was_escaped
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::*;

    fn text(body: &str) -> String {
        String::from_utf8(trimmed(body.as_bytes())).unwrap()
    }

    fn nested(levels: usize) -> String {
        format!("{}1{}", "{\"f:a\":[".repeat(levels / 2), "]}".repeat(levels / 2))
    }

    #[test]
    fn managed_fields_are_removed_from_objects_in_every_position() {
        let object = |fields: &str| {
            format!(
                r#"{{"kind":"Pod","metadata":{{"annotations":{{"managedFields":"[{{"}},"managedFields":{fields},"name":"a\"b"}},"spec":{{"metadata":{{"managedFields":[1]}}}}}}"#
            )
        };
        for fields in [nested(400), r#"[{"fieldsV1":{"f:metadata":{}},"x":"]\\"}]"#.to_owned()] {
            let (before, after) = (object(&fields), object("null"));
            for wrap in [
                |object: &str| object.to_owned(),
                |object: &str| {
                    format!(r#"{{"kind":"PodList","metadata":{{}},"items":[{object}, {object}]}}"#)
                },
                |object: &str| {
                    format!(
                        "{{\"type\":\"ADDED\",\"object\":{object}}}\n{{\"type\":\"MODIFIED\",\"object\":{object}}}\n"
                    )
                },
                |object: &str| {
                    format!(
                        r#"{{"kind":"AdmissionReview","request":{{"uid":"u","object":{object},"oldObject":{object}}}}}"#
                    )
                },
            ] {
                assert_eq!(text(&wrap(&before)), wrap(&after));
            }
        }
    }

    #[test]
    fn a_deeply_nested_value_is_replaced_and_the_rest_can_be_parsed() {
        let object = |parameters: &str| {
            format!(
                r#"{{"kind":"ServiceInstance","metadata":{{"name":"a"}},"spec":{{"parameters":{parameters},"z":[{{}}]}}}}"#
            )
        };
        for levels in [98, 100, 200, 5000] {
            let list = format!(r#"{{"items":[{},{}]}}"#, object(&nested(levels)), object(r#"{"a":1}"#));
            let read: Value = serde_json::from_str(&text(&list)).unwrap();
            assert_eq!(is_cut(&read["items"][0]), levels > 98, "{levels}");
            assert_eq!(read["items"][0]["spec"]["z"], json!([{}]));
            assert_eq!(read["items"][1], serde_json::from_str::<Value>(&object(r#"{"a":1}"#)).unwrap());
            // An object is cut at the same place, however it is read.
            let alone: Value = serde_json::from_str(&text(&object(&nested(levels)))).unwrap();
            assert_eq!(alone, read["items"][0]);
            let event = text(&format!(r#"{{"type":"ADDED","object":{}}}"#, object(&nested(levels))));
            assert_eq!(serde_json::from_str::<Value>(&event).unwrap()["object"], alone);
        }
    }

    #[test]
    fn other_text_than_json_passes() {
        for body in ["", "404 page not found\n", "}}]],", "{\"a\":", "[{\"a\\", "\"\\u00"] {
            assert_eq!(text(body), body);
        }
    }

    /// JSON of all kinds, with the relevant names in every place.
    fn values() -> impl Strategy<Value = Value> {
        let names = prop_oneof![
            Just("metadata".to_owned()),
            Just("managedFields".to_owned()),
            Just("items".to_owned()),
            Just("object".to_owned()),
            "[\"\\\\{}\\[\\],:a ü]{0,4}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],:a ü\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 4, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec((names.clone(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same result computed on a tree.
    fn expected(value: &Value, most: usize) -> Value {
        let mut value = value.clone();
        if let Some(fields) = value.pointer_mut("/metadata/managedFields")
            && (fields.is_array() || fields.is_object())
        {
            *fields = Value::Null;
        }
        cut(&mut value, most);
        value
    }

    fn cut(value: &mut Value, most: usize) {
        match value {
            Value::Array(_) | Value::Object(_) if most == 0 => *value = Value::from(CUT),
            Value::Array(values) => values.iter_mut().for_each(|value| cut(value, most - 1)),
            Value::Object(members) => members.values_mut().for_each(|value| cut(value, most - 1)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn trimming_equals_trimming_a_parsed_tree(value in values(), most in 1_usize..6) {
            let is_wrapped = value.get("items").is_some_and(Value::is_array)
                || ["object", "request"].iter().any(|name| value.get(name).is_some());
            prop_assume!(!is_wrapped && !value.is_array());
            let mut out = Vec::new();
            Trim::to(most).push(value.to_string().as_bytes(), &mut out);
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected(&value, most));
        }

        #[test]
        fn pieces_may_end_anywhere(value in values(), size in 1_usize..9, most in 1_usize..6) {
            let body = value.to_string();
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            Trim::to(most).push(body.as_bytes(), &mut whole);
            let mut trim = Trim::to(most);
            body.as_bytes().chunks(size).for_each(|piece| trim.push(piece, &mut pieces));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn bodies_of_normal_depth_pass_byte_for_byte(value in values()) {
            prop_assume!(!value.to_string().contains("managedFields"));
            let body = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(trimmed(body.as_bytes()), body.as_bytes());
        }

        #[test]
        fn nothing_panics(body in vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b','), any::<u8>()], 0..200)) {
            let _ = trimmed(&body);
        }
    }
}
