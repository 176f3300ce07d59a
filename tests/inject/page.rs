//! Checks the statements of `docs/bind-a-pod.md` about annotations.

use std::{fs, path::Path};

use bindery::{
    contract::pod,
    injection::{InjectSettings, inject},
};
use serde_json::{Map, Value, json};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bind-a-pod.md")).unwrap()
}

fn annotated(annotations: &Map<String, Value>, containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}})
}

/// The examples of a pod's annotations.
fn examples() -> Vec<Map<String, Value>> {
    let page = page();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let is_of_pod = |block: &&str| block.starts_with("bindery.dev/");
    blocks.filter(is_of_pod).map(|block| serde_saphyr::from_str(block).unwrap()).collect()
}

#[test]
fn every_example_injects_a_binding_without_a_warning() {
    for example in examples() {
        let mut pod = annotated(&example, &["app", "web", "migrate"]);
        if example.get(pod::MOUNT_ROOT).is_some_and(|root| root.as_str().unwrap().contains('\\')) {
            pod["spec"]["os"] = json!({"name": "windows"});
        }
        let injection = inject(&pod, &InjectSettings::default()).unwrap();
        assert!(!injection.is_empty() && injection.warnings.is_empty(), "{example:?}: {injection:?}");
    }
}

#[test]
fn there_is_an_example_of_every_annotation() {
    let examples = examples();
    for name in [
        pod::BIND,
        pod::BIND_CONTAINER,
        pod::AS,
        pod::ENV,
        pod::FILES,
        pod::CONTAINERS,
        pod::MOUNT_ROOT,
        pod::OPTIONAL,
    ] {
        let is_it = |key: &String| match name {
            pod::BIND_CONTAINER => key.starts_with(name),
            _ => key == name,
        };
        assert!(examples.iter().any(|example| example.keys().any(is_it)), "no example of {name}");
        assert!(page().contains(&format!("\n| `{name}")), "the table lacks {name}");
    }
}

/// The table of refusals: `| `as: volume` | ``text`` |`, in which `(…)` stands for omitted text.
#[test]
fn every_refusal_has_the_documented_text() {
    let page = page();
    let table = page
        .split("\n## Refusals\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .find(|part| part.starts_with('|'))
        .unwrap();
    let mut count = 0;
    for row in table.lines().skip(2) {
        let (asked, said) = row.trim_matches('|').split_once(" | ").unwrap();
        let mut annotations = Map::new();
        annotations.insert(pod::BIND.to_owned(), json!("db"));
        for asked in asked.split('`').skip(1).step_by(2) {
            let (name, value) = asked.split_once(": ").unwrap();
            let value = value.replace("x,…", &"x,".repeat(501));
            annotations.insert(format!("bindery.dev/{name}"), json!(value.trim_end_matches(',')));
        }
        if asked.contains("x,…") {
            let names: Vec<String> = (0..501).map(|number| format!("x{number}")).collect();
            annotations.insert(pod::CONTAINERS.to_owned(), json!(names.join(",")));
        }
        let containers: &[&str] = if said.contains("migrate, app") { &["migrate", "app"] } else { &["x"] };
        let error =
            inject(&annotated(&annotations, containers), &InjectSettings::default()).unwrap_err().to_string();
        let text = said.trim().trim_start_matches("``").split("``").next().unwrap().trim();
        let mut rest = error.as_str();
        for part in text.split("(…)") {
            let at = rest.find(part).unwrap_or_else(|| panic!("{asked} is refused otherwise: {error}"));
            rest = &rest[at + part.len()..];
        }
        count += 1;
    }
    assert!(count > 10, "where is the table?");
}
