//! Manifests together with their Namespaces.

use super::*;

const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {bindery.dev/inject: enabled}
  annotations: {bindery.dev/bind: mydb01-binding}
";

/// [`DEPLOYMENT`] without its annotation.
fn silent(namespace: &str) -> String {
    let annotated = "    metadata:\n      annotations:\n        bindery.dev/bind: mydb01-binding\n";
    assert!(DEPLOYMENT.contains(annotated));
    DEPLOYMENT.replace(annotated, "").replace("  name: web\n", &format!("  name: web\n{namespace}"))
}

/// The Secret that the first container of the last document takes variables from.
fn env_from(stdout: &str) -> Option<String> {
    let last = documents(stdout).last().unwrap().parse().unwrap();
    let path = "/spec/template/spec/containers/0/envFrom/0/secretRef/name";
    last.pointer(path).map(|name| name.as_str().unwrap().to_owned())
}

#[test]
fn pods_without_annotation_get_the_defaults_of_a_namespace_anywhere_in_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("namespace.yaml");
    fs::write(&path, NAMESPACE).unwrap();
    let shop = silent("  namespace: shop\n");
    let (stdout, stderr) = bindery(&["-f", path.to_str().unwrap(), "-f", "-"], &shop).unwrap();
    assert_eq!(env_from(&stdout).as_deref(), Some("mydb01-binding-env"), "{stdout}");
    assert!(stdout.starts_with(NAMESPACE), "{stdout}");
    assert!(stderr.ends_with("Deployment web: patched; its comments are lost\n"), "{stderr}");
    let (after, _) = bindery(&["-f", "-", "-f", path.to_str().unwrap()], &shop).unwrap();
    assert!(after.contains("mydb01-binding-env"), "{after}");
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {}", NAMESPACE.trim_end().replace('\n', "\n  "));
    let (stdout, _) = on_stdin(&format!("{list}\n---\n{shop}")).unwrap();
    assert_eq!(env_from(&stdout).as_deref(), Some("mydb01-binding-env"), "{stdout}");
}

#[test]
fn defaults_skip_pods_of_other_namespaces_and_pods_with_annotations() {
    let elsewhere = silent("  namespace: elsewhere\n");
    let out = DEPLOYMENT
        .replace("bind: mydb01-binding", "bind: ''")
        .replace("  name: web\n", "  name: web\n  namespace: shop\n");
    for manifest in [elsewhere, out] {
        let input = format!("{NAMESPACE}---\n{manifest}");
        assert_eq!(on_stdin(&input), Ok((input.clone(), String::new())));
    }
    let unlabelled =
        format!("{}---\n{}", NAMESPACE.replace("enabled", "disabled"), silent("  namespace: shop\n"));
    assert_eq!(on_stdin(&unlabelled), Ok((unlabelled.clone(), String::new())));
}

#[test]
fn the_namespace_option_holds_for_manifests_without_namespace() {
    let input = format!("{NAMESPACE}---\n{}", silent(""));
    let (stdout, _) = bindery(&["-f", "-", "--namespace", "shop"], &input).unwrap();
    assert_eq!(env_from(&stdout).as_deref(), Some("mydb01-binding-env"), "{stdout}");
    assert_eq!(bindery(&["-f", "-", "--namespace", "other"], &input), Ok((input.clone(), String::new())));
    let (stdout, stderr) = on_stdin(&input).unwrap();
    assert_eq!(stdout, input);
    assert_eq!(
        stderr,
        "-: document 2 (line 7): Deployment web: has no namespace, so no Namespace defaults apply; set \
        metadata.namespace or --namespace\n"
    );
}

#[test]
fn an_error_in_namespace_defaults_names_the_namespace() {
    let wrong = NAMESPACE.replace("mydb01-binding", "'a,,b'");
    let error = on_stdin(&format!("{wrong}---\n{}", silent("  namespace: shop\n"))).unwrap_err();
    assert!(
        error.contains(
            "Deployment web: metadata.annotations[bindery.dev/bind] of Namespace shop: `a,,b` has an empty entry"
        ),
        "{error}"
    );
}
