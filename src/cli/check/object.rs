//! An object of a file.

use serde_json::Value;

/// An object of a file. The items of a List are objects of their own.
pub(super) struct Object {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

impl Object {
    /// The object, or the items of a list.
    pub(super) fn all_in(file: &str, line: usize, mut value: Value) -> Vec<Self> {
        let text =
            |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
        let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind").unwrap_or_default());
        let Some((listed, Some(Value::Array(items)))) =
            kind.strip_suffix("List").map(|listed| (listed, value.get_mut("items").map(Value::take)))
        else {
            return vec![Self { file: file.to_owned(), line, value }];
        };
        let completed = |mut item: Value| {
            // The items of a typed list may omit their type.
            if let Some(members) = item.as_object_mut().filter(|_| !listed.is_empty()) {
                members.entry("kind").or_insert_with(|| Value::from(listed));
                let version = Value::from(api_version.clone());
                members.entry("apiVersion").or_insert(version);
            }
            Self::all_in(file, line, item)
        };
        items.into_iter().flat_map(completed).collect()
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The API group; empty for the core group.
    pub(super) fn group(&self) -> &str {
        self.text("/apiVersion").split_once('/').map_or("", |(group, _)| group)
    }

    pub(super) fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// The object's name, or its `generateName`.
    pub(super) fn name(&self) -> &str {
        let name = self.text("/metadata/name");
        if name.is_empty() { self.text("/metadata/generateName") } else { name }
    }

    /// File and line, as compilers write them.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Whether the object is of this kind of the core group.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.group().is_empty() && self.kind() == kind
    }
}
