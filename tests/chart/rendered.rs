//! Parses the manifests that Helm renders and the plain manifests. Helm comes from `tests/cluster/build`, or from the
//! PATH.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

pub(crate) const EXAMPLE: &str = "examples/cockroachdb/values.yaml";

/// A program of the test cluster, or else from the PATH.
pub(crate) fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let built = std::env::var_os("TESTCLUSTER_BIN")
        .map_or_else(|| cache.join("testcluster"), PathBuf::from)
        .join(name);
    if built.exists() { built } else { PathBuf::from(name) }
}

/// Renders the chart of this repository.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    helm_chart(Path::new("charts/bindery"), arguments)
}

/// Renders a chart.
pub(crate) fn helm_chart(chart: &Path, arguments: &[&str]) -> Output {
    helm_release("bindery", "bindery", chart, arguments)
}

/// Renders a chart for a release in a namespace.
pub(crate) fn helm_release(release: &str, namespace: &str, chart: &Path, arguments: &[&str]) -> Output {
    Command::new(program("helm"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["template", release])
        .arg(chart)
        .args(["--namespace", namespace, "--kube-version", "1.36.0"])
        .args(arguments)
        .output()
        .expect("helm runs: build it with tests/cluster/build, or install it")
}

pub(crate) fn rendered(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn refusal(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(!output.status.success(), "rendered with {arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document.trim_start_matches("---\n")).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

pub(crate) fn example() -> Vec<Value> {
    documents(&rendered(&["--values", EXAMPLE]))
}

pub(crate) fn example_with(arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(&[&["--values", EXAMPLE], arguments].concat()))
}

pub(crate) fn documents_of(arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(arguments))
}

pub(crate) fn folder(path: &str) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| documents(&fs::read_to_string(file).unwrap())).collect()
}

pub(crate) fn kind(document: &Value) -> &str {
    document["kind"].as_str().unwrap()
}

pub(crate) fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap()
}

pub(crate) fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn rules(documents: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    documents
        .iter()
        .filter(|document| matches!(kind(document), "Role" | "ClusterRole"))
        .flat_map(|role| role["rules"].as_array().unwrap().iter().map(move |rule| (name(role), rule)))
}

pub(crate) fn find<'a>(documents: &'a [Value], of: &str, named: &str) -> Option<&'a Value> {
    documents.iter().find(|document| kind(document) == of && name(document) == named)
}

/// The arguments of a role's server.
pub(crate) fn arguments<'a>(documents: &'a [Value], deployment: &str) -> BTreeSet<&'a str> {
    let workload = find(documents, "Deployment", deployment).unwrap();
    strings(&workload["spec"]["template"]["spec"]["containers"][0]["args"])
}
