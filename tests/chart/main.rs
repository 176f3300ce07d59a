//! Checks of the manifests that Helm renders and of the plain manifests. No cluster is needed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod alibaba;
mod alibabacloud_servicebroker;
mod aws;
mod aws_operator;
mod aws_servicebroker;
mod broker;
mod kustomize;
mod native;
mod network;
mod policies;
mod presets;
mod rendered;
mod rights;
mod upgrade;
mod webhook;

use std::process::Command;

use serde_json::{Value, json};

use crate::rendered::{
    EXAMPLE, documents, example, example_with, find, folder, kind, name, refusal, rendered,
};

#[test]
fn rendering_is_reproducible() {
    assert_eq!(rendered(&["--values", EXAMPLE]), rendered(&["--values", EXAMPLE]));
}

#[test]
fn no_secret_and_no_ca_bundle_is_rendered() {
    for document in example() {
        assert_ne!(kind(&document), "Secret", "{}", name(&document));
        for webhook in document["webhooks"].as_array().into_iter().flatten() {
            assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null);
        }
    }
}

#[test]
fn pods_are_locked_down() {
    let documents = example();
    let pods: Vec<_> = documents
        .iter()
        .map(|document| &document["spec"]["template"]["spec"])
        .filter(|pod| pod.is_object())
        .collect();
    assert_eq!(pods.len(), 5, "three roles and two hooks");
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let wanted = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], wanted);
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

/// By default traces go nowhere. A header with a password is refused, because values are no place for one.
#[test]
fn traces_go_where_the_values_say() {
    let endpoint = |documents: &[Value], role: &str| {
        let containers =
            &find(documents, "Deployment", role).unwrap()["spec"]["template"]["spec"]["containers"];
        let variables = containers[0]["env"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT");
        found.map(|variable| variable["value"].clone())
    };
    assert_eq!(endpoint(&example(), "bindery-admission"), None);
    let traced = example_with(&["--set", "telemetry.otlpEndpoint=http://collector:4318"]);
    for role in ["bindery-admission", "bindery-catalog"] {
        assert_eq!(endpoint(&traced, role), Some(json!("http://collector:4318")));
    }
    for wrong in ["collector:4318", "http://user:password@collector:4318"] {
        refusal(&["--set", &format!("telemetry.otlpEndpoint={wrong}")]);
    }
}

#[test]
fn the_plain_manifests_equal_the_chart() {
    let chart = example();
    for plain in folder("webhook-config") {
        if kind(&plain) == "Namespace" {
            continue;
        }
        let twin = find(&chart, kind(&plain), name(&plain));
        let twin = twin.unwrap_or_else(|| panic!("the chart has no {} {}", kind(&plain), name(&plain)));
        for field in ["spec", "webhooks", "rules", "roleRef", "subjects"] {
            assert_eq!(plain[field], twin[field], "{field} of {} {}", kind(&plain), name(&plain));
        }
    }
}

#[test]
fn without_the_service_catalog_there_is_only_the_webhook() {
    let documents = documents(&rendered(&["--set", "apis.serviceCatalog=false"]));
    assert!(
        documents
            .iter()
            .all(|document| !name(document).contains("catalog") && !name(document).contains("crds"))
    );
    assert!(documents.iter().any(|document| name(document) == "bindery-admission"));
}

#[test]
fn invalid_values_are_refused() {
    let misspelt = refusal(&["--set", "admission.replica=3"]);
    assert!(misspelt.contains("'replica' not allowed"), "{misspelt}");
    let renamed = refusal(&["--set", "servers.main.host=db.example"]);
    assert!(renamed.contains("servers is called `backends` now"), "{renamed}");
    let renamed = refusal(&["--values", EXAMPLE, "--set", "services[0].plans[0].server=cockroachdb"]);
    assert!(renamed.contains("'server' not allowed"), "{renamed}");
    let elsewhere = refusal(&["--values", EXAMPLE, "--set", "services[0].plans[0].backend=nowhere"]);
    assert!(
        elsewhere.contains(r#"plan "default" of service "cockroachdb" names the backend "nowhere""#),
        "{elsewhere}"
    );
}

#[test]
fn the_charts_crds_equal_those_of_the_binary() {
    let printed = Command::new(env!("CARGO_BIN_EXE_bindery")).arg("crds").output().unwrap();
    let printed = documents(&String::from_utf8(printed.stdout).unwrap());
    assert!(!printed.is_empty(), "`bindery crds` printed nothing");
    assert_eq!(folder("charts/bindery/crds"), printed, "run `make generate`");
}
