//! `bindery inject` as a user runs it.

mod namespaces;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// Standard output and standard error.
fn bindery(args: &[&str], stdin: &str) -> Result<(String, String), String> {
    let cli = Cli::try_parse_from([&["inject"], args].concat()).map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let result = run(cli.args, stdin.as_bytes(), &mut stdout, &mut stderr);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    match result {
        Ok(()) => Ok((stdout, stderr)),
        Err(error) => {
            assert_eq!(stdout, "", "printed in spite of an error");
            Err(format!("{error:#}"))
        }
    }
}

fn on_stdin(manifests: &str) -> Result<(String, String), String> {
    bindery(&["-f", "-"], manifests)
}

const SERVICE: &str =
    "# The shop's front door\napiVersion: v1\nkind:   Service   # odd spaces\nmetadata: {name: web}\n";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      annotations:
        bindery.dev/bind: mydb01-binding
    spec:
      containers:
      - name: app
        image: my-app # pinned elsewhere
";

const INJECTED: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      annotations:
        bindery.dev/bind: mydb01-binding
    spec:
      containers:
      - envFrom:
        - secretRef:
            name: mydb01-binding-env
        image: my-app
        name: app
        volumeMounts:
        - mountPath: /var/secrets/mydb01-binding
          name: bindery-ad3894d3d5b3d5cb
          readOnly: true
      volumes:
      - name: bindery-ad3894d3d5b3d5cb
        secret:
          secretName: mydb01-binding
";

#[test]
fn a_document_is_patched_and_those_around_it_stay_byte_for_byte() {
    let (stdout, stderr) = on_stdin(&format!("{SERVICE}---\n{DEPLOYMENT}---\n{SERVICE}")).unwrap();
    assert_eq!(stdout, format!("{SERVICE}---\n{INJECTED}---\n{SERVICE}"));
    assert_eq!(stderr, "-: document 2 (line 5): Deployment web: patched, its comments are lost\n");
}

#[test]
fn what_asks_for_nothing_passes_byte_for_byte() {
    let plain = "apiVersion: v1\r\nkind: Pod\r\nspec: {containers: [{name:   a}]} # c\r\n";
    let strange = "\u{feff}%YAML 1.2\n---\n\n...\n# c\n--- |\n text\n---";
    for text in ["", "# c", SERVICE, plain, strange, INJECTED, "[1, 2]", "{\"kind\": \"Pod\"}"] {
        assert_eq!(on_stdin(text), Ok((text.to_owned(), String::new())));
    }
}

#[test]
fn a_json_file_stays_json_and_items_of_a_list_are_patched() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"on": "0644"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": {"bindery.dev/bind": "b", "bindery.dev/as": "env"}},
         "spec": {"containers": [{"name": "a"}]}}]}"#;
    let (stdout, stderr) = on_stdin(list).unwrap();
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["items"][0]["data"]["on"], "0644");
    assert_eq!(result["items"][1]["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"], "b-env");
    assert_eq!(stderr, "-: document 1 (line 1): Pod p: patched\n");
}

#[test]
fn several_files_become_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (a, b, c) = (write("a", "a: 1"), write("b", "b: 2\n"), write("c", "# c\n---\nc: 3\n"));
    let (stdout, _) = bindery(&["-f", &a, "-f", &b, "-f", "-", "-f", &c], "d: 4\n").unwrap();
    assert_eq!(stdout, "a: 1\n---\nb: 2\n---\nd: 4\n# c\n---\nc: 3\n");
}

#[test]
fn errors_name_every_place_and_a_remedy_and_nothing_is_printed() {
    let bad = DEPLOYMENT.replace("mydb01-binding", "mydb01-binding\n        bindery.dev/as: volume");
    assert_eq!(
        on_stdin(&format!("{DEPLOYMENT}---\n{bad}---\na: [\n")).unwrap_err(),
        "nothing was injected:\n\
         -: document 2 (line 14): Deployment web: spec.template.metadata.annotations[bindery.dev/as]: `volume` is unknown; \
         write `env`, `files` or `env,files`\n\
         -: document 3 (line 29): this is not valid YAML; correct it: unclosed bracket '[' at line 30, column 4"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let error = bindery(&["-f", "/does/not/exist.yaml"], "").unwrap_err();
    assert!(error.starts_with("cannot read /does/not/exist.yaml: No such file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"a: \xe4").unwrap();
    let error = bindery(&["-f", path.to_str().unwrap()], "").unwrap_err();
    assert!(error.contains("latin1.yaml: it is not UTF-8; convert it"), "{error}");
    let error = bindery(&["-f", "-", "-f", "-"], "").unwrap_err();
    assert_eq!(error, "-f - is given 2 times; standard input can be read only once");
    assert!(bindery(&[], "").unwrap_err().contains("--filename <FILE>"));
}

#[test]
fn warnings_go_to_standard_error() {
    let misplaced = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {bindery.dev/bind: b}}\nspec: {template: {}}\n";
    let (stdout, stderr) = on_stdin(misplaced).unwrap();
    assert_eq!(stdout, misplaced);
    assert_eq!(
        stderr,
        "-: document 1 (line 1): Deployment web: bindery.dev/bind in metadata.annotations binds nothing; move it to \
         spec.template.metadata.annotations\n"
    );
    let hidden = DEPLOYMENT.replace(
        "- name: app",
        "- name: app\n        volumeMounts: [{name: x, mountPath: /var/secrets/mydb01-binding}]",
    );
    let (_, stderr) = on_stdin(&hidden).unwrap();
    assert!(stderr.starts_with(
        "-: document 1 (line 1): Deployment web: container app: /var/secrets/mydb01-binding is mounted"
    ));
}

#[test]
fn the_installations_excluded_containers_can_be_given() {
    let sidecar = DEPLOYMENT.replace("name: app", "name: envoy");
    assert_ne!(on_stdin(&sidecar).unwrap().0, sidecar);
    let (stdout, _) = bindery(&["-f", "-", "--exclude-containers", "other,envoy"], &sidecar).unwrap();
    assert_eq!(stdout, sidecar);
    let proxy = DEPLOYMENT.replace("name: app", "name: istio-proxy");
    assert_eq!(on_stdin(&proxy).unwrap().0, proxy);
    assert_ne!(bindery(&["-f", "-", "--exclude-containers", "other"], &proxy).unwrap().0, proxy);
}
