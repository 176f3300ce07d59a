//! Reads of a pod what an injection looks at. Most of a large pod is probes, resources and values of variables; to make
//! a tree of them would take most of the time that an answer takes. What is left out is named here, so that whatever
//! this version does not know is read. Reading less changes no patch: a patch only adds, and says where by what was read.
//!
//! A tree can take a hundred times the memory of its text, so only so many values are read.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What of a value is read.
enum Shape {
    Whole,
    /// An object without some of its fields; the fields that have a shape of their own.
    Without(&'static [&'static str], &'static [(&'static str, Shape)]),
    /// A list of such.
    Each(&'static Shape),
    /// A variable, of which the value is not read. If only its name is left, it is read as that text: a pod may have thousands of
    /// variables, and a map for each would take most of the time and memory. The injection knows it.
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
    &[("env", Shape::Each(&Shape::Variable))],
));

/// A pod, or an object with a pod template, which is read whole.
const OBJECT: Shape = Shape::Without(
    &["status"],
    &[
        (
            "metadata",
            Shape::Without(
                &["managedFields"],
                &[(
                    "annotations",
                    Shape::Without(&["kubectl.kubernetes.io/last-applied-configuration"], &[]),
                )],
            ),
        ),
        (
            "spec",
            Shape::Without(
                &["affinity", "securityContext", "tolerations", "topologySpreadConstraints"],
                &[
                    ("containers", CONTAINERS),
                    ("initContainers", CONTAINERS),
                    (
                        "volumes",
                        Shape::Each(&Shape::Without(
                            &["configMap", "downwardAPI", "emptyDir", "projected"],
                            &[],
                        )),
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
pub(super) enum Object {
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

/// Reads an object that a webhook is asked about, for `#[serde(deserialize_with)]`.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
    let budget = Budget { left: Cell::new(MOST_VALUES), is_exceeded: Cell::new(false) };
    let value = Reader { shape: &OBJECT, budget: &budget }.deserialize(deserializer)?;
    Ok(match value {
        _ if budget.is_exceeded.get() => Object::TooMuch,
        Value::Null => Object::None,
        value => Object::Read(value),
    })
}

/// The field of a variable that is always read.
const NAME: &str = "name";

/// How many values may yet be read.
struct Budget {
    left: Cell<usize>,
    is_exceeded: Cell<bool>,
}

impl Budget {
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
    budget: &'s Budget,
}

impl Reader<'_> {
    fn variable<'de, A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (mut name, mut rest) = (None, Map::new());
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.budget.is_exceeded.get() || key == "value" {
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
            Some(Value::String(name)) if rest.is_empty() => Value::String(name),
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
        if self.budget.takes_one() {
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
            Shape::Without(without, shaped) => (*without, *shaped),
            Shape::Whole | Shape::Each(_) => (&[][..], &[][..]),
        };
        let mut object = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.budget.is_exceeded.get() || without.contains(&key.as_ref()) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let shape =
                    shaped.iter().find(|(name, _)| *name == key).map_or(&Shape::Whole, |(_, shape)| shape);
                object.insert(key.into_owned(), entries.next_value_seed(Self { shape, ..self })?);
            }
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let shape = if let Shape::Each(shape) = self.shape { shape } else { &Shape::Whole };
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Self { shape, ..self })? {
            if !self.budget.is_exceeded.get() {
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::inject::{InjectSettings, inject};

    fn read(value: &Value) -> Value {
        let text = value.to_string();
        match object(&mut serde_json::Deserializer::from_str(&text)).unwrap() {
            Object::None => Value::Null,
            Object::Read(value) => value,
            Object::TooMuch => panic!("too much"),
        }
    }

    fn is_too_much(value: &Value) -> bool {
        let text = value.to_string();
        matches!(object(&mut serde_json::Deserializer::from_str(&text)).unwrap(), Object::TooMuch)
    }

    /// 8 MiB of empty objects would become more than half a GiB.
    #[test]
    fn an_object_of_endless_values_is_not_read() {
        let with = |field: &str, count: usize| json!({"spec": {field: vec![json!({"name": ""}); count]}});
        assert!(is_too_much(&with("other", 600_000)));
        assert!(is_too_much(&with("volumes", MOST_VALUES / 2)));
        assert!(is_too_much(&json!({"metadata": vec![Value::Null; MOST_VALUES]})));
        // What is left out takes no memory.
        assert!(!is_too_much(&with("tolerations", 600_000)));
        assert!(!is_too_much(&with("volumes", MOST_VALUES / 2 - 2)));
    }

    #[test]
    fn what_an_injection_does_not_look_at_is_left_out() {
        let container = json!({
            "name": "app", "image": "app:1", "livenessProbe": {"exec": {"command": ["a"]}}, "future": [1, -2, 1.5, null, true],
            "env": [{"name": "A", "value": "long"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]
        });
        let pod = json!({
            "kind": "Pod", "status": {"phase": "Pending"},
            "metadata": {"name": "web", "managedFields": [{}], "annotations": {"bindery.dev/bind": "a\n\"b"}},
            "spec": {"containers": [container], "tolerations": [{}], "volumes": [{"name": "tmp", "emptyDir": {}}]}
        });
        let expected = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "annotations": {"bindery.dev/bind": "a\n\"b"}},
            "spec": {
                "containers": [{
                    "name": "app", "future": [1, -2, 1.5, null, true],
                    "env": ["A", {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]
                }],
                "volumes": [{"name": "tmp"}]
            }
        });
        assert_eq!(read(&pod), expected);
    }

    /// What is not shaped as Kubernetes has it is told by the injection, not here.
    #[test]
    fn what_has_another_shape_is_read_whole() {
        for odd in [
            json!({"spec": [1, {"status": 1}], "metadata": "text"}),
            json!({"spec": {"containers": {"image": 1}, "volumes": "none"}}),
            json!({"spec": {"containers": [["image"], 5, null]}}),
            json!([{"status": 1}]),
            json!({"spec": {"containers": [{"env": [{}, {"name": 1}, {"name": {"value": 2}}, [{"value": 3}], null, 4]}]}}),
            json!({"spec": {"containers": [{"env": {"name": "A", "value": "B"}}]}}),
            json!("text"),
        ] {
            assert_eq!(read(&odd), odd);
        }
        assert_eq!(read(&Value::Null), Value::Null);
    }

    #[test]
    fn the_template_of_a_workload_is_read_whole() {
        let workload = json!({"kind": "Deployment", "spec": {"template": {"metadata": {"annotations": {"a": "b"}},
            "spec": {"containers": [{"image": "i"}]}}}});
        assert_eq!(read(&workload), workload);
    }

    /// Also when each of the fields that are left out is of the wrong kind, or the pod says more than usual.
    #[test]
    fn the_injection_is_the_same() {
        let pod = json!({
            "metadata": {"annotations": {
                "bindery.dev/bind": "a,b", "bindery.dev/env": "A=a/key,IMAGE=b/key", "bindery.dev/files": "x=a/key"
            }},
            "spec": {
                "os": {"name": "linux"},
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "initContainers": [{"name": "init", "image": 5, "restartPolicy": "Always", "env": []}],
                "containers": [
                    {"name": "app", "env": [{"name": "A", "value": "own"}], "envFrom": [{"secretRef": {"name": "b-env"}}],
                     "volumeMounts": [{"name": "x", "mountPath": "/var/secrets/b"}]},
                    {"name": "other", "volumeDevices": [{"name": "y", "devicePath": "/var/secrets/a"}]}
                ],
                "volumes": [{"name": "x", "projected": {"sources": []}}, {"name": "z", "secret": {"secretName": "z"}}]
            }
        });
        let settings = InjectSettings::default();
        let whole = inject(&pod, &settings).unwrap();
        assert!(!whole.is_empty() && !whole.warnings.is_empty());
        assert_eq!(inject(&read(&pod), &settings).unwrap(), whole);
    }
}
