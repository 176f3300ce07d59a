//! `bindery inject` and the webhook produce the same pod: the API server accepts a pod that the command patched, and
//! the webhook would have patched it in the same way.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use bindery::{
    cli::inject::{InjectArgs, run},
    injection::workload::workloads,
};
use clap::Parser;
use serde_json::{Value, json};

use super::webhook::{Webhook, namespace, pod, send};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// The files of the corpus.
fn files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

/// Every pod of the corpus, annotated if it is not yet.
fn pods() -> Vec<Value> {
    let mut found = Vec::new();
    for text in files() {
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let documents = match serde_json::Deserializer::from_str(&text).into_iter().collect() {
            Ok(documents) => documents,
            Err(_) => serde_saphyr::from_multiple_with_options::<Value>(&text, options).unwrap(),
        };
        found.extend(documents.iter().flat_map(workloads).map(|it| as_pod(it.template)));
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// The pod that a controller would create from the template, as far as possible without the controller.
fn as_pod(template: &Value) -> Value {
    let mut made = pod(template["metadata"]["annotations"].clone(), template["spec"].clone());
    let spec = made["spec"].as_object_mut().unwrap();
    for field in ["serviceAccountName", "priorityClassName", "runtimeClassName"] {
        spec.remove(field);
    }
    spec.insert("automountServiceAccountToken".to_owned(), json!(false));
    let list = |field: &str| made["spec"][field].as_array().cloned().unwrap_or_default();
    let mut volumes = list("volumes");
    // The volumes that a StatefulSet creates from its claims.
    for mount in list("initContainers")
        .iter()
        .chain(&list("containers"))
        .flat_map(|container| container["volumeMounts"].as_array().cloned().unwrap_or_default())
    {
        if !volumes.iter().any(|volume| volume["name"] == mount["name"]) {
            volumes.push(json!({"name": mount["name"], "emptyDir": {}}));
        }
    }
    made["spec"]["volumes"] = json!(volumes);
    let annotations = &mut made["metadata"]["annotations"];
    let asks = |name: &String| name.starts_with("bindery.dev/bind");
    if !annotations.as_object().is_some_and(|all| all.keys().any(asks)) {
        annotations["bindery.dev/bind"] = json!("db, secret/s");
        annotations["bindery.dev/env"] = json!("HOST=db/host, ALL_*=secret/s/*");
    }
    made
}

fn by_command(manifests: &str) -> String {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let args = Cli::parse_from(["inject", "-f", "-"]).args;
    run(args, manifests.as_bytes(), &mut stdout, &mut stderr).unwrap();
    String::from_utf8(stdout).unwrap()
}

#[tokio::test]
async fn webhook_and_command_produce_the_same_stored_pod_for_the_whole_corpus() {
    let webhook = Webhook::start().await;
    let without = namespace(&webhook.client, json!({})).await;
    for pod in pods() {
        let expected = webhook.tried(&pod).await.unwrap();
        let path = format!("/api/v1/namespaces/{without}/pods?dryRun=All");
        let stored = serde_json::from_str(&by_command(&pod.to_string())).unwrap();
        let stored = send(&webhook.client, "POST", &path, &stored).await.unwrap();
        assert_eq!(stored["spec"], expected["spec"]);
        assert_eq!(stored["metadata"]["annotations"], expected["metadata"]["annotations"]);
    }
    webhook.finish().await;
}

/// The objects that `kubectl` finds in manifests, of kinds that the cluster knows.
fn by_kubectl(manifests: &str) -> Vec<Value> {
    let mut kubectl = Command::new("kubectl")
        .args(["create", "--dry-run=client", "--validate=false", "--output=json", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = kubectl.stdin.take().unwrap();
    let manifests = manifests.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(manifests.as_bytes()).unwrap());
    let output = kubectl.wait_with_output().unwrap();
    writer.join().unwrap();
    let mut objects: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    for object in &mut objects {
        // `kubectl` rewrites this annotation where it exists.
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    objects
}

fn rows(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// bindery parses YAML with another library than `kubectl`: injecting a file must equal injecting the objects that
/// `kubectl` finds in it.
#[test]
fn kubectl_reads_the_injected_objects_from_the_output_of_the_command() {
    let texts = [
        "y", "no", "1_000", "0644", "12:30:45", "1e3", "~", "0x1F", "=", "<<", "#", "a: b", " x", "- a",
        "\u{85}",
    ];
    let mut odd = files();
    let env: Vec<Value> = texts.iter().map(|text| json!({"name": "X", "value": text})).collect();
    let labels: Value = texts.iter().map(|text| ((*text).to_owned(), json!("x"))).collect();
    let mut pod =
        pod(json!({"bindery.dev/bind": "db"}), json!({"containers": [{"name": "app", "env": env}]}));
    (pod["metadata"]["name"], pod["metadata"]["labels"]) = (json!("odd"), labels);
    odd.push(serde_saphyr::to_string(&pod).unwrap());
    for text in odd {
        let before = by_kubectl(&text);
        let after = by_kubectl(&by_command(&text));
        assert!(!before.is_empty(), "kubectl reads nothing in\n{text}");
        let expected: Vec<Value> = serde_json::Deserializer::from_str(&by_command(&rows(&before)))
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(after, expected);
    }
}
