//! The laws that hold for the injection of every pod.

use bindery::injection::{InjectSettings, Injection, inject, workload::workloads};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::pods::{any_json, odd_pod, pod};

pub(crate) fn injection(pod: &Value) -> Injection {
    inject(pod, &InjectSettings::default()).unwrap()
}

pub(crate) fn injected(pod: &Value) -> Value {
    let mut pod = pod.clone();
    injection(&pod).apply(&mut pod).unwrap();
    pod
}

/// Removes everything that the injection would add. These pods have none of it themselves.
fn without_bindery(mut pod: Value, original: &Value) -> Value {
    let is_of_bindery = |entry: &Value| {
        let name = entry["name"].as_str().unwrap_or_default();
        let env_secret = entry["secretRef"]["name"].as_str().unwrap_or_default();
        name.starts_with("bindery-")
            || (env_secret.ends_with("-env") && entry.get("prefix").is_none())
            || entry["prefix"] == "ALL_"
            || (name.starts_with("VAR")
                && (entry["valueFrom"].get("configMapKeyRef").is_some()
                    || entry["valueFrom"]["secretKeyRef"]["name"].as_str().is_some_and(|of| of != "other")))
    };
    let mut strip = |pointer: String| {
        let Some((parent, field)) = pointer.rsplit_once('/') else { panic!("{pointer} is no pointer") };
        let Some(parent) = pod.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
        if let Some(list) = parent.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|entry| !is_of_bindery(entry));
            if list.is_empty() && original.pointer(&pointer).is_none() {
                parent.remove(field);
            }
        }
    };
    strip("/spec/volumes".to_owned());
    for kind in ["containers", "initContainers"] {
        for index in 0..8 {
            for list in ["env", "envFrom", "volumeMounts"] {
                strip(format!("/spec/{kind}/{index}/{list}"));
            }
        }
    }
    pod
}

/// The winning object in the container's `envFrom` if every Secret had the variable `X`: the last one.
fn winner(container: &Value) -> Option<&str> {
    let entries = container["envFrom"].as_array()?;
    let unprefixed = entries.iter().rfind(|entry| entry.get("prefix").is_none())?;
    unprefixed.pointer("/secretRef/name").or_else(|| unprefixed.pointer("/configMapRef/name"))?.as_str()
}

/// The name in `secret/NAME`, `configmap/NAME` or `NAME`.
fn without_prefix(written: &str) -> &str {
    written.rsplit('/').next().unwrap()
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"].get(name)?.as_str()
}

fn containers(pod: &Value) -> Vec<Value> {
    let list = |kind| pod["spec"][kind].as_array().cloned().unwrap_or_default();
    [list("initContainers"), list("containers")].concat()
}

fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let lists = pod["spec"].as_object_mut().unwrap().iter_mut();
    lists.filter(|(kind, _)| kind.ends_with("ontainers")).flat_map(|(_, list)| list.as_array_mut().unwrap())
}

/// The objects to which the annotations bind the container, the winner first.
fn bound(pod: &Value, container: &str) -> Vec<String> {
    let list =
        |name: &str| annotation(pod, name).map(|list| list.split(',').map(|entry| entry.trim().to_owned()));
    let is_chosen = match list("bindery.dev/containers") {
        Some(mut named) => named.any(|name| name == container),
        None => container != "istio-proxy",
    };
    let mut bound: Vec<String> =
        list(&format!("bindery.dev/bind.{container}")).into_iter().flatten().collect();
    for name in list("bindery.dev/bind").into_iter().flatten().filter(|_| is_chosen) {
        if !bound.contains(&name) {
            bound.push(name);
        }
    }
    bound
}

proptest! {
    /// P1: a second injection changes nothing.
    #[test]
    fn twice_is_once(pod in pod()) {
        prop_assert!(injection(&injected(&pod)).is_empty());
    }

    /// P1: another webhook may add any container at any position.
    #[test]
    fn a_container_that_is_added_later_is_bound_and_the_rest_stays(
        mut pod in pod(),
        place in any::<prop::sample::Index>(),
    ) {
        pod["metadata"]["annotations"].as_object_mut().unwrap().remove("bindery.dev/containers");
        let add = |pod: &mut Value| {
            let containers = pod["spec"]["containers"].as_array_mut().unwrap();
            containers.insert(place.index(containers.len() + 1), json!({"name": "added", "image": "x"}));
        };
        let mut before = pod.clone();
        add(&mut before);
        let mut after = injected(&pod);
        add(&mut after);
        // The order of volumes may differ if the first container has its own mount at a path.
        let (mut before, mut after) = (injected(&before), injected(&after));
        for pod in [&mut before, &mut after] {
            if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
                volumes.sort_by_key(ToString::to_string);
            }
        }
        prop_assert_eq!(before, after);
    }

    #[test]
    fn nothing_that_the_user_set_is_changed(pod in pod()) {
        prop_assert_eq!(without_bindery(injected(&pod), &pod), pod);
    }

    /// P20: pods contain references, never values; P19: a subPath would never be refreshed; P27: an added container may
    /// never end; P7: annotations are unchanged, so no name has to be escaped.
    #[test]
    fn only_references_are_added_and_only_in_four_lists(pod in pod()) {
        for operation in injection(&pod).patch.iter() {
            let json_patch::PatchOperation::Add(add) = operation else { panic!("{operation} does not add") };
            let path = add.path.as_str();
            let list = path.trim_start_matches("/spec/").trim_start_matches("initContainers/").trim_start_matches("containers/");
            let list = list.trim_start_matches(|c: char| c.is_ascii_digit() || c == '/').split('/').next().unwrap();
            prop_assert!(["volumes", "volumeMounts", "env", "envFrom"].contains(&list), "{}", path);
            let entries = add.value.as_array().cloned().unwrap_or_else(|| vec![add.value.clone()]);
            for entry in entries {
                let mut fields: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
                fields.retain(|field| *field != "prefix");
                let expected: &[&[&str]] = match list {
                    "volumes" => &[&["name", "secret"], &["configMap", "name"]],
                    "volumeMounts" => &[&["mountPath", "name", "readOnly"]],
                    "env" => &[&["name", "valueFrom"]],
                    _ => &[&["secretRef"], &["configMapRef"]],
                };
                prop_assert!(expected.contains(&&fields[..]), "{:?} in {}", fields, list);
            }
        }
    }

    /// The pod can start without its optional objects, and waits for all others.
    #[test]
    fn what_is_added_is_optional_just_as_the_pod_asks(pod in pod()) {
        let is_optional = |bound: &str| match annotation(&pod, "bindery.dev/optional") {
            None | Some("false") => false,
            Some("true") => true,
            Some(names) => names.split(',').any(|name| without_prefix(name) == bound),
        };
        for operation in injection(&pod).patch.iter() {
            let json_patch::PatchOperation::Add(add) = operation else { panic!("{operation} does not add") };
            for entry in add.value.as_array().cloned().unwrap_or_else(|| vec![add.value.clone()]) {
                for path in [
                    "/secret", "/secretRef", "/valueFrom/secretKeyRef",
                    "/configMap", "/configMapRef", "/valueFrom/configMapKeyRef",
                ] {
                    let Some(reference) = entry.pointer(path) else { continue };
                    let name = reference["secretName"].as_str().or(reference["name"].as_str()).unwrap();
                    let secret = if entry.get("prefix").is_none() { name.trim_end_matches("-env") } else { name };
                    prop_assert_eq!(reference.get("optional").is_some(), is_optional(secret), "{}", entry);
                }
            }
        }
    }

    /// P18: also the security contexts are unchanged.
    #[test]
    fn no_container_is_added(pod in pod()) {
        let names = |pod: &Value| -> Vec<Value> { containers(pod).iter().map(|it| it["name"].clone()).collect() };
        prop_assert_eq!(names(&injected(&pod)), names(&pod));
    }

    /// Kubernetes would refuse other pods.
    #[test]
    fn no_volume_and_no_path_is_there_twice_and_every_mount_has_its_volume(mut pod in pod()) {
        // The pod's own lists may violate this; bindery's additions must not.
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            container.as_object_mut().unwrap().remove("volumeMounts");
        }
        let init = pod["spec"].as_object_mut().unwrap().remove("initContainers");
        let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove("bindery.dev/containers");
        for container in init.as_ref().and_then(Value::as_array).into_iter().flatten() {
            annotations.remove(&format!("bindery.dev/bind.{}", container["name"].as_str().unwrap()));
        }
        pod["spec"].as_object_mut().unwrap().remove("volumes");
        let result = injected(&pod);
        let volumes: Vec<&Value> = result["spec"]["volumes"].as_array().into_iter().flatten().map(|v| &v["name"]).collect();
        for (index, name) in volumes.iter().enumerate() {
            prop_assert!(!volumes[..index].contains(name), "{} is there twice", name);
        }
        for container in result["spec"]["containers"].as_array().unwrap() {
            let mounts: Vec<&Value> = container["volumeMounts"].as_array().into_iter().flatten().collect();
            for (index, mount) in mounts.iter().enumerate() {
                prop_assert!(volumes.contains(&&mount["name"]), "{} has no volume", mount);
                prop_assert_eq!(&mount["readOnly"], true);
                prop_assert!(mounts[..index].iter().all(|other| other["mountPath"] != mount["mountPath"]));
            }
        }
    }

    #[test]
    fn the_containers_own_variables_win_and_then_the_first_binding(pod in pod()) {
        let result = injected(&pod);
        for (before, after) in containers(&pod).iter().zip(&containers(&result)) {
            let bound = bound(&pod, before["name"].as_str().unwrap());
            let first = bound.iter().find(|name| !name.contains('/')).map(|name| format!("{name}-env"));
            match winner(before) {
                Some(own) => prop_assert_eq!(winner(after), Some(own)),
                None if annotation(&pod, "bindery.dev/as") == Some("files") => prop_assert_eq!(winner(after), None),
                None => prop_assert_eq!(winner(after), first.as_deref()),
            }
        }
    }

    #[test]
    fn every_container_gets_the_files_of_what_it_is_bound_to_and_no_others(mut pod in pod()) {
        for container in containers_mut(&mut pod) {
            container.as_object_mut().unwrap().remove("volumeMounts");
        }
        let result = injected(&pod);
        let files = annotation(&pod, "bindery.dev/files").unwrap_or_default();
        let has_all = annotation(&pod, "bindery.dev/as") != Some("env");
        for container in containers(&result) {
            let mut expected: Vec<String> = bound(&pod, container["name"].as_str().unwrap())
                .into_iter()
                .filter(|name| has_all || files.contains(&format!("={name}/")))
                .map(|name| without_prefix(&name).to_owned())
                .collect();
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            let folder = |mount: &Value| {
                let path = mount["mountPath"].as_str().unwrap().to_owned();
                path.rsplit(['/', '\\']).next().unwrap().to_owned()
            };
            let mut found: Vec<String> = mounts.map(folder).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_not_selected_is_not_mounted(pod in pod()) {
        let result = injected(&pod);
        let files = annotation(&pod, "bindery.dev/files").unwrap_or_default();
        for volume in result["spec"]["volumes"].as_array().into_iter().flatten() {
            if !volume["name"].as_str().unwrap().starts_with("bindery-") {
                continue;
            }
            let (prefix, source) = match volume.get("secret") {
                Some(secret) => ("secret/", secret),
                None => ("configmap/", &volume["configMap"]),
            };
            let name = source["secretName"].as_str().or(source["name"].as_str()).unwrap();
            let is_selected =
                [format!("={name}/"), format!("={prefix}{name}/")].iter().any(|source| files.contains(source));
            let items = json!([
                {"key": "tls.key", "path": "client.key", "mode": 0o400}, {"key": "ca", "path": "ca/root"}
            ]);
            prop_assert_eq!(source.get("items"), is_selected.then_some(&items));
        }
    }

    #[test]
    fn every_workload_kind_gets_the_same_template(pod in pod()) {
        let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
        let in_spec = json!({"template": template});
        let expected = {
            let pod = injected(&pod);
            json!({"metadata": pod["metadata"], "spec": pod["spec"]})
        };
        for (api_version, kind, field, value) in [
            ("apps/v1", "Deployment", "spec", in_spec.clone()),
            ("apps/v1", "StatefulSet", "spec", in_spec.clone()),
            ("apps/v1", "DaemonSet", "spec", in_spec.clone()),
            ("apps/v1", "ReplicaSet", "spec", in_spec.clone()),
            ("v1", "ReplicationController", "spec", in_spec.clone()),
            ("batch/v1", "Job", "spec", in_spec.clone()),
            ("batch/v1", "CronJob", "spec", json!({"jobTemplate": {"spec": in_spec}})),
            ("v1", "PodTemplate", "template", template.clone()),
            ("v1", "List", "items", json!([pod, pod])),
        ] {
            let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, field: value});
            let found = workloads(&manifest);
            prop_assert_eq!(found.len(), if kind == "List" { 2 } else { 1 });
            for workload in found {
                let result = injected(workload.template);
                prop_assert_eq!(&result["metadata"], &expected["metadata"]);
                prop_assert_eq!(&result["spec"], &expected["spec"]);
            }
        }
    }

    /// If a pod can be injected, the patch applies, and a second injection adds nothing.
    #[test]
    fn an_odd_pod_is_injected_or_refused_and_never_panics(pod in odd_pod()) {
        if let Ok(injection) = inject(&pod, &InjectSettings::default()) {
            let mut result = pod;
            injection.apply(&mut result).unwrap();
            prop_assert!(self::injection(&result).is_empty());
        }
    }

    #[test]
    fn arbitrary_json_never_panics(value in any_json()) {
        let _ = inject(&value, &InjectSettings::default());
        for workload in workloads(&value) {
            let _ = inject(workload.template, &InjectSettings::default());
        }
    }
}
