//! The command and the webhook, with the API server between: what `bindery inject` makes of a pod is taken as it is, and is what
//! the webhook would have made of it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{fs, path::Path};

use bindery::{
    admission::inject::workload::workloads,
    cli::inject::{InjectArgs, run},
};
use clap::Parser;
use serde_json::{Value, json};

use super::webhook::{Webhook, namespace, pod, send};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// Every pod of the corpus; those that ask for nothing are made to.
fn pods() -> Vec<Value> {
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let documents = match serde_json::Deserializer::from_str(&text).into_iter().collect() {
            Ok(documents) => documents,
            Err(_) => serde_saphyr::from_multiple_with_options::<Value>(&text, options).unwrap(),
        };
        found.extend(documents.iter().flat_map(|document| workloads(document)).map(|it| as_pod(it.template)));
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// The pod that a controller would make of the template, as far as it can be made here.
fn as_pod(template: &Value) -> Value {
    let mut made = pod(template["metadata"]["annotations"].clone(), template["spec"].clone());
    let spec = made["spec"].as_object_mut().unwrap();
    for field in ["serviceAccountName", "priorityClassName", "runtimeClassName"] {
        spec.remove(field);
    }
    spec.insert("automountServiceAccountToken".to_owned(), json!(false));
    let list = |field: &str| made["spec"][field].as_array().cloned().unwrap_or_default();
    let mut volumes = list("volumes");
    // Those that a StatefulSet makes of its claims.
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

fn by_command(pod: &Value) -> Value {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let args = Cli::parse_from(["inject", "-f", "-"]).args;
    run(args, pod.to_string().as_bytes(), &mut stdout, &mut stderr).unwrap();
    serde_json::from_slice(&stdout).unwrap()
}

#[tokio::test]
async fn every_pod_of_the_corpus_is_stored_the_same_whether_the_webhook_or_the_command_has_bound_it() {
    let webhook = Webhook::start().await;
    let without = namespace(&webhook.client, json!({})).await;
    for pod in pods() {
        let expected = webhook.tried(&pod).await.unwrap();
        let path = format!("/api/v1/namespaces/{without}/pods?dryRun=All");
        let stored = send(&webhook.client, "POST", &path, &by_command(&pod)).await.unwrap();
        assert_eq!(stored["spec"], expected["spec"]);
        assert_eq!(stored["metadata"]["annotations"], expected["metadata"]["annotations"]);
    }
    webhook.finish().await;
}
