//! Pods like those of popular charts (`tests/corpus`).

use std::{fs, path::Path};

use bindery::injection::workload::workloads;
use serde_json::Value;

use crate::{cluster::Place, equality::engine_of, table::Engine};

fn templates() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in text.split("\n---").filter(|text| text.contains("bindery.dev")) {
            // A document that this simple split cuts in two is left out; the count below notices when all are.
            let Ok(document) = serde_saphyr::from_str_with_options::<Value>(
                document,
                serde_saphyr::options! { legacy_octal_numbers: true },
            ) else {
                continue;
            };
            all.extend(workloads(&document).iter().map(|workload| workload.template.clone()));
        }
    }
    all
}

#[tokio::test]
async fn pods_of_popular_charts_come_out_as_by_bindery() {
    let place = Place::new("corpus").await;
    let (mut native, mut all) = (0, 0);
    for mut pod in templates() {
        let Some(annotations) = pod.pointer("/metadata/annotations").and_then(Value::as_object) else {
            continue;
        };
        if !annotations.iter().any(|(name, value)| name.starts_with("bindery.dev/bind") && value != "") {
            continue;
        }
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "web".into();
        pod["metadata"].as_object_mut().unwrap().remove("namespace");
        // The service account of the chart does not exist here.
        pod["spec"].as_object_mut().unwrap().remove("serviceAccountName");
        pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
        let engine = engine_of(&place, &place.pair(), None, &pod).await;
        all += usize::from(engine.is_some());
        native += usize::from(engine == Some(Engine::ApiServer));
    }
    assert!(native > 3 && all > 8, "{native} of {all}");
}
