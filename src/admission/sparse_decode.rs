//! Decodes only the fields that injection reads. Most of a large pod is probes, resources and values of variables, and
//! building a tree of these would take most of the response time. The shapes below list the fields to skip, so fields
//! that this version does not know are still decoded. Skipping does not change the patch: a patch only adds, at places
//! that were decoded. A pod's variables are decoded only if its annotations may name variables, because nothing else
//! reads them. A tree can take a hundred times the memory of its text, so the number of values is limited.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::injection::{NameOnly, may_name_variables};

/// How much of a value is decoded.
enum Shape {
    Whole,
    /// An object without the fields in the first list; the second list gives nested shapes.
    Without(&'static [&'static str], &'static [(&'static str, Shape)]),
    /// Only whether the value exists.
    Presence,
    /// A list whose elements have this shape.
    Each(&'static Shape),
    /// The annotations of the object.
    Annotations,
    /// The variables of a container. They are skipped if the annotations name no variables; the API server writes an
    /// object's metadata first, so the annotations are known by then.
    Variables,
    /// One variable, without its value. A [`NameOnly`] replaces a variable of which only the name is left.
    Variable,
}

const CONTAINERS: Shape = Shape::Each(&Shape::Without(
    &[
        "args",
        "command",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "ports",
        "readinessProbe",
        "resources",
        "securityContext",
        "startupProbe",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "workingDir",
    ],
    &[("env", Shape::Variables)],
));

/// A pod, or an object with a pod template, of which the template is decoded completely.
const OBJECT: Shape = Shape::Without(
    &["status"],
    &[
        ("metadata", Shape::Without(&["managedFields"], &[("annotations", Shape::Annotations)])),
        (
            "spec",
            Shape::Without(
                &["affinity", "securityContext", "tolerations", "topologySpreadConstraints"],
                &[
                    ("containers", CONTAINERS),
                    ("initContainers", CONTAINERS),
                    (
                        "volumes",
                        Shape::Each(&Shape::Without(&["emptyDir"], &[("downwardAPI", Shape::Presence)])),
                    ),
                ],
            ),
        ),
    ],
);

const WHOLE_OBJECT: Shape =
    Shape::Without(&["status"], &[("metadata", Shape::Without(&["managedFields"], &[]))]);

/// The maximum number of decoded values per object, without the skipped ones. A pod of 40 containers with 200 variables
/// each has 16,000; the largest tree within this limit takes 35 MiB.
const MOST_VALUES: usize = 50_000;

/// The object of a review.
#[derive(Debug, Default)]
pub enum Object {
    /// The review has no object.
    #[default]
    None,
    /// The decoded fields.
    Read(Value),
    /// The object has too many values.
    TooMuch,
}

impl Object {
    /// The decoded fields, if the object was decoded.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        if let Self::Read(value) = self { Some(value) } else { None }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&OBJECT, deserializer)
    }
}

/// The object of a review with everything but its status and managed fields, within the same limit.
#[derive(Debug, Default)]
pub struct WholeObject(pub Object);

impl<'de> Deserialize<'de> for WholeObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&WHOLE_OBJECT, deserializer).map(Self)
    }
}

fn read<'de, D: Deserializer<'de>>(shape: &Shape, deserializer: D) -> Result<Object, D::Error> {
    let state = State {
        left: Cell::new(MOST_VALUES),
        is_exceeded: Cell::new(false),
        variables_matter: Cell::new(true),
    };
    let value = Reader { shape, state: &state }.deserialize(deserializer)?;
    Ok(match value {
        _ if state.is_exceeded.get() => Object::TooMuch,
        Value::Null => Object::None,
        value => Object::Read(value),
    })
}

/// The field of a variable that is always decoded.
const NAME: &str = "name";

/// The progress of decoding.
struct State {
    /// How many more values may be decoded.
    left: Cell<usize>,
    is_exceeded: Cell<bool>,
    /// Whether injection may read the pod's own variables, according to the annotations so far.
    variables_matter: Cell<bool>,
}

impl State {
    /// Counts a value against the limit. Once the limit is reached the rest of the text is skipped.
    fn takes_one(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        self.is_exceeded.set(left.is_none());
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

#[derive(Clone, Copy)]
struct Reader<'s> {
    shape: &'s Shape,
    state: &'s State,
}

impl Reader<'_> {
    fn variable<'de, A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (mut name, mut rest) = (None, Map::new());
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.state.is_exceeded.get() || key == "value" {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = entries.next_value_seed(Self { shape: &Shape::Whole, ..self })?;
            if key == NAME {
                name = Some(value);
            } else {
                rest.insert(key.into_owned(), value);
            }
        }
        Ok(match name {
            Some(Value::String(name)) if rest.is_empty() => NameOnly::of(name),
            name => {
                rest.extend(name.map(|name| (NAME.to_owned(), name)));
                Value::Object(rest)
            }
        })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.state.takes_one() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| Value::Null)
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (without, shaped) = match self.shape {
            Shape::Variable => return self.variable(entries),
            Shape::Presence => {
                while let Some((IgnoredAny, IgnoredAny)) = entries.next_entry()? {}
                return Ok(Value::Object(Map::new()));
            }
            Shape::Without(without, shaped) => (*without, *shaped),
            Shape::Annotations => (&["kubectl.kubernetes.io/last-applied-configuration"][..], &[][..]),
            Shape::Whole | Shape::Each(_) | Shape::Variables => (&[][..], &[][..]),
        };
        let mut object = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.state.is_exceeded.get() || without.contains(&key.as_ref()) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let shape =
                    shaped.iter().find(|(name, _)| *name == key).map_or(&Shape::Whole, |(_, shape)| shape);
                object.insert(key.into_owned(), entries.next_value_seed(Self { shape, ..self })?);
            }
        }
        if let Shape::Annotations = self.shape {
            self.state.variables_matter.set(may_name_variables(&object));
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let shape = match self.shape {
            Shape::Each(shape) => shape,
            Shape::Variables if self.state.variables_matter.get() => &Shape::Variable,
            Shape::Variables => {
                while let Some(IgnoredAny) = elements.next_element()? {}
                return Ok(Value::Array(list));
            }
            _ => &Shape::Whole,
        };
        while let Some(element) = elements.next_element_seed(Self { shape, ..self })? {
            if !self.state.is_exceeded.get() {
                list.push(element);
            }
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<Value, E> {
        Ok(Value::from(is))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A field's name, copied only if necessary.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
