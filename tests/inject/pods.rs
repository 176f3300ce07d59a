//! Generates pods to inject: well-formed ones with bindings and lists of their own, and arbitrary JSON.

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{self, subsequence},
};
use serde_json::{Map, Value, json};

/// The objects to which these pods may be bound; the last two are a plain Secret and a ConfigMap.
const BINDINGS: [&str; 5] = ["alpha", "beta.db", "gamma", "secret/delta", "configmap/epsilon"];

/// The objects to which single containers may be bound.
const OWN_BINDINGS: [&str; 3] = ["own.db", "alpha", "beta.db"];

/// The names of containers; the last one is excluded unless an annotation names it.
const CONTAINERS: [&str; 5] = ["app", "worker", "migrate", "init-db", "istio-proxy"];

/// A pod with annotations, containers, and lists in them as users write them.
pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let containers = subsequence(&CONTAINERS[..], 1..=CONTAINERS.len()).prop_shuffle();
    (containers, subsequence(&BINDINGS[..], 1..=BINDINGS.len()).prop_shuffle()).prop_flat_map(
        |(names, bindings)| {
            let split = 0..names.len();
            let containers: Vec<_> = names.iter().map(|name| container(name)).collect();
            (annotations(names, bindings), containers, split, volumes(), any::<bool>()).prop_map(
                |(mut annotations, containers, split, volumes, is_windows)| {
                    let (init, main) = containers.split_at(split);
                    let mut spec = json!({"containers": main, "futureField": {"x": [1, null]}});
                    if is_windows {
                        spec["os"] = json!({"name": "windows"});
                        if let Some(root) = annotations.get_mut("bindery.dev/mount-root") {
                            *root = json!(r"C:\creds");
                        }
                    }
                    if !init.is_empty() {
                        spec["initContainers"] = json!(init);
                    }
                    if let Some(volumes) = volumes {
                        spec["volumes"] = volumes;
                    }
                    json!({
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "metadata": {"name": "web", "annotations": annotations, "labels": {"a/b~c": "d"}},
                        "spec": spec
                    })
                },
            )
        },
    )
}

fn annotations(
    names: Vec<&'static str>,
    bindings: Vec<&'static str>,
) -> impl Strategy<Value = Map<String, Value>> {
    let delivery = prop_oneof![Just("env,files"), Just("files"), Just("env")];
    let variables: Vec<_> =
        bindings.iter().enumerate().map(|(n, name)| format!("VAR{n}={name}/key")).collect();
    let own = (sample::select(names.clone()), subsequence(&OWN_BINDINGS[..], 1..=2).prop_shuffle());
    let files = subsequence(bindings.clone(), 0..=bindings.len());
    let count = names.len();
    let chosen = option::of(subsequence(names, 1..=count));
    let optional = prop_oneof![
        subsequence(bindings.clone(), 1..=bindings.len()).prop_map(|names| names.join(",")),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ];
    let flags = any::<[bool; 3]>();
    (option::of(delivery), chosen, vec(own, 0..=2), files, option::of(optional), flags).prop_map(
        move |(delivery, containers, own, files, optional, [has_variables, has_all_keys, has_root])| {
            let mut annotations = Map::new();
            let mut annotate = |name: &str, value: String| annotations.insert(name.to_owned(), json!(value));
            annotate("example.com/own", "kept".to_owned());
            annotate("bindery.dev/bind", bindings.join(", "));
            for (container, own) in own {
                annotate(&format!("bindery.dev/bind.{container}"), own.join(","));
            }
            // A plain Secret or a ConfigMap with `env` alone requires named variables.
            if has_variables || delivery == Some("env") {
                let mut entries = variables.clone();
                if has_all_keys {
                    entries.extend(bindings.iter().map(|name| format!("ALL_*={name}/*")));
                }
                annotate("bindery.dev/env", entries.join(",\n"));
            }
            if !files.is_empty() {
                let entries =
                    files.iter().map(|name| format!("client.key={name}/tls.key:0400,ca/root={name}/ca"));
                annotate("bindery.dev/files", entries.collect::<Vec<_>>().join("\n"));
            }
            if let Some(delivery) = delivery {
                annotate("bindery.dev/as", delivery.to_owned());
            }
            if let Some(containers) = containers {
                annotate("bindery.dev/containers", containers.join(","));
            }
            if let Some(optional) = optional {
                annotate("bindery.dev/optional", optional);
            }
            if has_root {
                annotate("bindery.dev/mount-root", "/etc/creds".to_owned());
            }
            annotations
        },
    )
}

/// A container; some of its entries conflict with what would be injected.
fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let env = prop_oneof![
        Just(json!({"name": "OWN", "value": "$(VAR0)"})),
        Just(json!({"name": "VAR0", "value": "the user's"})),
        Just(json!({"name": "VAR1", "valueFrom": {"secretKeyRef": {"name": "other", "key": "key"}}})),
    ];
    let env_from = prop_oneof![
        Just(json!({"configMapRef": {"name": "own"}})),
        Just(json!({"secretRef": {"name": "own"}})),
        Just(json!({"prefix": "X_", "secretRef": {"name": "alpha-env"}})),
    ];
    let mounts = prop_oneof![
        Just(json!({"name": "own", "mountPath": "/data"})),
        Just(json!({"name": "own", "mountPath": "/var/secrets/alpha"})),
        Just(json!({"name": "own", "mountPath": "/var/secrets/epsilon"})),
        Just(json!({"name": "own", "mountPath": "/etc/creds/gamma/"})),
        Just(json!({"name": "own", "mountPath": "c:/CREDS/alpha/"})),
    ];
    (list(env), list(env_from), list(mounts)).prop_map(move |lists| {
        let mut container = json!({"name": name, "image": "my-app", "futureField": true});
        for (field, list) in [("env", lists.0), ("envFrom", lists.1), ("volumeMounts", lists.2)] {
            if let Some(list) = list {
                container[field] = list;
            }
        }
        container
    })
}

fn volumes() -> impl Strategy<Value = Option<Value>> {
    list(prop_oneof![
        Just(json!({"name": "own", "emptyDir": {}})),
        Just(json!({"name": "same-secret", "secret": {"secretName": "alpha"}})),
        Just(json!({"name": "same-map", "configMap": {"name": "epsilon", "defaultMode": 420}})),
    ])
}

/// An absent list, or one of up to three entries.
fn list(entry: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    option::of(vec(entry, 0..=3).prop_map(Value::from))
}

/// Arbitrary JSON with the fields that the injection reads in unlikely places and with unlikely values.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let field = prop_oneof![
        4 => sample::select(&FIELDS[..]).prop_map(str::to_owned),
        1 => text(),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((field.clone(), inner), 0..6).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// A pod with bindings and arbitrary values in its fields.
pub(crate) fn odd_pod() -> impl Strategy<Value = Value> {
    let annotation = (sample::select(&FIELDS[..7]), any_json());
    (pod(), vec(annotation, 0..3), vec((any::<prop::sample::Index>(), any_json()), 0..3)).prop_map(
        |(mut pod, annotations, values)| {
            for (name, value) in annotations {
                pod["metadata"]["annotations"][name] = value;
            }
            for (place, value) in values {
                let mut pointers = Vec::new();
                collect_pointers(&pod, String::new(), &mut pointers);
                *pod.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = value;
            }
            pod
        },
    )
}

fn collect_pointers(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect_pointers(value, format!("{pointer}/{name}"), pointers);
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                collect_pointers(value, format!("{pointer}/{index}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app".to_owned()),
        Just("alpha".to_owned()),
        Just("/var/secrets/alpha".to_owned()),
        "[a-zA-Z0-9=/,._: \n-]{0,16}",
        "\\PC{0,8}",
    ]
}

const FIELDS: [&str; 32] = [
    "bindery.dev/bind",
    "bindery.dev/bind.app",
    "bindery.dev/files",
    "bindery.dev/as",
    "bindery.dev/env",
    "bindery.dev/containers",
    "bindery.dev/mount-root",
    "apiVersion",
    "kind",
    "items",
    "metadata",
    "annotations",
    "spec",
    "template",
    "containers",
    "initContainers",
    "volumes",
    "name",
    "env",
    "envFrom",
    "volumeMounts",
    "mountPath",
    "secretRef",
    "secretKeyRef",
    "secret",
    "secretName",
    "items",
    "prefix",
    "os",
    "nodeSelector",
    "windows",
    "ownerReferences",
];
