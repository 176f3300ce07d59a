//! Manifests like those of popular charts (`tests/corpus`): webhook and command must produce the same pods, and
//! documents that ask for nothing must stay unchanged byte for byte.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use async_trait::async_trait;
use bindery::{
    admission::{
        namespace_defaults::PATH as DEFAULTS_PATH,
        namespaces::{NamespaceReadError, Namespaces},
        pods::PATH,
    },
    cli::inject::Outcome,
    injection::NamespaceDefaults,
};
use serde_json::{Value, json};

use crate::ways::{by_command, by_command_with, by_webhook_at};

/// A file of the corpus.
struct Manifests {
    name: String,
    text: String,
}

fn corpus() -> Vec<Manifests> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<Manifests> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| Manifests {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    assert!(files.len() > 10, "where is the corpus?");
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

impl Manifests {
    fn with(&self, change: impl Fn(&str) -> String) -> Self {
        Self { name: self.name.clone(), text: change(&self.text) }
    }

    /// The documents as text. The parsing is simpler than the command's, and sufficient for this corpus.
    fn documents(&self) -> Vec<&str> {
        let starts_anew = |line: &str| match self.name.rsplit('.').next() {
            // Either one object in the whole file, or one on each line.
            Some("json") => line.starts_with('{'),
            _ => line.trim_end() == "---",
        };
        let mut starts = vec![0];
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if at > 0 && starts_anew(line) {
                starts.push(at);
            }
            at += line.len();
        }
        starts.push(at);
        starts.windows(2).map(|pair| &self.text[pair[0]..pair[1]]).collect()
    }
}

fn parsed(document: &str) -> Value {
    let document = document.trim_start_matches('\u{feff}');
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(document, options)
        .unwrap_or_else(|error| panic!("{error}\n{document}"))
}

/// The document after the webhook reviewed its pods, with these Namespaces in the cluster.
fn by_webhook(document: &Value, namespaces: &Arc<Known>) -> Value {
    let mut result = document.clone();
    each_template(&mut result, None, &mut |namespace, template| {
        let asks = bind_annotations(template).next().is_some();
        // The API server does not call the webhook for unannotated pods in a namespace without the label.
        if !asks && !namespaces.0.contains_key(namespace) {
            return;
        }
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
        for field in ["metadata", "spec"] {
            pod[field] = template[field].clone();
        }
        let path = if asks { PATH } else { DEFAULTS_PATH };
        let pod = by_webhook_at(path, namespace, namespaces.clone(), &pod).unwrap();
        template["spec"] = pod["spec"].clone();
    });
    result
}

/// Calls `each` with every pod template and its namespace. Independent of the command's code, so that the test does not
/// compare the command with itself.
fn each_template(object: &mut Value, listed: Option<&str>, each: &mut dyn FnMut(&str, &mut Value)) {
    let kind = object["kind"].as_str().or(listed).unwrap_or_default().to_owned();
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            each_template(item, kind.strip_suffix("List"), each);
        }
        return;
    }
    let pointer = match kind.as_str() {
        "Pod" => "",
        "PodTemplate" => "/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            "/spec/template"
        }
        _ => return,
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    each(&namespace, object.pointer_mut(pointer).unwrap());
}

fn bind_annotations(template: &Value) -> impl Iterator<Item = &String> {
    let annotations = template["metadata"]["annotations"].as_object();
    annotations.into_iter().flat_map(|all| all.keys()).filter(|name| name.starts_with("bindery.dev/bind"))
}

/// The Namespaces of a file that bind their pods.
#[derive(Default)]
struct Known(BTreeMap<String, NamespaceDefaults>);

impl Known {
    fn among(documents: &[Value]) -> Arc<Self> {
        let namespaces = documents.iter().filter(|document| document["kind"] == "Namespace");
        let read = |namespace: &Value| {
            let name = namespace["metadata"]["name"].as_str().unwrap();
            let texts = |field: &str| serde_json::from_value(namespace["metadata"][field].clone()).unwrap();
            let defaults = NamespaceDefaults::read(name, &texts("labels"), &texts("annotations"));
            Some((name.to_owned(), defaults?))
        };
        Arc::new(Self(namespaces.filter_map(read).collect()))
    }
}

#[async_trait]
impl Namespaces for Known {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        Ok(self.0.get(namespace).cloned())
    }
}

/// Compares the command's output with the webhook's result, document by document. Returns how many were patched.
fn compare(manifests: &Manifests) -> usize {
    let documents = manifests.documents();
    let values: Vec<Value> = documents.iter().map(|document| parsed(document)).collect();
    let namespaces = Known::among(&values);
    let printed = manifests.with(|text| by_command(text).unwrap());
    let printed = printed.documents();
    assert_eq!(printed.len(), documents.len(), "{}", manifests.name);
    let mut patched = 0;
    for ((document, before), printed) in documents.iter().zip(&values).zip(printed) {
        let expected = by_webhook(before, &namespaces);
        if expected == *before {
            assert_eq!(printed, *document, "{}", manifests.name);
        } else {
            assert_eq!(parsed(printed), expected, "{}", manifests.name);
            patched += 1;
        }
    }
    patched
}

#[test]
fn webhook_and_command_inject_the_same_in_every_chart_and_change_nothing_else() {
    for manifests in corpus() {
        let patched = compare(&manifests);
        assert!(patched > 0, "{} asks for nothing", manifests.name);
        for variant in [
            manifests.with(|text| text.replace('\n', "\r\n")),
            manifests.with(|text| format!("\u{feff}{text}")),
            manifests.with(|text| text.trim_end().to_owned()),
        ] {
            assert_eq!(compare(&variant), patched, "{}", manifests.name);
        }
    }
}

#[test]
fn webhook_and_command_inject_the_same_if_every_pod_is_annotated() {
    for manifests in corpus() {
        let mut documents: Vec<Value> = manifests.documents().into_iter().map(parsed).collect();
        documents.retain(|document| !document.is_null());
        for document in &mut documents {
            each_template(document, None, &mut |_, template| {
                if bind_annotations(template).next().is_none() {
                    let annotations = &mut template["metadata"]["annotations"];
                    annotations["bindery.dev/bind"] = json!("everybody, secret/all, configmap/config");
                    annotations["bindery.dev/env"] =
                        json!("EVERYBODY=everybody/key\nALL_*=secret/all/*\nLEVEL=config/level");
                }
            });
        }
        let written: Vec<String> =
            documents.iter().map(|document| serde_saphyr::to_string(document).unwrap()).collect();
        let asking =
            Manifests { name: "written.yaml".to_owned(), text: format!("---\n{}", written.join("---\n")) };
        assert!(compare(&asking) > 0, "{}", manifests.name);
    }
}

#[test]
fn the_command_is_idempotent_on_its_own_output() {
    for manifests in corpus() {
        let once = by_command(&manifests.text).unwrap();
        assert_eq!(by_command(&once).unwrap(), once, "{}", manifests.name);
        let (difference, outcome) = by_command_with(&["--diff"], &manifests.text).unwrap();
        assert_eq!((difference.is_empty(), outcome), (false, Outcome::Differs), "{}", manifests.name);
        let nothing = (String::new(), Outcome::Fine);
        assert_eq!(by_command_with(&["--diff"], &once).unwrap(), nothing, "{}", manifests.name);
    }
}
