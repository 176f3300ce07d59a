//! The pods.

use bindery::contract::pod::{AS, BIND, CONTAINERS, ENV, FILES, MOUNT_ROOT, OPTIONAL};
use serde_json::{Value, json};

/// Who binds a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    ApiServer,
    Webhook,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) pod: Value,
    pub(crate) engine: Engine,
}

pub(crate) fn with_annotations(shape: &Value, annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": annotations}, "spec": shape})
}

/// A container with these lists of its own.
fn container(name: &str, lists: &Value) -> Value {
    let mut container = json!({"name": name, "image": "i"});
    json_patch::merge(&mut container, lists);
    container
}

fn one(lists: &Value) -> Value {
    json!({"containers": [container("app", lists)], "volumes": [{"name": "own", "emptyDir": {}},
        {"name": "same", "secret": {"secretName": "other"}}]})
}

/// The specs of pods. The first is free of conflicts.
pub(crate) fn shapes() -> Vec<Value> {
    let mount = |path: &str| json!({"volumeMounts": [{"name": "own", "mountPath": path}]});
    let with_volumes = |volumes: Value| {
        let mut shape = one(&json!({}));
        shape["volumes"] = volumes;
        shape
    };
    vec![
        json!({"containers": [container("app", &json!({}))]}),
        json!({
            "initContainers": [container("migrate", &json!({})), container("mesh", &json!({"restartPolicy": "Always"}))],
            "containers": [container("app", &json!({"envFrom": [{"configMapRef": {"name": "own"}}]})),
                container("istio-proxy", &mount("/var/secrets")), container("csql-x", &json!({}))],
            "volumes": [{"name": "own", "emptyDir": {}}]
        }),
        json!({"containers": [container("istio-proxy", &json!({})), container("daprd", &json!({}))]}),
        one(
            &json!({"env": [{"name": "A", "value": "$(DB_URL)"}], "envFrom": [{"prefix": "X_", "secretRef": {"name": "own"}}]}),
        ),
        one(&json!({"envFrom": [{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "db-env"}}]})),
        one(&json!({"envFrom": [{"prefix": "P_", "secretRef": {"name": "db-env"}}]})),
        one(&json!({"envFrom": [{"secretRef": {"name": "db-env", "optional": true}}]})),
        one(&mount("/data")),
        one(&mount("/var")),
        one(&mount("/var/secrets")),
        one(&mount("/var/secrets/")),
        one(&mount("/var/secrets/db")),
        one(&mount("/var/secrets/db/")),
        one(&mount("/var/./secrets/db")),
        one(&mount("//var/secrets/db")),
        one(&mount("var/secrets/db")),
        one(&mount("/var/secrets/db/sub")),
        one(&mount("/var/secrets/dbx")),
        one(&mount("/etc/creds/db")),
        with_volumes(json!([{"name": "x", "secret": {"secretName": "db"}}])),
        with_volumes(
            json!([{"name": "x", "projected": {"sources": [{"configMap": {"name": "db"}}, {"secret": {"name": "db"}}]}}]),
        ),
        with_volumes(json!([{"name": "bindery-secret-db", "secret": {"secretName": "db"}}])),
        with_volumes(json!([{"name": "bindery-secret-db", "emptyDir": {}}])),
        with_volumes(json!([{"name": "bindery-secret-old", "secret": {"secretName": "old"}}])),
        json!({"containers": [container("app", &json!({}))], "os": {"name": "windows"}}),
        json!({"containers": [container("app", &json!({}))], "nodeSelector": {"kubernetes.io/os": "windows"}}),
        json!({"containers": [container("app", &json!({"volumeDevices": [{"name": "disk", "devicePath": "/var/secrets/db"}]}))],
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": "c"}}]}),
    ]
}

/// The annotations of pods.
pub(crate) fn annotations() -> Vec<Value> {
    vec![
        json!({BIND: "db"}),
        json!({BIND: " db ,queue, secret/smtp", "example.com/other": "kept"}),
        json!({BIND: "db,secret/db"}),
        json!({BIND: "secret/db"}),
        json!({BIND: "secret/db", AS: "env"}),
        json!({BIND: "db,queue", AS: "env"}),
        json!({BIND: "db", AS: "files , env"}),
        json!({BIND: "db", AS: "files"}),
        json!({BIND: "db", CONTAINERS: "app"}),
        json!({BIND: "db", CONTAINERS: "istio-proxy, app"}),
        json!({BIND: "db", MOUNT_ROOT: "/etc/creds/"}),
        json!({BIND: "db", MOUNT_ROOT: "/"}),
        json!({BIND: "db", OPTIONAL: "true"}),
        json!({BIND: "db", ENV: "A=db/host"}),
        json!({BIND: "db,configmap/c"}),
    ]
}

/// Pods with annotations that say who binds them.
pub(crate) fn cases() -> Vec<Case> {
    let long = "a".repeat(48);
    let too_long = "a".repeat(49);
    let at_limit = names(20, 10);
    let over_limit = names(21, 10);
    let of = |engine: Engine, rows: Vec<(&'static str, Value)>| {
        rows.into_iter()
            .map(|(name, annotations)| Case {
                name,
                pod: with_annotations(&shapes()[1], &annotations),
                engine,
            })
            .collect::<Vec<_>>()
    };
    let native = of(
        Engine::ApiServer,
        vec![
            ("a binding", json!({BIND: "mydb01-binding"})),
            ("two bindings", json!({BIND: "b,a"})),
            ("spaces", json!({BIND: " b ,\u{a0}a\n"})),
            ("a Secret", json!({BIND: "secret/smtp"})),
            ("a binding called secret", json!({BIND: "secret,configmap"})),
            ("a long name", json!({BIND: long})),
            ("many bindings", json!({BIND: at_limit})),
            ("files", json!({BIND: "b,secret/s", AS: "files"})),
            ("variables", json!({BIND: "b", AS: "env"})),
            ("both", json!({BIND: "b", AS: " env , files "})),
            ("containers", json!({BIND: "b", CONTAINERS: "migrate, istio-proxy", MOUNT_ROOT: "/etc/x"})),
            ("a root", json!({BIND: "b", MOUNT_ROOT: " /etc/x-1_y/Z.z/ "})),
        ],
    );
    let hook = of(
        Engine::Webhook,
        vec![
            ("blank", json!({BIND: " "})),
            ("stray comma", json!({BIND: "a,,b"})),
            ("twice", json!({BIND: "a,a"})),
            ("binding and Secret", json!({BIND: "a,secret/a"})),
            ("a dot", json!({BIND: "a.b"})),
            ("too long for a volume", json!({BIND: too_long})),
            ("too many", json!({BIND: over_limit})),
            ("a ConfigMap", json!({BIND: "configmap/a"})),
            ("upper case", json!({BIND: "A"})),
            ("no name", json!({BIND: "secret/"})),
            ("two prefixes", json!({BIND: "secret/secret/a"})),
            ("quotes", json!({BIND: "a' + 'b"})),
            ("braces", json!({BIND: "a}{\"b\": \"c\"}"})),
            ("a line", json!({BIND: "a\nb"})),
            ("unicode", json!({BIND: "ä,\u{1f600}"})),
            ("a fullwidth letter", json!({BIND: "\u{ff41}"})),
            ("a zero-width space", json!({BIND: "a\u{200b}"})),
            ("a path", json!({BIND: "../a"})),
            ("a pointer", json!({BIND: "a~1b"})),
            ("no way", json!({BIND: "b", AS: ""})),
            ("an unknown way", json!({BIND: "b", AS: "volume"})),
            ("a way twice", json!({BIND: "b", AS: "env,env"})),
            ("variables of a Secret", json!({BIND: "b,secret/s", AS: "env"})),
            ("no root", json!({BIND: "b", MOUNT_ROOT: ""})),
            ("a relative root", json!({BIND: "b", MOUNT_ROOT: "etc"})),
            ("a root that goes up", json!({BIND: "b", MOUNT_ROOT: "/etc/../x"})),
            ("a root with a quote", json!({BIND: "b", MOUNT_ROOT: "/etc/'x"})),
            ("a drive", json!({BIND: "b", MOUNT_ROOT: "C:\\x"})),
            ("an unknown container", json!({BIND: "b", CONTAINERS: "nope"})),
            ("a container twice", json!({BIND: "b", CONTAINERS: "app,app"})),
            ("no containers", json!({BIND: "b", CONTAINERS: ""})),
            ("variables by name", json!({BIND: "b", ENV: "A=b/k"})),
            ("files by name", json!({BIND: "b", FILES: "k=b/k"})),
            ("optional", json!({BIND: "b", OPTIONAL: "false"})),
            ("a container's own", json!({BIND: "b", "bindery.dev/bind.app": "c"})),
            ("a container's alone", json!({"bindery.dev/bind.app": "c"})),
            ("misspelt", json!({BIND: "b", "bindery.dev/container": "app"})),
            ("an unknown annotation", json!({BIND: "b", "bindery.dev/zzz": "app"})),
        ],
    );
    native.into_iter().chain(hook).collect()
}

/// Names of this number and length.
pub(crate) fn names(count: usize, length: usize) -> String {
    let names: Vec<_> = (0..count).map(|n| format!("{n:a>length$}")).collect();
    names.join(",")
}

/// The annotations of a Namespace, and pods in it.
pub(crate) fn default_cases() -> Vec<(&'static str, Value, Vec<Case>)> {
    let case = |name, shape: usize, annotations: Value, engine| Case {
        name,
        pod: with_annotations(&shapes()[shape], &annotations),
        engine,
    };
    let plain = |engine| {
        let mut case = case("no annotations", 1, json!({}), engine);
        case.pod["metadata"].as_object_mut().unwrap().remove("annotations");
        case
    };
    vec![
        (
            "common",
            json!({BIND: "db,secret/smtp", "example.com/x": "y"}),
            vec![
                plain(Engine::ApiServer),
                case("others' annotations", 0, json!({"example.com/x": "z"}), Engine::ApiServer),
                case("a way of its own", 1, json!({AS: "files"}), Engine::ApiServer),
                case("containers of its own", 1, json!({CONTAINERS: "migrate"}), Engine::ApiServer),
                case("its own binding", 1, json!({BIND: "queue"}), Engine::ApiServer),
                case("variables of its own", 1, json!({ENV: "A=db/k"}), Engine::Webhook),
                case("an unknown container", 1, json!({CONTAINERS: "nope"}), Engine::Webhook),
                case("a mount at the folder", 9, json!({}), Engine::Webhook),
            ],
        ),
        (
            "full",
            json!({BIND: "db", AS: "files", CONTAINERS: "migrate, elsewhere", MOUNT_ROOT: "/etc/x"}),
            vec![
                plain(Engine::ApiServer),
                case("a root of its own", 1, json!({MOUNT_ROOT: "/own"}), Engine::ApiServer),
                case("no such container", 0, json!({}), Engine::Webhook),
                case("containers of its own", 1, json!({CONTAINERS: "elsewhere"}), Engine::Webhook),
            ],
        ),
        ("env", json!({BIND: "db", ENV: "A=db/host"}), vec![plain(Engine::Webhook)]),
        ("wrong", json!({BIND: "db,,x"}), vec![plain(Engine::Webhook)]),
    ]
}
