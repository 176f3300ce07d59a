//! Decodes only the fields that injection reads. Most of a large pod is probes, resources and values of variables; a tree of
//! these would take most of the time that an answer takes. This module lists what is left out, so that fields which this version
//! does not know are read. Reading less changes no patch: a patch only adds, at places that were read. A pod's variables are
//! read only if its annotations may name some, because nothing else looks at them.
//!
//! A tree can take a hundred times the memory of its text, so the number of values is limited.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::injection::{NameOnly, may_name_variables};

/// How much of a value is read.
enum Shape {
    Whole,
    /// An object without some of its fields; the fields that have a shape of their own.
    Without(&'static [&'static str], &'static [(&'static str, Shape)]),
    /// Only whether it is there.
    Presence,
    /// A list of such.
    Each(&'static Shape),
    /// The annotations of the object.
    Annotations,
    /// The variables of a container. None is read if the annotations that were read before leave them alone; the API
    /// server writes an object's metadata first.
    Variables,
    /// One of them, without its value. If only its name is left, a [`NameOnly`] stands for it.
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

/// A pod, or an object with a pod template, which is read whole.
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

/// The most values that are read of an object; what is left out does not count. A pod of 40 containers with 200 variables
/// each has 16,000 of them; the tree of the worst kind takes 35 MiB.
const MOST_VALUES: usize = 50_000;

/// An object that a webhook is asked about.
#[derive(Debug, Default)]
pub enum Object {
    /// There is none.
    #[default]
    None,
    /// What is looked at of it.
    Read(Value),
    /// It has too many values to be read.
    TooMuch,
}

impl Object {
    pub(super) fn value(&self) -> Option<&Value> {
        if let Self::Read(value) = self { Some(value) } else { None }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let state = State {
            left: Cell::new(MOST_VALUES),
            is_exceeded: Cell::new(false),
            variables_matter: Cell::new(true),
        };
        let value = Reader { shape: &OBJECT, state: &state }.deserialize(deserializer)?;
        Ok(match value {
            _ if state.is_exceeded.get() => Self::TooMuch,
            Value::Null => Self::None,
            value => Self::Read(value),
        })
    }
}

/// The field of a variable that is always read.
const NAME: &str = "name";

/// How far reading has got.
struct State {
    /// How many values may yet be read.
    left: Cell<usize>,
    is_exceeded: Cell<bool>,
    /// Whether the pod's own variables may matter, as far as is known.
    variables_matter: Cell<bool>,
}

impl State {
    /// Whether there is room for another value. The rest of the text is skipped once there is none.
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

/// A field's name, copied only if it has to be.
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
