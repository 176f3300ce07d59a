//! The table of pods: each rule and each way into a pod, attempts to get around a rule, and pods that violate none.

use std::collections::BTreeSet;

use bindery::{
    apis::bindery::credential_policy::{
        Engine,
        RuleName::{self, BindingsOnly, FilesOnly, NoPlainText, NoServiceAccountTokens},
    },
    policy::{Root, WAYS, Way},
};
use serde_json::{Value, json};

/// A pod and the rules that it violates.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) pod: Value,
    pub(crate) violated: BTreeSet<RuleName>,
}

fn case(name: impl Into<String>, pod: Value, violated: &[RuleName]) -> Case {
    Case { name: name.into(), pod, violated: violated.iter().copied().collect() }
}

/// A pod that the API server accepts and that violates nothing.
fn pod(changes: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app:1"}],
    }});
    json_patch::merge(&mut pod, changes);
    pod
}

/// A pod with one more container, in this list.
fn with_container(list: &str, fields: &Value) -> Value {
    let mut container = json!({"name": "more", "image": "app:1"});
    json_patch::merge(&mut container, fields);
    let mut pod = pod(&json!({}));
    if list == "sidecars" {
        container["restartPolicy"] = json!("Always");
    }
    match list {
        "containers" => pod["spec"]["containers"].as_array_mut().unwrap().push(container),
        _ => pod["spec"]["initContainers"] = json!([container]),
    }
    pod
}

fn with_volume(source: &Value) -> Value {
    let mut volume = json!({"name": "v"});
    json_patch::merge(&mut volume, source);
    pod(&json!({"spec": {"volumes": [volume]}}))
}

fn annotated(annotations: &Value) -> Value {
    pod(&json!({"metadata": {"annotations": annotations}}))
}

/// The value at the end of a way, inside of what the API server requires around it; `None` for ways that other cases are
/// about.
fn at(path: &str) -> Option<Value> {
    let password = "--password=hunter22";
    let header = json!([{"name": "Authorization", "value": "Basic dXNlcjpwYXNzd29yZA=="}]);
    let exec = json!({"exec": {"command": ["run", password]}});
    let get = json!({"httpGet": {"port": 80, "httpHeaders": header}});
    Some(match path {
        "env[].valueFrom.secretKeyRef.name" | "env[].valueFrom.secretKeyRef" => {
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})
        }
        "envFrom[].secretRef.name" | "envFrom[].secretRef" => {
            json!({"envFrom": [{"secretRef": {"name": "s"}}]})
        }
        "secret.secretName" => json!({"secret": {"secretName": "s"}}),
        "projected.sources[].secret.name" => json!({"projected": {"sources": [{"secret": {"name": "s"}}]}}),
        "csi.nodePublishSecretRef.name" => {
            json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}})
        }
        "csi.driver" => json!({"csi": {"driver": "secrets-store.csi.k8s.io"}}),
        "azureFile.secretName" => json!({"azureFile": {"secretName": "s", "shareName": "x"}}),
        "cephfs.secretRef.name" => json!({"cephfs": {"monitors": ["m"], "secretRef": {"name": "s"}}}),
        "cinder.secretRef.name" => json!({"cinder": {"volumeID": "x", "secretRef": {"name": "s"}}}),
        "flexVolume.secretRef.name" => json!({"flexVolume": {"driver": "a/b", "secretRef": {"name": "s"}}}),
        "iscsi.secretRef.name" => {
            json!({"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:storage.x", "lun": 0,
                "chapAuthDiscovery": true, "secretRef": {"name": "s"}}})
        }
        "rbd.secretRef.name" => json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": {"name": "s"}}}),
        "scaleIO.secretRef.name" => {
            json!({"scaleIO": {"gateway": "https://g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}}})
        }
        "storageos.secretRef.name" => json!({"storageos": {"volumeName": "v", "secretRef": {"name": "s"}}}),
        "env[]" => json!({"env": [{"name": "URL", "value": "postgres://a:b@c/d"}]}),
        "args[]" => json!({"args": ["-v", password]}),
        "command[]" => json!({"command": ["run", password]}),
        "lifecycle.postStart.exec.command[]" => json!({"lifecycle": {"postStart": exec}}),
        "lifecycle.preStop.exec.command[]" => json!({"lifecycle": {"preStop": exec}}),
        "lifecycle.postStart.httpGet.httpHeaders[].value" => json!({"lifecycle": {"postStart": get}}),
        "lifecycle.preStop.httpGet.httpHeaders[].value" => json!({"lifecycle": {"preStop": get}}),
        "livenessProbe.exec.command[]" => json!({"livenessProbe": exec}),
        "readinessProbe.exec.command[]" => json!({"readinessProbe": exec}),
        "startupProbe.exec.command[]" => json!({"startupProbe": exec}),
        "livenessProbe.httpGet.httpHeaders[].value" => json!({"livenessProbe": get}),
        "readinessProbe.httpGet.httpHeaders[].value" => json!({"readinessProbe": get}),
        "startupProbe.httpGet.httpHeaders[].value" => json!({"startupProbe": get}),
        "projected.sources[].serviceAccountToken" => {
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
        }
        "metadata.annotations" | "spec" => return None,
        other => panic!("the table has no pod for the way {other}"),
    })
}

/// The ways that the API server itself judges. `random_values` has pods for those of the webhook.
fn of_the_api_server() -> impl Iterator<Item = Way> {
    WAYS.into_iter().filter(|way| way.rule.engine() == Engine::ApiServer)
}

/// A pod for each way, in each list of containers that a new pod can have.
fn ways() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in of_the_api_server() {
        let Some(fields) = at(way.path) else { continue };
        // A variable from a Secret violates two rules.
        let violated: Vec<_> = of_the_api_server()
            .filter(|other| at(other.path).as_ref() == Some(&fields))
            .map(|other| other.rule)
            .collect();
        let lists: &[&str] = match way.root {
            Root::Container => &["containers", "initContainers", "sidecars"],
            _ => &["volumes"],
        };
        for list in lists {
            // Init containers have no probes and no hooks.
            let is_probed = way.path.contains("Probe") || way.path.starts_with("lifecycle");
            if *list == "initContainers" && is_probed {
                continue;
            }
            let pod = if *list == "volumes" { with_volume(&fields) } else { with_container(list, &fields) };
            cases.push(case(format!("{} in {list}: {}", way.rule.name(), way.path), pod, &violated));
        }
    }
    cases
}

/// Other forms of the same, attempts to get around a rule, and what no rule is about.
fn special() -> Vec<Case> {
    let mut cases = tokens();
    cases.extend(texts());
    cases.extend(secrets());
    cases
}

/// Tokens of service accounts.
fn tokens() -> Vec<Case> {
    let token = |audience: &str| {
        let source = json!({"serviceAccountToken": {"path": "token", "audience": audience}});
        json!({"projected": {"sources": [source]}})
    };
    vec![
        case("nothing", pod(&json!({})), &[]),
        case(
            "the token is not turned off",
            pod(&json!({"spec": {"automountServiceAccountToken": true}})),
            &[NoServiceAccountTokens],
        ),
        case(
            "the token is left to the default",
            pod(&json!({"spec": {"automountServiceAccountToken": null}})),
            &[NoServiceAccountTokens],
        ),
        case("a token for another audience", with_volume(&token("sts.amazonaws.com")), &[]),
        case(
            "a token that names the API server",
            with_volume(&token("https://kubernetes.default.svc")),
            &[NoServiceAccountTokens],
        ),
    ]
}

/// Values of variables and annotations.
fn texts() -> Vec<Case> {
    let env = |name: &str, value: &str| {
        with_container("containers", &json!({"env": [{"name": name, "value": value}]}))
    };
    vec![
        case(
            "a ConfigMap",
            with_container("containers", &json!({"envFrom": [{"configMapRef": {"name": "c"}}]})),
            &[],
        ),
        case(
            "the downward API",
            with_container(
                "containers",
                &json!({"env": [
            {"name": "PASSWORD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            &[],
        ),
        case("a reference to another variable", env("PASSWORD", "$(OTHER)"), &[]),
        case("a URL with references", env("URL", "postgres://$(USER):$(PASSWORD)@db/app"), &[]),
        case("a variable by its name", env("DB_PASSWORD", "changeme"), &[NoPlainText]),
        case("a switch that is named like a password", env("ALLOW_EMPTY_PASSWORD", "yes"), &[]),
        case("the name of a Secret", env("TLS_SECRET", "ingress-nginx-admission"), &[]),
        case("a key that looks random", env("API_KEY", "aGVsbG8gd29ybGQ0Mg"), &[NoPlainText]),
        case("an allowed variable", env("DEMO_PASSWORD", "changeme"), &[]),
        case("a path to a password", env("PASSWORD", "/run/secrets/password"), &[]),
        case("an access key", env("X", concat!("AKIA", "IOSFODNN7EXAMPLE")), &[NoPlainText]),
        case("a token of a code host", env("X", &format!("ghp_{}", "aB3".repeat(12))), &[NoPlainText]),
        case(
            "a JSON web token",
            env("X", concat!("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0In0", ".abcdefghijklmnop")),
            &[NoPlainText],
        ),
        case(
            "a private key with line ends",
            env("X", "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n"),
            &[NoPlainText],
        ),
        case(
            "quotes, backslashes and odd letters",
            env("X", "it's \"a\" \\d ü 😀 password='correct horse'"),
            &[NoPlainText],
        ),
        case(
            "a credential in an annotation",
            annotated(&json!({"example.com/dsn": "amqp://a:b@c"})),
            &[NoPlainText],
        ),
        case(
            "the copy of the manifest",
            annotated(&json!({"kubectl.kubernetes.io/last-applied-configuration": "amqp://a:b@c"})),
            &[],
        ),
        case(
            "an assignment of a reference",
            annotated(&json!({"bindery.dev/files": "password=db-binding/password"})),
            &[],
        ),
    ]
}

/// References to Secrets.
fn secrets() -> Vec<Case> {
    let from = |annotations: &Value, secret: &str| {
        let mut pod = with_volume(&json!({"secret": {"secretName": secret}}));
        pod["metadata"]["annotations"] = annotations.clone();
        pod
    };
    let files = |bind: &str| json!({"bindery.dev/bind": bind, "bindery.dev/as": "files"});
    let both = [BindingsOnly, FilesOnly];
    vec![
        case("an allowed Secret", from(&json!({}), "shared-ca"), &[]),
        case("a bound Secret", from(&files("db"), "db"), &[]),
        case("the variables of a bound Secret", from(&files(" cache , db"), "db-env"), &[]),
        case("another Secret than the bound one", from(&files("db"), "db2"), &[BindingsOnly]),
        case(
            "a Secret bound by one container",
            from(&json!({"bindery.dev/bind.app": "db", "bindery.dev/as": "files"}), "db"),
            &[],
        ),
        case("a plain Secret that bindery injects", from(&files("secret/db"), "db"), &[BindingsOnly]),
        case("a binding of the name of a prefix", from(&files("configmap/db"), "db"), &[BindingsOnly]),
        case(
            "a bound Secret as variables",
            {
                let mut pod =
                    with_container("containers", &json!({"envFrom": [{"secretRef": {"name": "db-env"}}]}));
                pod["metadata"]["annotations"] = files("db");
                pod
            },
            &[FilesOnly],
        ),
        case(
            "the same Secret under another optional name",
            with_container(
                "containers",
                &json!({"env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
            {"name": "B", "value": "$(A)"}]}),
            ),
            &both,
        ),
        case(
            "a Secret beside an allowed one",
            with_container(
                "containers",
                &json!({"envFrom": [
            {"configMapRef": {"name": "c"}}, {"prefix": "X_", "secretRef": {"name": "s"}}]}),
            ),
            &both,
        ),
    ]
}

/// The whole table.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = ways();
    cases.extend(special());
    cases
}

/// Pods that bindery's webhook would change before they are judged. Offline only: no webhook runs beside the API server.
pub(crate) fn annotated_cases() -> Vec<Case> {
    let bind = |changes: Value| {
        let mut annotations = json!({"bindery.dev/bind": "db"});
        json_patch::merge(&mut annotations, &changes);
        annotated(&annotations)
    };
    vec![
        case("bound as files and variables", bind(json!({})), &[FilesOnly]),
        case("bound as files", bind(json!({"bindery.dev/as": "files"})), &[]),
        case("bound as variables", bind(json!({"bindery.dev/as": "env"})), &[FilesOnly]),
        case(
            "one variable",
            bind(json!({"bindery.dev/as": "files", "bindery.dev/env": "A=db/b"})),
            &[FilesOnly],
        ),
    ]
}

/// The settings of the rules that the table assumes.
pub(crate) fn rules() -> Value {
    json!({
        "bindingsOnly": {"allowSecrets": ["shared-*"]},
        "noPlainText": {"allowVariables": ["DEMO_*"]},
        "filesOnly": {"message": "Ask #platform:\n it's their rule"},
        "noServiceAccountTokens": {"allowServiceAccounts": ["operator-*"]},
    })
}

/// This pod as the template of a workload.
pub(crate) fn workload(kind: &str, pod: &Value) -> Value {
    let mut metadata = pod["metadata"].clone();
    metadata.as_object_mut().unwrap().remove("name");
    metadata["labels"] = json!({"app": "web"});
    let (mut spec, selector) = (pod["spec"].clone(), json!({"app": "web"}));
    if matches!(kind, "Job" | "CronJob") {
        spec["restartPolicy"] = json!("Never");
    }
    let template = json!({"metadata": metadata, "spec": spec});
    let (version, body) = match kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => {
            ("apps/v1", json!({"spec": {"selector": {"matchLabels": selector}, "template": template}}))
        }
        "StatefulSet" => (
            "apps/v1",
            json!({"spec": {"serviceName": "x", "selector": {"matchLabels": selector}, "template": template}}),
        ),
        "ReplicationController" => ("v1", json!({"spec": {"selector": selector, "template": template}})),
        "PodTemplate" => ("v1", json!({"template": template})),
        "Job" => ("batch/v1", json!({"spec": {"template": template}})),
        "CronJob" => (
            "batch/v1",
            json!({"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}}}),
        ),
        other => panic!("{other} has no template"),
    };
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web"}});
    json_patch::merge(&mut object, &body);
    object
}

/// All kinds with a pod template.
pub(crate) const WORKLOADS: [&str; 8] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "PodTemplate",
    "Job",
    "CronJob",
];
