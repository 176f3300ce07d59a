//! A container's existing mounts, and their effect on the folder of a binding.

use super::*;

const FOLDER: &str = "/var/secrets/mydb01-binding";

fn mounting(mounts: &Value, volumes: &Value) -> Value {
    let mut pod = bound(json!([{"name": "app", "volumeMounts": mounts}]));
    pod["spec"]["volumes"] = volumes.clone();
    pod
}

/// P1: Velero restores pods unchanged, also those of an older version with other volume names.
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

/// The API server considers these paths different; the kubelet mounts one over the other.
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

/// The mount belongs to the pod and is kept, but the pod starts without its credentials.
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

/// The runtime creates the mount's folder, and cannot in these volumes; in the kubelet's own volumes the kubelet
/// creates it.
#[rstest::rstest]
#[case::read_only_claim(&json!({"readOnly": true}), &json!({"persistentVolumeClaim": {"claimName": "c"}}), true)]
#[case::external_resource(&json!({}), &json!({"persistentVolumeClaim": {"claimName": "c"}}), false)]
#[case::claim_that_is_read_only(&json!({}), &json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}}), true)]
#[case::read_only_folder_of_the_pod(&json!({"readOnly": true}), &json!({"emptyDir": {}}), true)]
#[case::csi(&json!({}), &json!({"csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true}}), true)]
#[case::image(&json!({}), &json!({"image": {"reference": "i"}}), true)]
#[case::socket(&json!({}), &json!({"hostPath": {"path": "/run/x", "type": "Socket"}}), true)]
#[case::folder_of_the_node(&json!({}), &json!({"hostPath": {"path": "/run", "type": "Directory"}}), false)]
#[case::secret(&json!({"readOnly": true}), &json!({"secret": {"secretName": "s"}}), false)]
#[case::file_of_a_secret(&json!({"subPath": "key"}), &json!({"secret": {"secretName": "s"}}), true)]
#[case::file_of_a_config_map(&json!({"subPath": "key"}), &json!({"configMap": {"name": "s"}}), true)]
#[case::config_map(&json!({}), &json!({"configMap": {"name": "s"}}), false)]
fn a_binding_below_what_takes_no_folder_is_pointed_out(
    #[case] mount: &Value,
    #[case] source: &Value,
    #[case] is_blocked: bool,
) {
    let (mut mount, mut volume) = (mount.clone(), source.clone());
    (mount["name"], mount["mountPath"], volume["name"]) =
        (json!("own"), json!("/var/secrets/"), json!("own"));
    let (result, warnings) = injected(&mounting(&json!([mount]), &json!([volume])));
    let warning = "container app may not start: /var/secrets/ above its binding is read-only or a file; set bindery.dev/mount-root";
    let expected = if is_blocked { vec![warning] } else { vec![] };
    assert_eq!(warnings, expected);
    assert_eq!(injected(&result).1, expected, "the same is said of the pod that was bound");
}

#[test]
fn a_folder_between_a_binding_and_what_takes_none_is_enough() {
    let mounts = json!([
        {"name": "own", "mountPath": "/var", "readOnly": true}, {"name": "between", "mountPath": "/var/secrets"},
    ]);
    let volumes = json!([{"name": "own", "emptyDir": {}}, {"name": "between", "emptyDir": {}}]);
    assert_eq!(injected(&mounting(&mounts, &volumes)).1, [""; 0]);
}

#[test]
fn a_device_above_a_binding_is_a_file() {
    let mut pod =
        bound(json!([{"name": "app", "volumeDevices": [{"name": "d", "devicePath": "/var/secrets"}]}]));
    pod["spec"]["volumes"] = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]);
    let warnings = injected(&pod).1;
    assert!(warnings[0].contains("/var/secrets above its binding is read-only or a file"), "{warnings:?}");
}

/// P19: the kubelet refreshes whole volumes, not parts of them.
#[rstest::rstest]
#[case::secret(&json!({"secret": {"secretName": SECRET}}))]
#[case::projected(&json!({"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": SECRET}}]}}))]
fn a_part_of_a_bound_secret_is_never_refreshed(#[case] source: &Value) {
    let mut volume = source.clone();
    volume["name"] = json!("own");
    let mount = json!({"name": "own", "mountPath": "/etc/app/password", "subPath": "password"});
    let (result, warnings) = injected(&mounting(&json!([mount]), &json!([volume])));
    let warning = "container app: /etc/app/password, a subPath of mydb01-binding, never gets new values; mount the whole volume";
    assert_eq!(warnings, [warning]);
    assert_eq!(
        result["spec"]["containers"][0]["volumeMounts"][1]["mountPath"], FOLDER,
        "the whole is there as well"
    );
    let whole = json!({"name": "own", "mountPath": "/etc/app"});
    assert_eq!(injected(&mounting(&json!([whole]), &json!([volume]))).1, [""; 0]);
}

#[test]
fn what_an_earlier_patch_left_is_pointed_out() {
    let (mut pod, _) = injected(&bound(json!([{"name": "app"}, {"name": "web"}])));
    let still = |container: &str| {
        format!(
            "container {container} still mounts mydb01-binding, which it does not ask for; remove {VOLUME}"
        )
    };
    assert_eq!(injected(&pod).1, [""; 0]);
    pod["metadata"]["annotations"]["bindery.dev/containers"] = json!("web");
    assert_eq!(injected(&pod).1, [still("app")]);
    pod["metadata"]["annotations"] = json!({"bindery.dev/bind": "other"});
    assert_eq!(injected(&pod).1, [still("app"), still("web")]);
    for nothing in [json!({"bindery.dev/bind": ""}), json!({"example.com/a": "b"}), Value::Null] {
        pod["metadata"]["annotations"] = nothing;
        assert_eq!(injected(&pod).1, [still("app"), still("web")]);
    }
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container.as_object_mut().unwrap().remove("volumeMounts");
    }
    let left = format!("the volume {VOLUME} of mydb01-binding, which nothing asks for, is left; remove it");
    assert_eq!(injected(&pod).1, [left]);
}

/// Manifests that an older version patched have volumes with hashed names, which stay in use.
#[test]
fn a_volume_with_the_former_name_stays_in_use() {
    const FORMER: &str = "bindery-ad3894d3d5b3d5cb";
    let mount = json!({"name": FORMER, "mountPath": FOLDER, "readOnly": true});
    let volume = json!({"name": FORMER, "secret": {"secretName": SECRET}});
    let mut pod = mounting(&json!([mount]), &json!([volume]));
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "added"}));
    let (result, warnings) = injected(&pod);
    assert_eq!(result["spec"]["volumes"], json!([volume]));
    assert_eq!(result["spec"]["containers"][1]["volumeMounts"], json!([mount]));
    assert_eq!(warnings, [""; 0]);
    pod["metadata"]["annotations"]["bindery.dev/files"] = json!("k=mydb01-binding/k");
    assert!(refused(&pod).contains("gives other files"), "{}", refused(&pod));
    pod["metadata"]["annotations"].as_object_mut().unwrap().clear();
    let warnings = injected(&pod).1;
    assert_eq!(
        warnings,
        [format!("container app still mounts {SECRET}, which it does not ask for; remove {FORMER}")]
    );
}
