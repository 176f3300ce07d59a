use serde_json::json;

use super::*;
use crate::injection::{InjectSettings, inject};

fn read(value: &Value) -> Value {
    read_text(&value.to_string())
}

fn read_text(text: &str) -> Value {
    match serde_json::from_str(text).unwrap() {
        Object::None => Value::Null,
        Object::Read(value) => value,
        Object::TooMuch => panic!("too much"),
    }
}

fn is_too_much(value: &Value) -> bool {
    let text = value.to_string();
    matches!(serde_json::from_str(&text).unwrap(), Object::TooMuch)
}

/// 8 MiB of empty objects would become more than half a GiB.
#[test]
fn an_object_of_endless_values_is_not_read() {
    let with = |field: &str, count: usize| json!({"spec": {field: vec![json!({"name": ""}); count]}});
    assert!(is_too_much(&with("other", 600_000)));
    assert!(is_too_much(&with("volumes", MOST_VALUES / 2)));
    assert!(is_too_much(&json!({"metadata": vec![Value::Null; MOST_VALUES]})));
    // Skipped fields take no memory.
    assert!(!is_too_much(&with("tolerations", 600_000)));
    assert!(!is_too_much(&with("volumes", MOST_VALUES / 2 - 2)));
}

#[test]
fn what_an_injection_does_not_look_at_is_left_out() {
    let container = json!({
        "name": "app", "image": "app:1", "livenessProbe": {"exec": {"command": ["a"]}}, "future": [1, -2, 1.5, null, true],
        "env": [{"name": "A", "value": "long"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]
    });
    let pod = json!({
        "kind": "Pod", "status": {"phase": "Pending"},
        "metadata": {"name": "web", "managedFields": [{}], "annotations": {"bindery.dev/env": "a\n\"b"}},
        "spec": {"containers": [container], "tolerations": [{}], "volumes": [{"name": "tmp", "emptyDir": {}}]}
    });
    let expected = json!({
        "kind": "Pod",
        "metadata": {"name": "web", "annotations": {"bindery.dev/env": "a\n\"b"}},
        "spec": {
            "containers": [{
                "name": "app", "future": [1, -2, 1.5, null, true],
                "env": ["A", {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]
            }],
            "volumes": [{"name": "tmp"}]
        }
    });
    assert_eq!(read(&pod), expected);
}

/// The variables of a pod that its Namespace may bind are decoded, too.
#[test]
fn variables_are_read_only_if_they_matter() {
    let env = json!([{"name": "A", "value": "1"}]);
    for (annotations, expected) in [
        (json!({"bindery.dev/bind": "db"}), json!([])),
        (json!({"bindery.dev/bind.app": "db"}), json!([])),
        (json!({"bindery.dev/bind": "db", "bindery.dev/env": "A=db/a"}), json!(["A"])),
        (json!({"bindery.dev/as": "files"}), json!(["A"])),
        (Value::Null, json!(["A"])),
    ] {
        let text = |value: &Value| value.to_string();
        let metadata = format!(r#""metadata": {{"annotations": {}}}"#, text(&annotations));
        let spec = format!(r#""spec": {{"containers": [{{"env": {}}}]}}"#, text(&env));
        let usual = read_text(&format!("{{{metadata}, {spec}}}"));
        assert_eq!(usual["spec"]["containers"][0]["env"], expected, "{annotations}");
        let annotations_last = read_text(&format!("{{{spec}, {metadata}}}"));
        assert_eq!(annotations_last["spec"]["containers"][0]["env"], json!(["A"]));
    }
}

/// The injection reports fields that violate the Kubernetes schema; the decoder does not.
#[test]
fn what_has_another_shape_is_read_whole() {
    for odd in [
        json!({"spec": [1, {"status": 1}], "metadata": "text"}),
        json!({"spec": {"containers": {"image": 1}, "volumes": "none"}}),
        json!({"spec": {"containers": [["image"], 5, null]}}),
        json!([{"status": 1}]),
        json!({"spec": {"containers": [{"env": [{}, {"name": 1}, {"name": {"value": 2}}, [{"value": 3}], null, 4]}]}}),
        json!({"spec": {"containers": [{"env": {"name": "A", "value": "B"}}]}}),
        json!("text"),
    ] {
        assert_eq!(read(&odd), odd);
    }
    assert_eq!(read(&Value::Null), Value::Null);
}

#[test]
fn the_template_of_a_workload_is_read_whole() {
    let workload = json!({"kind": "Deployment", "spec": {"template": {"metadata": {"annotations": {"a": "b"}},
        "spec": {"containers": [{"image": "i"}]}}}});
    assert_eq!(read(&workload), workload);
}

/// Holds also if each skipped field has the wrong type, or the pod has unusual additional fields.
#[test]
fn the_injection_is_the_same() {
    let mut pod = json!({
        "metadata": {"annotations": {
            "bindery.dev/bind": "a,b,configmap/c", "bindery.dev/env": "A=a/key,IMAGE=b/key,L=c/k", "bindery.dev/files": "x=a/key"
        }},
        "spec": {
            "os": {"name": "linux"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "initContainers": [{"name": "init", "image": 5, "restartPolicy": "Always", "env": []}],
            "containers": [
                {"name": "app", "env": [{"name": "A", "value": "own"}], "envFrom": [{"secretRef": {"name": "b-env"}}],
                 "volumeMounts": [{"name": "x", "mountPath": "/var/secrets/b"}]},
                {"name": "other", "volumeDevices": [{"name": "y", "devicePath": "/var/secrets/a"}]}
            ],
            "volumes": [{"name": "x", "projected": {"sources": []}}, {"name": "z", "secret": {"secretName": "z"}},
                {"name": "c", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]
        }
    });
    let settings = InjectSettings::default();
    for delivery in ["env", "files", "env,files"] {
        pod["metadata"]["annotations"]["bindery.dev/as"] = json!(delivery);
        let whole = inject(&pod, &settings).unwrap();
        assert!(!whole.is_empty() && !whole.warnings.is_empty());
        assert_eq!(inject(&read(&pod), &settings).unwrap(), whole);
        pod["metadata"]["annotations"].as_object_mut().unwrap().remove("bindery.dev/env");
    }
    pod["spec"]["containers"][0]["env"] = json!("no list");
    assert_eq!(inject(&read(&pod), &settings), inject(&pod, &settings));
}
