//! `configmap/NAME` works like `secret/NAME`.

use super::*;

fn asking(annotations: &Value) -> Value {
    let mut pod = pod(json!({"bindery.dev/bind": "configmap/app"}), json!([{"name": "x"}]));
    json_patch::merge(&mut pod["metadata"]["annotations"], annotations);
    pod
}

fn volume_of(name: &str) -> String {
    let (result, _) = injected(&pod(json!({"bindery.dev/bind": name}), json!([{"name": "x"}])));
    result["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_config_map_gives_files_and_named_variables_only() {
    let pod = asking(&json!({"bindery.dev/env": "LEVEL=configmap/app/log.level,APP_*=app/*"}));
    let (result, warnings) = injected(&pod);
    let volume = volume_of("configmap/app");
    let container = &result["spec"]["containers"][0];
    assert_eq!(result["spec"]["volumes"], json!([{"name": volume, "configMap": {"name": "app"}}]));
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": volume, "mountPath": "/var/secrets/app", "readOnly": true}])
    );
    let reference = json!({"configMapKeyRef": {"name": "app", "key": "log.level"}});
    assert_eq!(container["env"], json!([{"name": "LEVEL", "valueFrom": reference}]));
    assert_eq!(container["envFrom"], json!([{"prefix": "APP_", "configMapRef": {"name": "app"}}]));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(injected(&result), (result.clone(), vec![]), "twice is once");
    assert!(inject(&pod, &InjectSettings::default()).unwrap().bindings.is_empty(), "no gate holds it back");
}

#[test]
fn single_files_of_a_config_map_are_selected() {
    let pod = asking(&json!({"bindery.dev/files": "app.yaml=app/config:0440", "bindery.dev/as": "env"}));
    let (mut result, _) = injected(&pod);
    let items = json!([{"key": "config", "path": "app.yaml", "mode": 0o440}]);
    assert_eq!(result["spec"]["volumes"][0]["configMap"], json!({"name": "app", "items": items}));
    result["spec"]["volumes"][0]["configMap"]["items"][0]["key"] = json!("other");
    let error = refused(&result);
    assert!(
        error.contains("gives other files of the ConfigMap `app` than bindery.dev/files asks"),
        "{error}"
    );
}

#[test]
fn a_pod_starts_without_an_optional_config_map() {
    let pod = asking(&json!({"bindery.dev/env": "A=app/a,*=app/*", "bindery.dev/optional": "configmap/app"}));
    let (mut result, _) = injected(&pod);
    let spec = &result["spec"];
    let optional = json!({"name": "app", "optional": true});
    assert_eq!(spec["volumes"][0]["configMap"], optional);
    assert_eq!(spec["containers"][0]["envFrom"], json!([{"configMapRef": optional}]));
    assert_eq!(spec["containers"][0]["env"][0]["valueFrom"]["configMapKeyRef"]["optional"], true);
    result["metadata"]["annotations"]["bindery.dev/optional"] = json!("false");
    let warning =
        "container x: its own reference to configmap/app is optional, so it does not wait for it".to_owned();
    assert_eq!(injected(&result).1, [warning]);
}

#[test]
fn a_secret_and_a_config_map_of_one_name_have_different_volumes_and_keep_apart() {
    assert_ne!(volume_of("secret/app"), volume_of("configmap/app"));
    let both = json!({"bindery.dev/bind": "secret/app,configmap/app"});
    assert_eq!(
        refused(&asking(&both)),
        "metadata.annotations[bindery.dev/bind]: `secret/app` and `configmap/app` would give container x their files in one \
         folder, /var/secrets/app; rename one of them, bind them to different containers with bindery.dev/bind.CONTAINER, or \
         take variables only with bindery.dev/as: env"
    );
    let mut own = json!({"bindery.dev/bind": "app", "bindery.dev/bind.x": "configmap/app"});
    assert!(
        refused(&asking(&own))
            .starts_with("metadata.annotations[bindery.dev/bind.x]: `configmap/app` and `app`")
    );

    let mut variables = both;
    variables["bindery.dev/as"] = json!("env");
    variables["bindery.dev/env"] = json!("A=secret/app/k,B=configmap/app/k");
    let (result, _) = injected(&asking(&variables));
    assert_eq!(result["spec"].get("volumes"), None);
    assert_eq!(result["spec"]["containers"][0]["env"][0], variable("A", "app", "k"));
    let of_config_map = json!({"configMapKeyRef": {"name": "app", "key": "k"}});
    assert_eq!(result["spec"]["containers"][0]["env"][1]["valueFrom"], of_config_map);

    own["bindery.dev/bind"] = Value::Null;
    own["bindery.dev/bind.y"] = json!("app");
    let mut apart = asking(&own);
    apart["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "y"}));
    let (result, warnings) = injected(&apart);
    assert_eq!(result["spec"]["volumes"].as_array().unwrap().len(), 2);
    let mounts = [0, 1].map(|index| &result["spec"]["containers"][index]["volumeMounts"]);
    assert_eq!(mounts.map(|mounts| mounts.as_array().unwrap().len()), [1, 1]);
    assert_ne!(mounts[0][0]["name"], mounts[1][0]["name"]);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(injected(&result), (result.clone(), vec![]), "twice is once");
}

/// The user's own mount of the ConfigMap is recognized; a Secret of the same name is another object.
#[test]
fn a_config_map_that_the_pod_mounts_itself_is_not_mounted_again() {
    let mut pod = asking(&json!({}));
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": "/var/secrets/app"}]);
    pod["spec"]["volumes"] = json!([{"name": "own", "configMap": {"name": "app"}}]);
    assert_eq!(injected(&pod), (pod.clone(), vec![]));
    pod["spec"]["volumes"] = json!([{"name": "own", "secret": {"secretName": "app"}}]);
    let warning =
        "container x: /var/secrets/app is mounted by the pod itself; its binding is not mounted".to_owned();
    assert_eq!(injected(&pod).1, [warning]);
}

#[test]
fn a_part_of_a_config_map_and_what_an_earlier_patch_left_are_pointed_out() {
    let mut pod = asking(&json!({}));
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "own", "mountPath": "/etc/app.yaml", "subPath": "app.yaml"}]);
    pod["spec"]["volumes"] = json!([{"name": "own", "configMap": {"name": "app"}}]);
    let warning = "container x: /etc/app.yaml, a subPath of configmap/app, never gets new values; mount the whole volume";
    let (mut result, warnings) = injected(&pod);
    assert_eq!(warnings, [warning]);
    result["metadata"]["annotations"]["bindery.dev/bind"] = json!("secret/app");
    let warnings = injected(&result).1;
    let left = format!(
        "container x still mounts configmap/app, which it does not ask for; remove {}",
        volume_of("configmap/app")
    );
    assert!(warnings.contains(&left), "{warnings:?}");
}
