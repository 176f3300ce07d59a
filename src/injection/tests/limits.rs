//! Pods that are designed to keep the webhook busy. The API server calls the webhook before it validates a pod, so
//! names may have any length and lists any size, as long as the request has at most 3 MiB.

use super::*;

fn many(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

fn containers(count: usize) -> Value {
    (0..count).map(|number| json!({"name": format!("c{number}")})).collect()
}

#[test]
fn an_annotation_may_have_500_entries() {
    let bindings = |count| many(count, |number| format!("b{number}"));
    let variables = |count| many(count, |number| format!("V{number}=b/k"));
    let prefixes = |count| many(count, |number| format!("P{number}*=b/*"));
    let files = |count| many(count, |number| format!("f{number}=b/k"));
    let names = |count| many(count, |number| format!("c{number}"));
    for (annotation, list) in [
        ("bind", &bindings as &dyn Fn(usize) -> String),
        ("env", &variables),
        ("env", &prefixes),
        ("files", &files),
        ("containers", &names),
    ] {
        let with = |count: usize| {
            let mut annotations = json!({"bindery.dev/bind": "b"});
            annotations[format!("bindery.dev/{annotation}")] = json!(list(count));
            let count = if annotation == "containers" { count } else { 1 };
            inject(&pod(annotations, containers(count)), &InjectSettings::default())
        };
        assert!(!with(500).unwrap().is_empty());
        assert_eq!(
            with(501).unwrap_err().to_string(),
            format!(
                "metadata.annotations[bindery.dev/{annotation}]: has more than 500 entries; leave some out"
            )
        );
    }
}

#[test]
fn all_bindings_of_single_containers_together_are_limited() {
    let mut annotations = json!({"bindery.dev/bind": "b"});
    for number in 0..500 {
        annotations[format!("bindery.dev/bind.c{number:03}")] = json!(format!("b{number}"));
    }
    assert_eq!(
        refused(&pod(annotations, containers(500))),
        "metadata.annotations[bindery.dev/bind.c499]: has more than 500 entries; leave some out"
    );
}

#[test]
fn a_pod_that_would_take_too_long_is_refused() {
    let bind = many(500, |number| format!("b{number}"));
    let expected = "metadata.annotations[bindery.dev/bind]: asks for more than a pod can hold: its containers, their lists \
                    and what is bound to them are too many; bind less, or name the containers that need it in \
                    bindery.dev/containers";
    let mounts: Value = (0..10_001).map(|_| json!({"name": "a", "mountPath": "/x"})).collect();
    let mut crowded =
        pod(json!({"bindery.dev/bind": bind}), json!([{"name": "app", "volumeMounts": mounts}]));
    assert_eq!(refused(&crowded), expected);
    crowded["metadata"]["annotations"]["bindery.dev/bind"] = json!("b");
    assert!(inject(&crowded, &InjectSettings::default()).is_ok(), "one binding among many mounts");
    crowded["metadata"]["annotations"]["bindery.dev/bind"] = json!(bind);
    crowded["spec"] = json!({"containers": [{"name": "app"}], "volumes": mounts});
    assert_eq!(refused(&crowded), expected);

    let mut many = pod(json!({"bindery.dev/bind": bind}), containers(21));
    assert_eq!(refused(&many), expected);
    many["metadata"]["annotations"]["bindery.dev/containers"] = json!("c7");
    let injection = inject(&many, &InjectSettings::default()).unwrap();
    assert_eq!(injection.patch.len(), 3, "volumes, mounts, and variables");
}

/// Finding the most similar name takes time and memory proportional to the product of both lengths.
#[test]
fn an_error_about_a_long_name_is_short() {
    let (asked, present) = ("a".repeat(1 << 20), "b".repeat(1 << 20));
    for annotations in [
        json!({"bindery.dev/bind": "b", "bindery.dev/containers": asked}),
        json!({"bindery.dev/bind": "b", format!("bindery.dev/bind.{asked}"): "c"}),
    ] {
        let problem =
            inject(&pod(annotations, json!([{"name": present}])), &InjectSettings::default()).unwrap_err();
        let problem = problem.problem().to_string();
        assert!(
            problem.starts_with("the pod has no container `aaa") && problem.len() < 500,
            "{}",
            problem.len()
        );
    }
}

#[test]
fn a_long_list_of_containers_is_cut() {
    let annotations = json!({"bindery.dev/bind": "b", "bindery.dev/containers": "nope"});
    let error = refused(&pod(annotations, containers(1000)));
    assert!(error.ends_with("c18, c19, and 980 more"), "{error}");
}

/// A large but realistic pod, of 40 containers and a megabyte.
#[test]
fn large_pods_that_fit_into_the_store_are_bound() {
    let env: Value =
        (0..250).map(|number| json!({"name": format!("V{number}"), "value": "x".repeat(64)})).collect();
    let containers: Value =
        (0..40).map(|number| json!({"name": format!("c{number}"), "env": env, "envFrom": []})).collect();
    let annotations = json!({
        "bindery.dev/bind": many(20, |number| format!("b{number}")),
        "bindery.dev/env": many(50, |number| format!("N{number}=b1/k{number}"))
    });
    let pod = pod(annotations, containers);
    assert!(pod.to_string().len() > 900_000);
    let (result, warnings) = injected(&pod);
    assert_eq!(result["spec"]["containers"][39]["envFrom"].as_array().unwrap().len(), 20);
    assert_eq!(result["spec"]["containers"][39]["env"].as_array().unwrap().len(), 300);
    assert_eq!(warnings, [""; 0]);
}
