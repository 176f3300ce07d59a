//! Checks every YAML snippet in the pages. The first line of a configuration snippet names its file, and the parser,
//! the chart's schema or both must accept it. Manifests of bindery's kinds must match their CRDs. All others must be
//! YAML.

use std::collections::BTreeMap;

use bindery::broker::{
    check_services,
    config::{LoadedConfig, PartialSettings},
};
use serde_json::{Value, json};

use crate::pages::{self, Snippet};

const IN_THE_FILE: &str = "# bindery.yaml\n";
const IN_VALUES: &str = "# values.yaml\n";
/// A list of plans, which is the same in both files.
const PLANS: &str = "# bindery.yaml and values.yaml, under a service\n";

/// Top-level fields that only a configuration file has.
const OF_CONFIGURATION: [&str; 11] = [
    "admission",
    "auth",
    "backends",
    "broker",
    "catalog",
    "plans",
    "services",
    "store",
    "storeKeyFile",
    "storePasswordFile",
    "tls",
];

impl Snippet {
    fn at(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    fn documents(&self) -> Vec<Value> {
        let options = serde_saphyr::from_multiple::<Value>(&self.code);
        options.unwrap_or_else(|error| panic!("{}: {error}", self.at()))
    }
}

/// A complete configuration file with parts replaced by this one.
fn completed(part: &Value) -> String {
    let mut whole = json!({
        "backends": {"main": {"type": "postgresql", "host": "h", "port": 5432, "user": "u", "sslmode": "require"}},
        "services": [{"id": "s", "name": "s", "type": "postgresql", "description": "d",
            "plans": [{"name": "p", "description": "d", "backend": "main"}]}],
        "auth": {"username": "u", "passwordFile": "f"},
        "store": "sqlite:x",
        "storeKeyFile": "k",
    });
    for (name, value) in part.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole.to_string()
}

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&pages::read("charts/bindery/values.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn snippets_of_the_configuration_are_accepted() {
    let schema = schema();
    let mut counts = BTreeMap::new();
    let mut parse = |snippet: &Snippet, part: &Value| {
        let checked = LoadedConfig::from_yaml(&completed(part)).and_then(|loaded| {
            check_services(&loaded.services)?;
            loaded.complete(PartialSettings::default())
        });
        if let Err(error) = checked {
            panic!("{}: {error}", snippet.at());
        }
        *counts.entry("file").or_insert(0) += 1;
    };
    let fits = |snippet: &Snippet, values: &Value| {
        let errors: Vec<_> =
            schema.iter_errors(values).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: the chart's schema refuses: {errors:#?}", snippet.at());
    };
    for snippet in pages::yaml() {
        let documents = snippet.documents();
        let is_configuration = |document: &&Value| {
            let fields = document.as_object().into_iter().flatten();
            document["apiVersion"].is_null()
                && fields.clone().any(|(name, _)| OF_CONFIGURATION.contains(&name.as_str()))
        };
        if snippet.code.starts_with(PLANS) {
            let service = json!({"id": "s", "name": "s", "type": "postgresql", "description": "d",
                "plans": documents[0]["plans"]});
            parse(&snippet, &json!({"services": [service]}));
            fits(&snippet, &json!({"services": [service]}));
        } else if snippet.code.starts_with(IN_THE_FILE) {
            parse(&snippet, &documents[0]);
        } else if snippet.code.starts_with(IN_VALUES) {
            fits(&snippet, &documents[0]);
        } else if documents.iter().any(|document| is_configuration(&document)) {
            panic!(
                "{}: say in the first line which file it belongs into: {IN_THE_FILE:?}, {IN_VALUES:?}",
                snippet.at()
            );
        }
    }
    assert!(counts["file"] > 5, "{counts:?}");
}

/// `kubectl apply` would refuse unknown fields, or the API server would drop them.
#[test]
fn manifests_of_our_kinds_match_their_crds() {
    let crds = serde_saphyr::from_multiple::<Value>(&pages::read("charts/bindery/crds/crds.yaml")).unwrap();
    let mut validators = BTreeMap::new();
    for crd in &crds {
        let spec = &crd["spec"];
        for version in spec["versions"].as_array().unwrap() {
            let mut schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
            close(&mut schema);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let api = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
            validators
                .insert((api, text(&spec["names"]["kind"])), jsonschema::validator_for(&schema).unwrap());
        }
    }
    let mut count = 0;
    for snippet in pages::yaml() {
        for document in snippet.documents() {
            let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
            let Some(validator) = validators.get(&(text("apiVersion"), text("kind"))) else {
                let group = text("apiVersion");
                let is_ours =
                    group.starts_with("bindery.dev/") || group.starts_with("servicecatalog.k8s.io/");
                assert!(!is_ours, "{}: no CRD has {group} {}", snippet.at(), text("kind"));
                continue;
            };
            let errors: Vec<_> = validator
                .iter_errors(document.get("spec").unwrap_or(&json!({})))
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", snippet.at());
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}

/// A structural schema drops fields that it does not name; here they are refused.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let keeps = object.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if object.contains_key("properties") && !object.contains_key("additionalProperties") && !keeps {
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    if object.get("nullable") == Some(&json!(true))
        && let Some(kind) = object.remove("type")
    {
        object.insert("type".to_owned(), json!([kind, "null"]));
    }
    if let Some(Value::Object(fields)) = object.get_mut("properties") {
        fields.values_mut().for_each(close);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(part) = object.get_mut(name) {
            close(part);
        }
    }
}

/// Annotations in snippets must have the right name.
#[test]
fn snippets_use_only_known_annotations() {
    let known = pages::first_cells("docs/reference.md", Some("Annotations and labels"), "name");
    let known: Vec<_> = known.iter().flat_map(|cell| pages::words(cell)).collect();
    for snippet in pages::yaml() {
        for word in
            snippet.code.split(|letter: char| letter.is_whitespace() || ",{}[]()\"'`".contains(letter))
        {
            let Some(name) = word.strip_suffix(':').filter(|name| name.starts_with("bindery.dev/")) else {
                continue;
            };
            let is_known = known.contains(&name) || name.starts_with("bindery.dev/bind.");
            assert!(is_known, "{}: {name} is no annotation or label of bindery", snippet.at());
        }
    }
}
