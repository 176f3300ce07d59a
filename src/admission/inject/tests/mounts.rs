//! What a container has mounted already, and what that means for the folder of a binding.

use super::*;

const FOLDER: &str = "/var/secrets/mydb01-binding";

fn mounting(mounts: &Value, volumes: &Value) -> Value {
    let mut pod = bound(json!([{"name": "app", "volumeMounts": mounts}]));
    pod["spec"]["volumes"] = volumes.clone();
    pod
}

/// P1: Velero restores pods as they were, also those of an older version that called the volume otherwise.
#[test]
fn a_secret_that_is_mounted_under_another_volume_s_name_is_not_mounted_again() {
    let mount = json!({"name": "old-name", "mountPath": FOLDER});
    let volume = json!({"name": "old-name", "secret": {"secretName": SECRET, "defaultMode": 420}});
    let mut pod = mounting(&json!([mount]), &json!([volume]));
    let (result, warnings) = injected(&pod);
    assert_eq!(result["spec"]["volumes"], json!([volume]));
    assert_eq!(result["spec"]["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(warnings, [""; 0]);
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "added"}));
    let (result, _) = injected(&pod);
    assert_eq!(result["spec"]["containers"][1]["volumeMounts"][0]["name"], VOLUME);
    assert_eq!(result["spec"]["volumes"].as_array().unwrap().len(), 2);
}

#[test]
fn what_gives_something_else_at_the_folder_is_pointed_out() {
    let warning =
        "container app: /var/secrets/mydb01-binding is mounted by the pod itself; its binding is not mounted";
    let secret = json!({"name": "own", "secret": {"secretName": SECRET}});
    let other = json!({"name": "own", "secret": {"secretName": "other"}});
    let selected =
        json!({"name": "own", "secret": {"secretName": SECRET, "items": [{"key": "k", "path": "k"}]}});
    for (mount, volume) in [
        (json!({"name": "own", "mountPath": FOLDER}), &other),
        (json!({"name": "own", "mountPath": FOLDER}), &selected),
        (json!({"name": "missing", "mountPath": FOLDER}), &secret),
        (json!({"name": "own", "mountPath": FOLDER, "subPath": "uri"}), &secret),
        (json!({"name": "own", "mountPath": FOLDER, "subPathExpr": "$(POD)"}), &secret),
    ] {
        let pod = mounting(&json!([mount]), &json!([volume]));
        let (result, warnings) = injected(&pod);
        assert_eq!(warnings, [warning], "{mount}");
        assert_eq!(result["spec"]["containers"][0]["volumeMounts"], json!([mount]));
        assert_eq!(result["spec"]["volumes"], json!([volume]), "a volume that nothing mounts");
    }
}

/// The API server takes these for different paths; the kubelet mounts one over the other.
#[test]
fn the_same_folder_written_otherwise_is_seen() {
    for path in
        ["//var/secrets/mydb01-binding", "/var/./secrets/mydb01-binding/", "var/secrets/mydb01-binding"]
    {
        let pod =
            mounting(&json!([{"name": "own", "mountPath": path}]), &json!([{"name": "own", "emptyDir": {}}]));
        let (result, warnings) = injected(&pod);
        let mounts = |pod: &Value| pod["spec"]["containers"][0]["volumeMounts"].clone();
        assert_eq!(mounts(&result), mounts(&pod), "{path}");
        assert_eq!(warnings.len(), 1, "{path}");
    }
}

/// It is the pod's own and stays, but such a pod starts without its credentials.
#[test]
fn what_the_pod_has_of_a_secret_as_optional_is_pointed_out() {
    let warning = |secret: &str| {
        format!("container app: its own reference to {secret} is optional, so it does not wait for it")
    };
    for optional in [true, false] {
        let mounts = json!([{"name": "own", "mountPath": FOLDER}]);
        let volumes = json!([{"name": "own", "secret": {"secretName": SECRET, "optional": optional}}]);
        let mut pod = mounting(&mounts, &volumes);
        let env = format!("{SECRET}-env");
        pod["metadata"]["annotations"]["bindery.dev/env"] =
            json!(format!("A={SECRET}/host,B={SECRET}/port,C={SECRET}/user"));
        let container = &mut pod["spec"]["containers"][0];
        container["envFrom"] = json!([{"secretRef": {"name": env, "optional": optional}}]);
        container["env"] = json!(["A", "B"].map(|name| {
            let key = if name == "A" { "host" } else { "port" };
            let mut own = variable(name, SECRET, key);
            own["valueFrom"]["secretKeyRef"]["optional"] = json!(optional);
            own
        }));
        let expected = if optional { vec![warning(SECRET), warning(&env)] } else { Vec::new() };
        assert_eq!(injected(&pod).1, expected);
    }
}
