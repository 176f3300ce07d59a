//! Upgrades of a release. `helm upgrade --reuse-values` renders the new templates with the values of the former chart
//! (Helm's `reuseValues` replaces the new chart's values by them), so new values are absent. A copy of the chart with
//! other default values simulates such a release.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::rendered::{EXAMPLE, helm_chart, rendered};

/// The rendering for a release with exactly these values.
fn reusing(values: &str) -> Result<String, String> {
    let folder = TempDir::new().unwrap();
    let chart = folder.path().join("bindery");
    let copied = Command::new("cp").arg("-r").arg("charts/bindery").arg(&chart).status().unwrap();
    assert!(copied.success());
    fs::write(chart.join("values.yaml"), values).unwrap();
    let output = helm_chart(&chart, &["--values", EXAMPLE]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every field of a map and of its nested maps, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{key}");
        pointers(inner, &pointer, found);
        found.push(pointer);
    }
}

#[test]
fn a_missing_value_renders_like_its_default() {
    let values: Value = serde_saphyr::from_str(&read("charts/bindery/values.yaml")).unwrap();
    let wanted = rendered(&["--values", EXAMPLE]);
    let mut all = Vec::new();
    pointers(&values, "", &mut all);
    assert!(all.len() > 50, "{all:?}");
    for pointer in all {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut older = values.clone();
        older.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        let found = reusing(&older.to_string()).unwrap_or_else(|error| panic!("without {pointer}: {error}"));
        assert!(found == wanted, "without {pointer} the chart renders something else");
    }
}

#[test]
fn the_values_of_the_former_chart_render_like_the_defaults() {
    let found = reusing(&read("tests/chart/former-values.yaml")).unwrap();
    assert!(found == rendered(&["--values", EXAMPLE]));
}

/// `false` and "" are values that an administrator set, not missing values.
#[test]
fn an_empty_value_stays_empty() {
    let values =
        read("charts/bindery/values.yaml").replace("gateWaitingPods: true", "gateWaitingPods: false");
    let values = values.replace("register: bindery", r#"register: """#);
    let found = reusing(&values).unwrap();
    assert!(found.contains("--gate-waiting-pods=false"));
    assert!(found.contains("--register-broker=\n"), "the broker registers itself nowhere");
}

#[test]
fn the_defaults_in_templates_equal_those_of_the_chart() {
    assert!(
        read("charts/bindery/defaults.yaml") == read("charts/bindery/values.yaml"),
        "run `make generate`"
    );
}

#[test]
fn a_digest_overrides_the_tag() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let found = rendered(&["--values", EXAMPLE, "--set", &format!("image.digest={digest}")]);
    assert!(found.contains(&format!("image: bindery@{digest}\n")));
    assert!(!found.contains("image: bindery:"));
}
