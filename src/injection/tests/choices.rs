//! The choices of a pod: which containers get which objects, under which names and at which paths.

use super::*;

fn mounts(container: &Value) -> Vec<&str> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts.map(|mount| mount["mountPath"].as_str().unwrap()).collect()
}

#[test]
fn a_container_gets_its_own_bindings_before_those_of_all() {
    let annotations = json!({
        "bindery.dev/bind": "all",
        "bindery.dev/bind.web": "own, secret/s",
        "bindery.dev/env": "A=own/k,B=all/k"
    });
    let (result, warnings) = injected(&pod(annotations, json!([{"name": "app"}, {"name": "web"}])));
    let [app, web] = [0, 1].map(|index| &result["spec"]["containers"][index]);
    assert_eq!(app["envFrom"], env_from(&["all-env"]));
    assert_eq!(web["envFrom"], env_from(&["all-env", "own-env"]), "the last one wins");
    assert_eq!(mounts(app), ["/var/secrets/all"]);
    assert_eq!(mounts(web), ["/var/secrets/all", "/var/secrets/own", "/var/secrets/s"]);
    assert_eq!(app["env"], json!([variable("B", "all", "k")]), "what is not bound gives no variable");
    assert_eq!(web["env"], json!([variable("A", "own", "k"), variable("B", "all", "k")]));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn without_bindings_of_all_the_other_containers_stay_as_they_are() {
    for annotations in [
        json!({"bindery.dev/bind.web": "own"}),
        json!({"bindery.dev/bind": "", "bindery.dev/bind.web": "own"}),
    ] {
        let (result, warnings) = injected(&pod(annotations, json!([{"name": "app"}, {"name": "web"}])));
        assert_eq!(result["spec"]["containers"][0], json!({"name": "app"}));
        assert_eq!(result["spec"]["containers"][1]["envFrom"], env_from(&["own-env"]));
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn a_container_that_is_named_is_bound_whether_it_is_chosen_or_not() {
    let annotations = json!({
        "bindery.dev/bind": "all", "bindery.dev/containers": "app", "bindery.dev/bind.istio-proxy": "own"
    });
    let containers = json!([{"name": "app"}, {"name": "web"}, {"name": "istio-proxy"}]);
    let (result, _) = injected(&pod(annotations, containers));
    assert_eq!(result["spec"]["containers"][1], json!({"name": "web"}));
    assert_eq!(mounts(&result["spec"]["containers"][2]), ["/var/secrets/own"]);
}

#[test]
fn bindings_of_an_unknown_container_are_refused_with_the_nearest_name() {
    let annotations = json!({"bindery.dev/bind": "b", "bindery.dev/bind.migrat": "c"});
    let mut pod = pod(annotations, json!([{"name": "app"}]));
    pod["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    pod["spec"]["ephemeralContainers"] = json!([{"name": "migrat"}]);
    assert_eq!(
        refused(&pod),
        "metadata.annotations[bindery.dev/bind.migrat]: the pod has no container `migrat`; did you mean `migrate`? its \
         containers are: migrate, app"
    );
}

#[test]
fn a_native_sidecar_is_bound_as_any_other_container_unless_it_is_excluded() {
    let mut pod = bound(json!([{"name": "app"}]));
    pod["spec"]["initContainers"] = json!([
        {"name": "tunnel", "restartPolicy": "Always"},
        {"name": "istio-proxy", "restartPolicy": "Always"}
    ]);
    let (result, _) = injected(&pod);
    let sidecars = &result["spec"]["initContainers"];
    assert_eq!(sidecars[0]["envFrom"], env_from(&["mydb01-binding-env"]));
    assert_eq!(mounts(&sidecars[0]), ["/var/secrets/mydb01-binding"]);
    assert_eq!(sidecars[1], pod["spec"]["initContainers"][1]);
}

/// In `envFrom` the last entry wins.
#[test]
fn all_keys_with_a_prefix_win_over_bindings_and_lose_to_the_containers_own() {
    let annotations =
        json!({"bindery.dev/bind": "a,secret/s", "bindery.dev/env": "DB_*=a/*,*=secret/s/*,X=a/x"});
    let own = json!({"configMapRef": {"name": "own"}});
    let pod = pod(annotations, json!([{"name": "x", "envFrom": [own]}]));
    let (result, warnings) = injected(&pod);
    let expected = json!([
        {"secretRef": {"name": "a-env"}}, {"secretRef": {"name": "s"}}, {"prefix": "DB_", "secretRef": {"name": "a"}}, own
    ]);
    assert_eq!(result["spec"]["containers"][0]["envFrom"], expected);
    assert_eq!(result["spec"]["containers"][0]["env"], json!([variable("X", "a", "x")]));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn all_keys_are_set_whatever_as_says() {
    let annotations =
        json!({"bindery.dev/bind": "a", "bindery.dev/as": "files", "bindery.dev/env": "DB_*=a/*"});
    let (result, _) = injected(&pod(annotations, json!([{"name": "x"}])));
    let expected = json!([{"prefix": "DB_", "secretRef": {"name": "a"}}]);
    assert_eq!(result["spec"]["containers"][0]["envFrom"], expected);
}

fn with_files(files: &str) -> Value {
    pod(json!({"bindery.dev/bind": "a,b", "bindery.dev/files": files}), json!([{"name": "x"}]))
}

#[test]
fn only_the_selected_files_of_a_binding_are_mounted() {
    let (result, _) = injected(&with_files("client.key=a/tls.key:0400, ca/root.crt=a/ca.crt"));
    let volumes = &result["spec"]["volumes"];
    let items = json!([
        {"key": "tls.key", "path": "client.key", "mode": 0o400}, {"key": "ca.crt", "path": "ca/root.crt"}
    ]);
    assert_eq!(volumes[0]["secret"], json!({"secretName": "a", "items": items}));
    assert_eq!(volumes[1]["secret"], json!({"secretName": "b"}), "nothing is selected of it");
}

#[test]
fn selected_files_are_mounted_whatever_as_says_and_nothing_else() {
    let mut pod = with_files("k=a/k");
    pod["metadata"]["annotations"]["bindery.dev/as"] = json!("env");
    let (result, _) = injected(&pod);
    assert_eq!(mounts(&result["spec"]["containers"][0]), ["/var/secrets/a"]);
    assert_eq!(result["spec"]["volumes"].as_array().unwrap().len(), 1);
}

/// P1: Kubernetes may return the items in another notation.
#[test]
fn selected_files_that_are_there_are_known_again() {
    let (mut stored, _) = injected(&with_files("k=a/k,l=a/l:0440"));
    stored["spec"]["volumes"][0]["secret"] = json!({
        "secretName": "a",
        "defaultMode": 420,
        "items": [{"key": "l", "path": "l", "mode": 0o440}, {"key": "k", "path": "k", "mode": null}]
    });
    assert!(inject(&stored, &InjectSettings::default()).unwrap().is_empty());
}

#[test]
fn a_volume_that_gives_other_files_is_refused() {
    let (whole, _) = injected(&pod(json!({"bindery.dev/bind": "a"}), json!([{"name": "x"}])));
    let (selected, _) = injected(&pod(
        json!({"bindery.dev/bind": "a", "bindery.dev/files": "k=a/k:0400"}),
        json!([{"name": "x"}]),
    ));
    for (pod, files) in [
        (&whole, Some("k=a/k")),
        (&selected, None),
        (&selected, Some("k=a/k")),
        (&selected, Some("k=a/k:0400,l=a/l")),
    ] {
        let mut pod = pod.clone();
        let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
        match files {
            Some(files) => annotations.insert("bindery.dev/files".to_owned(), json!(files)),
            None => annotations.remove("bindery.dev/files"),
        };
        assert_eq!(
            refused(&pod),
            "spec.volumes[bindery-secret-a]: gives other files of the Secret `a` than bindery.dev/files asks for; \
             remove the volume and its mounts, and bindery adds them anew"
        );
    }
}

#[test]
fn a_windows_pod_may_have_its_files_on_a_drive() {
    let annotations = json!({"bindery.dev/bind": "b", "bindery.dev/mount-root": r"C:\secrets"});
    for (field, value) in
        [("os", json!({"name": "windows"})), ("nodeSelector", json!({"kubernetes.io/os": "windows"}))]
    {
        let mut pod = pod(annotations.clone(), json!([{"name": "x"}]));
        assert_eq!(
            refused(&pod),
            "metadata.annotations[bindery.dev/mount-root]: `C:\\\\secrets` is a folder of Windows, but the pod does not say \
             that it is for Windows; set its spec.os.name to windows, or write a folder such as /var/secrets"
        );
        pod["spec"][field] = value;
        assert_eq!(mounts(&injected(&pod).0["spec"]["containers"][0]), [r"C:\secrets\b"]);
    }
}

/// The kubelet puts `/var/secrets` on drive C.
#[test]
fn a_mount_of_the_users_own_is_seen_under_each_name_that_windows_has_for_it() {
    let own = json!([{"name": "own", "mountPath": r"c:\VAR\secrets\mydb01-binding"}]);
    let mut pod = bound(json!([{"name": "a", "volumeMounts": own}]));
    pod["spec"]["os"] = json!({"name": "windows"});
    let (result, warnings) = injected(&pod);
    assert_eq!(result["spec"]["containers"][0]["volumeMounts"], own);
    assert_eq!(warnings.len(), 1);
}

/// Otherwise a typo would silently give every container what only one was meant to get.
#[test]
fn an_annotation_that_is_misspelt_is_pointed_out() {
    let annotations = json!({
        "bindery.dev/bind": "b",
        "bindery.dev/container": "app",
        "bindery.dev/mountroot": "/x",
        "bindery.dev/owner": "team",
        "bindery.development/env": "A=b/k",
        "bindery.dev/bind.app": ""
    });
    let (_, warnings) = injected(&pod(annotations, json!([{"name": "app"}])));
    assert_eq!(
        warnings,
        [
            "bindery.dev/container means nothing to bindery; did you mean bindery.dev/containers?",
            "bindery.dev/mountroot means nothing to bindery; did you mean bindery.dev/mount-root?"
        ]
    );
    let silent = pod(json!({"bindery.dev/binding": "b"}), json!([{"name": "app"}]));
    let (result, warnings) = injected(&silent);
    assert_eq!(result, silent);
    assert_eq!(warnings, ["bindery.dev/binding means nothing to bindery; did you mean bindery.dev/bind?"]);
}

#[test]
fn a_pod_starts_without_what_is_optional() {
    let annotations = |optional: &str| {
        json!({
            "bindery.dev/bind": "db, secret/smtp", "bindery.dev/env": "HOST=db/host, *=smtp/*", "bindery.dev/optional": optional
        })
    };
    let spec =
        |optional: &str| injected(&pod(annotations(optional), json!([{"name": "app"}]))).0["spec"].take();
    let all = spec("true");
    assert_eq!(
        all["containers"][0]["envFrom"],
        json!([{"secretRef": {"name": "db-env", "optional": true}}, {"secretRef": {"name": "smtp", "optional": true}}])
    );
    assert_eq!(
        all["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"],
        json!({"name": "db", "key": "host", "optional": true})
    );
    assert_eq!(all["volumes"][0]["secret"], json!({"secretName": "db", "optional": true}));
    assert_eq!(all["volumes"][1]["secret"], json!({"secretName": "smtp", "optional": true}));
    assert_eq!(spec("db, secret/smtp"), all);
    assert_eq!(spec("smtp,db"), all);
    let one = spec("db");
    assert_eq!((&one["volumes"][0], one["volumes"][1]["secret"].get("optional")), (&all["volumes"][0], None));
    assert_eq!(one["containers"][0]["envFrom"][1], json!({"secretRef": {"name": "smtp"}}));
    let none = spec("false");
    assert!(!none.to_string().contains("optional"), "{none}");
}

#[test]
fn only_what_is_not_optional_holds_the_pod_back() {
    let asking = |optional: &str| {
        pod(
            json!({"bindery.dev/bind": "db, queue", "bindery.dev/optional": optional}),
            json!([{"name": "app"}]),
        )
    };
    for (optional, needed) in [("false", &["db", "queue"][..]), ("db", &["queue"]), ("true", &[])] {
        assert_eq!(inject(&asking(optional), &InjectSettings::default()).unwrap().bindings, needed);
    }
}

#[test]
fn what_is_optional_otherwise_than_the_pod_asks_is_pointed_out() {
    let annotations = |optional: &str| json!({"bindery.dev/bind": "db", "bindery.dev/optional": optional});
    let (mut bound, _) = injected(&pod(annotations("true"), json!([{"name": "app"}])));
    assert_eq!(injected(&bound), (bound.clone(), vec![]), "twice is once");
    bound["metadata"]["annotations"] = annotations("false");
    let expected = ["db", "db-env"].map(|secret| {
        format!("container app: its own reference to {secret} is optional, so it does not wait for it")
    });
    assert_eq!(injected(&bound).1, expected);
    let (mut bound, _) = injected(&pod(annotations("false"), json!([{"name": "app"}])));
    bound["metadata"]["annotations"] = annotations("db");
    let expected = ["db", "db-env"].map(|secret| {
        format!("container app: its own reference to {secret} is not optional, so it waits for it")
    });
    assert_eq!(injected(&bound).1, expected);
}

#[test]
fn only_what_is_bound_can_be_optional() {
    for (optional, name) in [("queue", "queue"), ("secret/db", "secret/db"), ("db,TRUE", "TRUE")] {
        let error = refused(&pod(
            json!({"bindery.dev/bind": "db", "bindery.dev/optional": optional}),
            json!([{"name": "app"}]),
        ));
        assert_eq!(
            error,
            format!(
                "metadata.annotations[bindery.dev/optional]: `{name}` is not bound, so it cannot be optional; write names that \
             bindery.dev/bind has, separated by commas, or true for all"
            )
        );
    }
    let error = refused(&pod(
        json!({"bindery.dev/bind": "db", "bindery.dev/optional": ""}),
        json!([{"name": "app"}]),
    ));
    assert!(error.ends_with("is empty; fill it in or leave it out"), "{error}");
}

/// Each container has the name that its injector gives it.
#[test]
fn sidecars_of_others_get_nothing_unless_they_are_named() {
    let sidecars = [
        "queue-proxy",
        "daprd",
        "consul-dataplane",
        "consul-dataplane-admin",
        "consul-connect-inject-init",
        "envoy-sidecar",
        "kuma-sidecar",
        "kuma-init",
        "kuma-validation",
        "cloud-sql-proxy",
        "cloudsql-proxy",
        "csql-shop-proxy",
        "otc-container",
        "opentelemetry-auto-instrumentation",
        "opentelemetry-auto-instrumentation-java",
        "istio-proxy",
        "linkerd-proxy",
        "vault-agent",
    ];
    let mut containers: Vec<Value> = sidecars.iter().map(|name| json!({"name": name})).collect();
    containers.extend(["app", "daprd-client", "my-queue-proxy"].map(|name| json!({"name": name})));
    let (result, _) = injected(&bound(json!(containers)));
    let is_bound = |container: &&Value| container.get("envFrom").is_some();
    let bound: Vec<&str> = result["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_bound)
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(bound, ["app", "daprd-client", "my-queue-proxy"]);
}
