//! The policies that the chart can install.

use std::fs;

use serde_json::Value;

use crate::rendered::{EXAMPLE, documents, example, example_with, name, refusal};

fn policies(documents: &[Value]) -> Vec<&Value> {
    documents.iter().filter(|document| document["kind"] == "CredentialPolicy").collect()
}

#[test]
fn presets_are_off_by_default_and_equal_the_examples() {
    assert_eq!(policies(&example()), Vec::<&Value>::new());
    for preset in ["baseline", "strict"] {
        let setting = format!("enforcement.presets.{preset}=true");
        let all = example_with(&["--set", "enforcement.enabled=true", "--set", &setting]);
        let [policy] = policies(&all)[..] else { panic!("not one policy for {preset}") };
        assert_eq!(name(policy), format!("bindery-{preset}"));
        let path = format!("{}/examples/policies/{preset}.yaml", env!("CARGO_MANIFEST_DIR"));
        let written = documents(&fs::read_to_string(path).unwrap());
        assert_eq!(policy["spec"], written[0]["spec"], "{preset}");
    }
    let both = example_with(&[
        "--set",
        "enforcement.enabled=true",
        "--set",
        "enforcement.presets.baseline=true",
        "--set",
        "enforcement.presets.strict=true",
    ]);
    assert_eq!(policies(&both).len(), 2);
}

#[test]
fn presets_without_the_controller_are_refused() {
    let message = refusal(&["--values", EXAMPLE, "--set", "enforcement.presets.strict=true"]);
    assert!(message.contains("set enforcement.enabled to true"), "{message}");
}
