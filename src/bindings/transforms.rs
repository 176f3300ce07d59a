//! `secretTransforms` of a ServiceBinding: changes of the credentials, in order, before they become a Secret's data. The
//! semantics are those of service-catalog (`transformCredentials` in `pkg/controller/controller_binding.go`). Pure. Secrets that
//! `addKeysFrom` names are read by the caller. Errors name the transform's index and never a value.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::Value;

use super::{
    json_path::{Budget, Template},
    key_names::{is_key, shortened},
    values::as_text,
};
use crate::{
    apis::servicecatalog::{
        broker::SecretReference,
        secret_transform::{AddKeyTransform, SecretTransform},
    },
    osb::{Credentials, Object},
};

/// How many values all templates of a binding may visit together.
const MAX_VISITS: usize = 100_000;

/// A transform cannot be applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("spec.secretTransforms[{index}]: {problem}")]
pub(crate) struct TransformError {
    index: usize,
    problem: String,
}

/// A Secret whose keys `addKeysFrom` adds, with its data.
pub(crate) type Sources = BTreeMap<(String, String), BTreeMap<String, ByteString>>;

/// The credentials on their way into a Secret.
#[derive(Clone, Default)]
pub(crate) struct SecretContent {
    /// Strings, which are written unchanged, and other values, which are written as JSON.
    values: Object,
    /// Values that are no UTF-8 text. No key is also in `values`.
    binary: BTreeMap<String, ByteString>,
}

impl From<&Credentials> for SecretContent {
    fn from(credentials: &Credentials) -> Self {
        Self { values: credentials.expose().clone(), binary: BTreeMap::new() }
    }
}

/// Refuses transforms that cannot be applied to any credentials, before a broker is asked for credentials.
pub(crate) fn check(transforms: &[SecretTransform]) -> Result<(), TransformError> {
    for (index, transform) in transforms.iter().enumerate() {
        let checked = match transform {
            SecretTransform { rename_key: Some(rename), .. } => check_key("renameKey.to", &rename.to),
            SecretTransform { add_key: Some(add), .. } => {
                check_key("addKey.key", &add.key).and_then(|()| match &add.json_path_expression {
                    Some(text) => Template::parse(text).map(drop).map_err(|error| in_expression(&error)),
                    None => Ok(()),
                })
            }
            SecretTransform { add_keys_from: Some(from), .. } if from.secret_ref.is_none() => {
                Err("addKeysFrom.secretRef is missing; name a Secret".to_owned())
            }
            SecretTransform { add_keys_from: Some(_), .. } | SecretTransform { remove_key: Some(_), .. } => {
                Ok(())
            }
            _ => Err("it is empty; write one of renameKey, addKey, addKeysFrom and removeKey".to_owned()),
        };
        checked.map_err(|problem| TransformError { index, problem })?;
    }
    Ok(())
}

/// The Secrets whose keys the transforms add, each once.
pub(crate) fn sources(transforms: &[SecretTransform]) -> Vec<&SecretReference> {
    let mut references: Vec<&SecretReference> = transforms
        .iter()
        .filter_map(|transform| transform.add_keys_from.as_ref()?.secret_ref.as_ref())
        .collect();
    references.sort_by_key(|reference| (&reference.namespace, &reference.name));
    references.dedup();
    references
}

/// Applies the transforms to the credentials.
pub(crate) fn apply(
    transforms: &[SecretTransform],
    credentials: &Credentials,
    sources: &Sources,
) -> Result<SecretContent, TransformError> {
    let mut content = SecretContent::from(credentials);
    let mut budget = Budget::new(MAX_VISITS);
    for (index, transform) in transforms.iter().enumerate() {
        content
            .apply(transform, sources, &mut budget)
            .map_err(|problem| TransformError { index, problem })?;
    }
    Ok(content)
}

impl SecretContent {
    /// The values as a Secret's data: strings unchanged, everything else as JSON.
    pub(crate) fn into_data(self) -> impl Iterator<Item = (String, ByteString)> {
        let texts = self.values.into_iter().map(|(key, value)| {
            let bytes = match value {
                Value::String(text) => text.into_bytes(),
                other => as_text(&other).into_bytes(),
            };
            (key, ByteString(bytes))
        });
        texts.chain(self.binary)
    }

    /// The same content with these texts for keys that it does not have.
    pub(crate) fn or_facts(mut self, facts: BTreeMap<String, String>) -> Self {
        for (key, text) in facts {
            if !self.binary.contains_key(&key) {
                self.values.entry(key).or_insert(Value::String(text));
            }
        }
        self
    }

    fn apply(
        &mut self,
        transform: &SecretTransform,
        sources: &Sources,
        budget: &mut Budget,
    ) -> Result<(), String> {
        if let Some(rename) = &transform.rename_key {
            if let Some(value) = self.values.remove(&rename.from) {
                self.set(&rename.to, value);
            } else if let Some(bytes) = self.binary.remove(&rename.from) {
                self.set_bytes(&rename.to, bytes);
            }
        }
        if let Some(add) = &transform.add_key {
            self.add(add, budget)?;
        }
        if let Some(reference) = transform.add_keys_from.as_ref().and_then(|from| from.secret_ref.as_ref()) {
            let SecretReference { namespace, name } = reference;
            let data = sources
                .get(&(namespace.clone(), name.clone()))
                .ok_or_else(|| format!("Secret {namespace}/{name} was not read"))?;
            for (key, bytes) in data {
                self.set_bytes(key, bytes.clone());
            }
        }
        if let Some(remove) = &transform.remove_key {
            self.values.remove(&remove.key);
            self.binary.remove(&remove.key);
        }
        Ok(())
    }

    fn add(&mut self, add: &AddKeyTransform, budget: &mut Budget) -> Result<(), String> {
        if let Some(text) = &add.json_path_expression {
            let values = Value::Object(std::mem::take(&mut self.values));
            let rendered = Template::parse(text).and_then(|template| template.render(&values, budget));
            if let Value::Object(values) = values {
                self.values = values;
            }
            let keys = || self.values.keys().map(|key| shortened(key)).collect::<Vec<_>>().join(", ");
            let rendered = rendered.map_err(|error| {
                format!("{}; the credentials have the keys {}", in_expression(&error), keys())
            })?;
            self.set(&add.key, Value::String(rendered));
        } else if let Some(text) = &add.string_value {
            self.set(&add.key, Value::String(text.clone()));
        } else {
            self.set_bytes(&add.key, add.value.clone().unwrap_or_default());
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value) {
        self.binary.remove(key);
        self.values.insert(key.to_owned(), value);
    }

    fn set_bytes(&mut self, key: &str, bytes: ByteString) {
        match String::from_utf8(bytes.0) {
            Ok(text) => self.set(key, Value::String(text)),
            Err(error) => {
                self.values.remove(key);
                self.binary.insert(key.to_owned(), ByteString(error.into_bytes()));
            }
        }
    }
}

fn in_expression(error: &super::json_path::PathError) -> String {
    format!("addKey.jsonPathExpression: {error}")
}

fn check_key(field: &str, key: &str) -> Result<(), String> {
    if is_key(key) {
        return Ok(());
    }
    Err(format!(
        "{field} {:?} cannot be a key of a Secret; use at most 253 letters, digits, -, _ and ., not beginning with ..",
        shortened(key)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn transforms(value: Value) -> Vec<SecretTransform> {
        serde_json::from_value(value).unwrap()
    }

    fn credentials() -> Credentials {
        json!({"host": "db", "port": 5432, "password": "hunter2", "tls": {"ca": "x"}})
            .as_object()
            .unwrap()
            .clone()
            .into()
    }

    fn applied(value: Value) -> Result<BTreeMap<String, ByteString>, TransformError> {
        let other = BTreeMap::from([
            ("region".to_owned(), ByteString(b"eu".to_vec())),
            ("blob".to_owned(), ByteString(vec![0xff, 0])),
            ("host".to_owned(), ByteString(b"other".to_vec())),
        ]);
        let sources = Sources::from([(("ns".to_owned(), "more".to_owned()), other)]);
        apply(&transforms(value), &credentials(), &sources).map(|content| content.into_data().collect())
    }

    fn texts(value: Value) -> BTreeMap<String, String> {
        applied(value)
            .unwrap()
            .into_iter()
            .map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes.0).into_owned()))
            .collect()
    }

    #[test]
    fn transforms_are_applied_in_order() {
        let data = texts(json!([
            {"renameKey": {"from": "host", "to": "hostname"}},
            {"renameKey": {"from": "absent", "to": "x"}},
            {"addKey": {"key": "address", "jsonPathExpression": "{.hostname}:{.port}", "stringValue": "no", "value": "bm8="}},
            {"addKey": {"key": "text", "stringValue": "yes", "value": "bm8="}},
            {"addKey": {"key": "bytes", "value": "YWJj"}},
            {"addKey": {"key": "empty"}},
            {"removeKey": {"key": "password"}},
            {"removeKey": {"key": "absent"}},
            {"renameKey": {"from": "address", "to": "text2"}},
        ]));
        let expected = [
            ("bytes", "abc"),
            ("empty", ""),
            ("hostname", "db"),
            ("port", "5432"),
            ("text", "yes"),
            ("text2", "db:5432"),
            ("tls", "{\"ca\":\"x\"}"),
        ];
        assert_eq!(data, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn keys_of_another_secret_replace_those_of_the_credentials() {
        let from = json!({"addKeysFrom": {"secretRef": {"namespace": "ns", "name": "more"}}});
        let data = applied(json!([from, {"renameKey": {"from": "blob", "to": "port"}}])).unwrap();
        assert_eq!(data["host"].0, b"other");
        assert_eq!(data["region"].0, b"eu");
        assert_eq!(data["port"].0, [0xff, 0], "bytes that are no text stay as they are");
        assert!(!data.contains_key("blob"));
        let data = applied(json!([from, {"addKey": {"key": "blob", "stringValue": "text"}}])).unwrap();
        assert_eq!(data["blob"].0, b"text");
        let one = transforms(json!([from, from, {"removeKey": {"key": "a"}}]));
        assert_eq!(sources(&one).len(), 1);
    }

    #[test]
    fn an_error_names_the_transform_and_no_value() {
        let failed = applied(json!([
            {"removeKey": {"key": "port"}},
            {"addKey": {"key": "a", "jsonPathExpression": "{.password}{.port}"}},
        ]));
        let message = failed.unwrap_err().to_string();
        assert!(
            message.starts_with("spec.secretTransforms[1]: addKey.jsonPathExpression: {.port}"),
            "{message}"
        );
        assert!(message.contains("host, password, tls") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn impossible_transforms_are_refused_before_the_broker_is_asked() {
        for (transform, words) in [
            (json!({"renameKey": {"from": "a", "to": "b c"}}), "renameKey.to \"b c\""),
            (json!({"addKey": {"key": "..", "stringValue": ""}}), "addKey.key \"..\""),
            (json!({"addKey": {"key": "a", "jsonPathExpression": "{.a"}}), "not closed"),
            (json!({"addKeysFrom": {}}), "secretRef is missing"),
            (json!({}), "it is empty"),
        ] {
            let refused = check(&transforms(json!([{"removeKey": {"key": "a"}}, transform]))).unwrap_err();
            let message = refused.to_string();
            assert!(
                message.starts_with("spec.secretTransforms[1]: ") && message.contains(words),
                "{message}"
            );
        }
        check(&transforms(json!([{"renameKey": {"from": "a b", "to": "b"}}]))).unwrap();
    }
}
