//! The Kustomize example: names in annotations follow the names of the objects.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::rendered::{find, program};

/// The output of Kustomize, as built into `kubectl`, for a folder of the example.
fn kustomized(folder: &str) -> Vec<Value> {
    let output = Command::new(program("kubectl"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kustomize"))
        .args(["kustomize", folder])
        .output()
        .expect("kubectl runs: build it with tests/cluster/build, or install it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[test]
fn a_prefix_renames_bindings_where_pods_and_bindings_name_them() {
    let documents = kustomized("dev");
    let bind = |kind: &str, name: &str, template: &str| {
        find(&documents, kind, name).unwrap().pointer(template).unwrap()["metadata"]["annotations"]["bindery.dev/bind"]
            .clone()
    };
    assert_eq!(bind("Deployment", "dev-web", "/spec/template"), "dev-mydb01-binding");
    assert_eq!(bind("CronJob", "dev-report", "/spec/jobTemplate/spec/template"), "dev-mydb01-binding");
    assert_eq!(bind("Deployment", "dev-mailer", "/spec/template"), "dev-mydb01-binding,secret/dev-smtp");
    let binding = find(&documents, "ServiceBinding", "dev-mydb01-binding").unwrap();
    assert_eq!(binding["spec"]["instanceRef"]["name"], "dev-mydb01");
    assert!(find(&documents, "ServiceInstance", "dev-mydb01").is_some());
    assert!(find(&documents, "Secret", "dev-smtp").is_some());
}

#[test]
fn without_a_prefix_nothing_is_renamed() {
    let documents = kustomized("base");
    let web = find(&documents, "Deployment", "web").unwrap();
    assert_eq!(web["spec"]["template"]["metadata"]["annotations"]["bindery.dev/bind"], "mydb01-binding");
}
