//! The rules of the injection, one test each. The laws that hold for every pod are property tests in `tests/inject`.

use serde_json::{Value, json};

use super::*;

mod choices;
mod config_maps;
mod limits;
mod mounts;
mod requests;

const SECRET: &str = "mydb01-binding";
const VOLUME: &str = "bindery-secret-mydb01-binding";

/// The injected pod and the warnings.
fn injected(pod: &Value) -> (Value, Vec<String>) {
    let injection = inject(pod, &InjectSettings::default()).unwrap();
    let mut result = pod.clone();
    injection.apply(&mut result).unwrap();
    (result, injection.warnings.iter().map(ToString::to_string).collect())
}

fn refused(pod: &Value) -> String {
    inject(pod, &InjectSettings::default()).unwrap_err().to_string()
}

fn pod(annotations: Value, containers: Value) -> Value {
    let mut pod = json!({});
    pod["metadata"]["annotations"] = annotations;
    pod["spec"]["containers"] = containers;
    pod
}

fn bound(containers: Value) -> Value {
    pod(json!({"bindery.dev/bind": SECRET}), containers)
}

fn env_from(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"secretRef": {"name": name}})).collect()
}

fn variable(name: &str, secret: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}

#[test]
fn the_pod_of_the_story_gets_a_volume_a_mount_and_the_variables() {
    let story = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client-app01", "annotations": {"bindery.dev/bind": SECRET}},
        "spec": {"containers": [{"name": "client-app01", "image": "my-app"}]}
    });
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client-app01", "annotations": {"bindery.dev/bind": SECRET}},
        "spec": {
            "containers": [{
                "name": "client-app01",
                "image": "my-app",
                "envFrom": [{"secretRef": {"name": "mydb01-binding-env"}}],
                "volumeMounts": [{"name": VOLUME, "mountPath": "/var/secrets/mydb01-binding", "readOnly": true}]
            }],
            "volumes": [{"name": VOLUME, "secret": {"secretName": SECRET}}]
        }
    });
    assert_eq!(injected(&story), (expected, vec![]));
}

#[test]
fn a_pod_that_asks_for_nothing_is_left_alone() {
    for pod in [
        json!({}),
        json!({"metadata": null, "spec": "rubbish"}),
        pod(json!("rubbish"), json!([{"name": "app"}])),
        pod(json!({"bindery.dev/as": "rubbish"}), json!([{"name": "app"}])),
        pod(json!({"bindery.dev/bind": ""}), json!([{"name": "app"}])),
    ] {
        assert_eq!(inject(&pod, &InjectSettings::default()), Ok(Injection::default()), "{pod}");
    }
}

/// P9: the API server refuses a mirror pod that refers to Secrets.
#[test]
fn a_mirror_pod_is_left_alone() {
    let annotations = json!({"bindery.dev/bind": SECRET, "kubernetes.io/config.mirror": "hash"});
    assert!(
        inject(&pod(annotations, json!([{"name": "app"}])), &InjectSettings::default()).unwrap().is_empty()
    );
}

#[test]
fn as_files_leaves_the_environment_alone_and_as_env_the_volumes() {
    let (files, _) =
        injected(&pod(json!({"bindery.dev/bind": "b", "bindery.dev/as": "files"}), json!([{"name": "a"}])));
    assert_eq!(files.pointer("/spec/containers/0/envFrom"), None);
    assert!(files.pointer("/spec/volumes/0").is_some());
    let (env, _) =
        injected(&pod(json!({"bindery.dev/bind": "b", "bindery.dev/as": "env"}), json!([{"name": "a"}])));
    assert_eq!(env["spec"], json!({"containers": [{"name": "a", "envFrom": env_from(&["b-env"])}]}));
}

#[test]
fn init_containers_are_bound_and_ephemeral_ones_are_not() {
    let mut pod = bound(json!([{"name": "app"}]));
    pod["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    pod["spec"]["ephemeralContainers"] = json!([{"name": "debugger"}]);
    let (result, _) = injected(&pod);
    assert!(result.pointer("/spec/initContainers/0/envFrom/0").is_some());
    assert!(result.pointer("/spec/initContainers/0/volumeMounts/0").is_some());
    assert_eq!(result["spec"]["ephemeralContainers"], pod["spec"]["ephemeralContainers"]);
}

#[test]
fn sidecars_of_meshes_are_bound_only_when_named() {
    let containers = json!([{"name": "app"}, {"name": "istio-proxy"}]);
    let (result, _) = injected(&bound(containers.clone()));
    assert_eq!(result["spec"]["containers"][1], json!({"name": "istio-proxy"}));
    let named = pod(json!({"bindery.dev/bind": "b", "bindery.dev/containers": "istio-proxy"}), containers);
    let (result, warnings) = injected(&named);
    assert_eq!(result["spec"]["containers"][0], json!({"name": "app"}));
    assert!(result.pointer("/spec/containers/1/envFrom/0").is_some());
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_pod_of_excluded_containers_alone_gets_no_volume_but_a_warning() {
    let pod = bound(json!([{"name": "istio-proxy"}]));
    let (result, warnings) = injected(&pod);
    assert_eq!(result, pod);
    assert_eq!(
        warnings,
        ["bindery.dev/bind binds no container: all are excluded; name some in bindery.dev/containers"]
    );
}

#[test]
fn an_unknown_container_is_refused_with_the_names_there_are() {
    let mut pod =
        pod(json!({"bindery.dev/bind": "b", "bindery.dev/containers": "app,web"}), json!([{"name": "app"}]));
    pod["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    assert_eq!(
        refused(&pod),
        "metadata.annotations[bindery.dev/containers]: the pod has no container `web`; its containers are: migrate, app"
    );
}

/// In `envFrom` the last entry wins.
#[test]
fn the_first_binding_wins_over_later_ones_and_the_containers_own_variables_over_all() {
    let own = json!([{"configMapRef": {"name": "own"}}]);
    let pod = pod(json!({"bindery.dev/bind": "first,second"}), json!([{"name": "a", "envFrom": own}]));
    let (result, _) = injected(&pod);
    let mut expected = env_from(&["second-env", "first-env"]);
    expected.as_array_mut().unwrap().push(json!({"configMapRef": {"name": "own"}}));
    assert_eq!(result["spec"]["containers"][0]["envFrom"], expected);
}

#[test]
fn a_binding_that_is_named_later_finds_its_place_between_those_that_are_there() {
    let present = env_from(&["d-env", "b-env", "own"]);
    let pod = pod(
        json!({"bindery.dev/bind": "a,b,c,d,e", "bindery.dev/as": "env"}),
        json!([{"name": "x", "envFrom": present}]),
    );
    let (result, warnings) = injected(&pod);
    let expected = env_from(&["e-env", "d-env", "c-env", "b-env", "a-env", "own"]);
    assert_eq!(result["spec"]["containers"][0]["envFrom"], expected);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn entries_in_another_order_are_kept_and_warned_about() {
    let pod = pod(
        json!({"bindery.dev/bind": "a,b", "bindery.dev/as": "env"}),
        json!([{"name": "x", "envFrom": env_from(&["a-env", "b-env"])}]),
    );
    let (result, warnings) = injected(&pod);
    assert_eq!(result, pod);
    assert_eq!(warnings, ["container x: envFrom keeps its order, so a-env loses to what it should win over"]);
}

#[test]
fn an_env_from_with_a_prefix_is_something_else() {
    let own = json!({"prefix": "OLD_", "secretRef": {"name": "mydb01-binding-env"}});
    let (result, _) = injected(&bound(json!([{"name": "a", "envFrom": [own]}])));
    let expected = json!([{"secretRef": {"name": "mydb01-binding-env"}}, own]);
    assert_eq!(result["spec"]["containers"][0]["envFrom"], expected);
}

/// P17: the container's own variables may refer to variables before them.
#[test]
fn named_variables_go_before_the_containers_own_and_never_replace_one() {
    let own = json!([{"name": "PORT", "value": "1"}, {"name": "URL", "value": "http://$(HOST):$(PORT)"}]);
    let annotations = json!({"bindery.dev/bind": "b", "bindery.dev/as": "files", "bindery.dev/env": "PORT=b/port,HOST=b/host,USER=b/user"});
    let (result, warnings) = injected(&pod(annotations, json!([{"name": "a", "env": own}])));
    let mut expected = vec![variable("HOST", "b", "host"), variable("USER", "b", "user")];
    expected.extend(own.as_array().unwrap().iter().cloned());
    assert_eq!(result["spec"]["containers"][0]["env"], Value::from(expected));
    assert_eq!(warnings, ["container a: its own variable PORT hides that of bindery.dev/env"]);
}

#[test]
fn a_variable_that_is_already_right_is_kept_without_a_warning() {
    let annotations =
        json!({"bindery.dev/bind": "b", "bindery.dev/as": "files", "bindery.dev/env": "A=b/a,B=b/b"});
    let present = json!([variable("B", "b", "b"), {"name": "OWN", "value": "1"}]);
    let (result, warnings) = injected(&pod(annotations, json!([{"name": "x", "env": present}])));
    let names: Vec<_> =
        result["spec"]["containers"][0]["env"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    assert_eq!(names, ["A", "B", "OWN"]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_plain_secret_gives_files_and_named_variables_only() {
    let annotations = json!({"bindery.dev/bind": "secret/s", "bindery.dev/env": "A=secret/s/k"});
    let (result, _) = injected(&pod(annotations, json!([{"name": "x"}])));
    let container = &result["spec"]["containers"][0];
    assert_eq!(container["env"], json!([variable("A", "s", "k")]));
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/var/secrets/s");
    assert_eq!(container.get("envFrom"), None);
}

/// Kubernetes refuses two mounts at one path.
#[test]
fn a_volume_of_the_users_own_at_the_same_path_wins() {
    for path in ["/var/secrets/mydb01-binding", "/var/secrets/mydb01-binding/"] {
        let own = json!([{"name": "own", "mountPath": path}]);
        let (result, warnings) = injected(&bound(json!([{"name": "a", "volumeMounts": own}, {"name": "b"}])));
        assert_eq!(result["spec"]["containers"][0]["volumeMounts"], own);
        assert_eq!(result["spec"]["containers"][1]["volumeMounts"][0]["name"], VOLUME);
        assert_eq!(
            warnings,
            [
                "container a: /var/secrets/mydb01-binding is mounted by the pod itself; its binding is not mounted"
            ]
        );
    }
    let device = json!([{"name": "own", "devicePath": "/var/secrets/mydb01-binding"}]);
    let (result, warnings) = injected(&bound(json!([{"name": "a", "volumeDevices": device}])));
    assert_eq!(result.pointer("/spec/containers/0/volumeMounts"), None);
    assert_eq!(result.pointer("/spec/volumes"), None, "a volume that nothing mounts");
    assert_eq!(warnings.len(), 1);
}

/// P1: the API server fills in `defaultMode`, and Velero restores pods that have been injected.
#[test]
fn a_pod_that_has_been_stored_and_comes_back_is_left_alone() {
    let (mut stored, _) = injected(&bound(json!([{"name": "a"}])));
    stored["spec"]["volumes"][0]["secret"]["defaultMode"] = json!(420);
    assert!(inject(&stored, &InjectSettings::default()).unwrap().is_empty());
}

/// P1: a status annotation would falsely mark this pod as done.
#[test]
fn a_container_that_another_webhook_added_is_bound_on_reinvocation() {
    let (mut pod, _) = injected(&bound(json!([{"name": "app"}])));
    let app = pod["spec"]["containers"][0].clone();
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "added"}));
    let (result, _) = injected(&pod);
    assert_eq!(result["spec"]["containers"][0]["envFrom"], app["envFrom"]);
    assert_eq!(result["spec"]["containers"][0]["volumeMounts"], app["volumeMounts"]);
    assert_eq!(result["spec"]["containers"][1], app);
    assert_eq!(result["spec"]["volumes"].as_array().unwrap().len(), 1);
}

/// P1: names must not depend on values that differ between calls; P3: a pod of a controller has no name yet.
#[test]
fn the_volume_is_called_the_same_whatever_the_pod_is_called() {
    let (nameless, _) = injected(&bound(json!([{"name": "a"}])));
    let mut named = bound(json!([{"name": "a"}]));
    named["metadata"]["name"] = json!("web-5d4f8-x7k2p");
    assert_eq!(injected(&named).0["spec"], nameless["spec"]);
}

#[test]
fn another_volume_of_bindery_s_name_is_refused_and_never_mounted_as_the_credential() {
    let mut pod = bound(json!([{"name": "a"}]));
    pod["spec"]["volumes"] = json!([{"name": VOLUME, "emptyDir": {}}]);
    assert_eq!(
        refused(&pod),
        "spec.volumes[bindery-secret-mydb01-binding]: is not the Secret `mydb01-binding`, for which bindery uses this volume \
         name; rename your volume"
    );
}

/// P7: the lists may exist, be missing, or be `null`, as Go encodes empty ones.
#[test]
fn lists_are_made_where_they_are_missing_or_null() {
    let expected = injected(&bound(json!([{"name": "a"}]))).0["spec"].clone();
    let mut pod = bound(json!([{"name": "a", "envFrom": null, "volumeMounts": [], "env": null}]));
    pod["spec"]["volumes"] = Value::Null;
    pod["spec"]["initContainers"] = Value::Null;
    let (result, _) = injected(&pod);
    for pointer in ["/volumes", "/containers/0/envFrom", "/containers/0/volumeMounts"] {
        assert_eq!(result["spec"].pointer(pointer), expected.pointer(pointer));
    }
}

#[test]
fn several_bindings_share_one_new_list() {
    let (result, _) = injected(&pod(json!({"bindery.dev/bind": "a,b,secret/c"}), json!([{"name": "x"}])));
    assert_eq!(result["spec"]["volumes"].as_array().unwrap().len(), 3);
    let mounts: Vec<_> = result["spec"]["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["mountPath"])
        .collect();
    assert_eq!(mounts, ["/var/secrets/a", "/var/secrets/b", "/var/secrets/c"]);
}

#[test]
fn the_mount_root_can_be_chosen_even_as_the_root_folder() {
    for (root, path) in [("/etc/creds/", "/etc/creds/b"), ("/", "/b")] {
        let pod =
            pod(json!({"bindery.dev/bind": "b", "bindery.dev/mount-root": root}), json!([{"name": "x"}]));
        assert_eq!(injected(&pod).0["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], path);
    }
}

#[test]
fn fields_of_the_wrong_shape_are_named() {
    let ask = json!({"bindery.dev/bind": "b", "bindery.dev/env": "A=b/a"});
    let with = |spec: Value| refused(&json!({"metadata": {"annotations": ask}, "spec": spec}));
    assert_eq!(with(json!(null)), "spec: must be an object; it holds the containers");
    assert_eq!(with(json!({"containers": "x"})), "spec.containers: must be a list");
    assert_eq!(with(json!({"containers": [5]})), "spec.containers[0]: must be an object with a name");
    assert_eq!(
        with(json!({"initContainers": [{"name": 1}]})),
        "spec.initContainers[0]: must be an object with a name"
    );
    let container = |field: &str| with(json!({"containers": [{"name": "a", field: {}}]}));
    for field in ["env", "envFrom", "volumeMounts", "volumeDevices"] {
        assert_eq!(container(field), format!("spec.containers[0].{field}: must be a list"));
    }
    assert_eq!(with(json!({"containers": [{"name": "a"}], "volumes": 1})), "spec.volumes: must be a list");
}

/// P7: nothing is replaced or removed, so unknown and unusual fields are preserved.
#[test]
fn the_patch_only_adds() {
    let mut pod = bound(json!([{"name": "a", "env": [{"name": "X"}], "futureField": {"a/b~c": [1.5]}}]));
    pod["spec"]["anotherFutureField"] = json!(true);
    let injection = inject(&pod, &InjectSettings::default()).unwrap();
    assert!(!injection.is_empty());
    assert!(injection.patch.iter().all(|operation| matches!(operation, json_patch::PatchOperation::Add(_))));
    let (result, _) = injected(&pod);
    assert_eq!(result["spec"]["anotherFutureField"], true);
    assert_eq!(result["spec"]["containers"][0]["futureField"], pod["spec"]["containers"][0]["futureField"]);
}
