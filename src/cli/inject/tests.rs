//! `bindery inject` as a user runs it.

mod namespaces;

use std::fs;

use clap::Parser;

use super::*;
use crate::cli::manifest::counted;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// Standard output and standard error.
fn bindery(args: &[&str], stdin: &str) -> Result<(String, String), String> {
    let (stdout, stderr, outcome) = with_outcome(args, stdin)?;
    assert_eq!(outcome, Outcome::Fine);
    Ok((stdout, stderr))
}

fn with_outcome(args: &[&str], stdin: &str) -> Result<(String, String, Outcome), String> {
    let cli = Cli::try_parse_from([&["inject"], args].concat()).map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let result = run(cli.args, stdin.as_bytes(), &mut stdout, &mut stderr);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    match result {
        Ok(outcome) => Ok((stdout, stderr, outcome)),
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
          name: bindery-secret-mydb01-binding
          readOnly: true
      volumes:
      - name: bindery-secret-mydb01-binding
        secret:
          secretName: mydb01-binding
";

#[test]
fn only_the_injected_document_changes() {
    let (stdout, stderr) = on_stdin(&format!("{SERVICE}---\n{DEPLOYMENT}---\n{SERVICE}")).unwrap();
    assert_eq!(stdout, format!("{SERVICE}---\n{INJECTED}---\n{SERVICE}"));
    assert_eq!(stderr, "-: document 2 (line 5): Deployment web: patched; its comments are lost\n");
}

#[test]
fn documents_without_bindings_are_copied_byte_for_byte() {
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
fn the_manifests_of_a_folder_are_read_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for inner in ["b", "b/deep", "a.yaml.d", ".github"] {
        fs::create_dir(path.join(inner)).unwrap();
    }
    for (name, text) in [
        ("c.json", "{\"c\": 1}\n"),
        ("a.yaml", "a: 1\n"),
        ("a.yaml.d/x.yml", "x: 1\n"),
        ("b/z.yml", "z: 1\n"),
        ("b/deep/y.yaml", "y: 1\n"),
        ("b/notes.txt", "not: this\n"),
        (".hidden.yaml", "nor: this\n"),
        (".github/workflow.yaml", "nor: this\n"),
        ("yaml", "nor: this\n"),
    ] {
        fs::write(path.join(name), text).unwrap();
    }
    // A folder that contains itself, and a file by another name.
    std::os::unix::fs::symlink(path, path.join("b/again.yaml")).unwrap();
    std::os::unix::fs::symlink(path.join("yaml"), path.join("d.yaml")).unwrap();
    let (stdout, _) = bindery(&["-f", path.to_str().unwrap()], "").unwrap();
    assert_eq!(stdout, "a: 1\n---\nx: 1\n---\ny: 1\n---\nz: 1\n---\n{\"c\": 1}\n---\nnor: this\n");
    let hidden = path.join(".github");
    assert_eq!(bindery(&["-f", hidden.to_str().unwrap()], "").unwrap().0, "nor: this\n", "asked for by name");
}

#[test]
fn a_folder_without_manifests_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let name = folder.path().display().to_string();
    assert_eq!(
        bindery(&["-f", &name], "").unwrap_err(),
        format!("{name} holds no manifests; name a folder with files that end in .yaml, .yml or .json")
    );
}

#[test]
fn json_objects_in_a_row_are_patched_one_by_one() {
    let pod = |bind: &str| {
        format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p\",\"annotations\":{{\"bindery.dev/bind\":\"{bind}\",\
             \"bindery.dev/as\":\"env\"}}}},\"spec\":{{\"containers\":[{{\"name\":\"a\"}}]}}}}\n"
        )
    };
    let (stdout, stderr) = on_stdin(&format!("{}{}", pod(""), pod("b"))).unwrap();
    let patched = pod("b")
        .replace("{\"name\":\"a\"}", "{\"envFrom\":[{\"secretRef\":{\"name\":\"b-env\"}}],\"name\":\"a\"}");
    let values =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    assert_eq!(values(&stdout), values(&(pod("") + &patched)));
    assert!(stdout.starts_with(&pod("")), "the first is not to be touched");
    assert_eq!(stderr, "-: document 2 (line 2): Pod p: patched\n");
}

#[test]
fn the_diff_shows_only_additions() {
    let text = format!("{SERVICE}---\n{DEPLOYMENT}");
    let (stdout, stderr, outcome) = with_outcome(&["--diff", "-f", "-"], &text).unwrap();
    assert_eq!(
        stdout,
        "\
--- -\tdocument 2 (line 5)
+++ -\tdocument 2 (line 5), injected
@@ -9,5 +9,16 @@
         bindery.dev/bind: mydb01-binding
     spec:
       containers:
-      - image: my-app
+      - envFrom:
+        - secretRef:
+            name: mydb01-binding-env
+        image: my-app
         name: app
+        volumeMounts:
+        - mountPath: /var/secrets/mydb01-binding
+          name: bindery-secret-mydb01-binding
+          readOnly: true
+      volumes:
+      - name: bindery-secret-mydb01-binding
+        secret:
+          secretName: mydb01-binding
"
    );
    assert_eq!(stderr, "-: document 2 (line 5): Deployment web: would be patched\n");
    assert_eq!(outcome, Outcome::Differs);
}

#[test]
fn an_empty_diff_prints_nothing() {
    for text in ["", SERVICE, INJECTED] {
        let nothing = (String::new(), String::new(), Outcome::Fine);
        assert_eq!(with_outcome(&["--diff", "-f", "-"], text), Ok(nothing));
    }
}

#[test]
fn exit_codes_distinguish_a_difference_from_an_error() {
    let failure = |args: &[&str]| Cli::parse_from([&["inject", "-f", "-"], args].concat()).args.failure();
    // `ExitCode` cannot be compared.
    let code = |code: ExitCode| format!("{code:?}");
    assert_eq!(code(failure(&[])), code(ExitCode::from(1)));
    assert_eq!(code(failure(&["--diff"])), code(ExitCode::from(2)));
    assert_eq!(code(Outcome::Fine.into()), code(ExitCode::from(0)));
    assert_eq!(code(Outcome::Differs.into()), code(ExitCode::from(1)));
    let bad = DEPLOYMENT.replace("mydb01-binding", "My_DB");
    let error = with_outcome(&["--diff", "-f", "-"], &format!("{DEPLOYMENT}---\n{bad}")).unwrap_err();
    assert!(error.starts_with("nothing was injected:\n-: document 2 (line 14): Deployment web:"), "{error}");
}

#[test]
fn errors_name_every_place_and_remedy_and_print_no_manifest() {
    let bad = DEPLOYMENT.replace("mydb01-binding", "mydb01-binding\n        bindery.dev/as: volume");
    assert_eq!(
        on_stdin(&format!("{DEPLOYMENT}---\n{bad}---\nbindery.dev/bind: [\n")).unwrap_err(),
        "nothing was injected:\n\
         -: document 2 (line 14): Deployment web: spec.template.metadata.annotations[bindery.dev/as]: `volume` is unknown; \
         write `env`, `files` or `env,files`\n\
         -: document 3 (line 29): this is not valid YAML; correct it: unclosed bracket '[' at line 30, column 19"
    );
}

/// The bracket is indented against the specification, but Kubernetes reads it.
#[test]
fn an_unreadable_document_without_bindings_is_copied() {
    let odd = "a:\n  b: '[\n  ]'\n";
    let (stdout, stderr) = on_stdin(&format!("{odd}---\n{DEPLOYMENT}")).unwrap();
    assert_eq!(stdout, format!("{odd}---\n{INJECTED}"));
    let note = "-: document 1 (line 1): left unchanged, because it cannot be read and does not mention \
        bindery.dev: this is not valid YAML; correct it: ";
    assert!(stderr.starts_with(note), "{stderr}");
}

#[test]
fn unreadable_files_are_named() {
    let error = bindery(&["-f", "/does/not/exist.yaml"], "").unwrap_err();
    assert!(error.starts_with("cannot read /does/not/exist.yaml: No such file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"a: \xe4").unwrap();
    let error = bindery(&["-f", path.to_str().unwrap()], "").unwrap_err();
    assert!(error.contains("latin1.yaml: the file is not UTF-8; convert it"), "{error}");
    let error = bindery(&["-f", "-", "-f", "-"], "").unwrap_err();
    assert_eq!(error, "-f - is given 2 times; give it once, because standard input can be read only once");
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
fn excluded_containers_can_be_set() {
    let sidecar = DEPLOYMENT.replace("name: app", "name: envoy");
    assert_ne!(on_stdin(&sidecar).unwrap().0, sidecar);
    let (stdout, _) = bindery(&["-f", "-", "--exclude-containers", "other,envoy"], &sidecar).unwrap();
    assert_eq!(stdout, sidecar);
    let proxy = DEPLOYMENT.replace("name: app", "name: istio-proxy");
    assert_eq!(on_stdin(&proxy).unwrap().0, proxy);
    assert_ne!(bindery(&["-f", "-", "--exclude-containers", "other"], &proxy).unwrap().0, proxy);
}

/// The cost is linear: each document is read once, whatever it holds and however much of it is patched.
#[test]
fn reading_cost_grows_linearly_with_the_manifests() {
    let item = DEPLOYMENT.replace('\n', "\n    ");
    for items in [10, 100] {
        let list = format!(
            "# c\napiVersion: v1\nkind: List\nitems:\n{}",
            format!("  - {}\n", item.trim_end()).repeat(items)
        );
        let stream = format!("{DEPLOYMENT}---\n").repeat(items);
        for manifests in [list, stream, "a: [\n---\n".repeat(items)] {
            let before = counted::BYTES.get();
            bindery(&["-f", "-"], &manifests).unwrap();
            let read = counted::BYTES.get() - before;
            assert!(read <= manifests.len(), "{read} bytes read of {}", manifests.len());
        }
    }
}

#[test]
fn a_repeated_key_is_reported_when_only_one_is_written() {
    let twice = DEPLOYMENT.replace("        image: my-app", "        image: other\n        image: my-app");
    let (stdout, stderr) = on_stdin(&twice).unwrap();
    assert_eq!(stdout, INJECTED);
    let note = "-: line 14: the key \"image\" is repeated; the last value is used, as by kubectl\n";
    assert!(stderr.contains(note), "{stderr}");
    let untouched = "a: 1\na: 2\n";
    assert_eq!(on_stdin(untouched).unwrap(), (untouched.to_owned(), String::new()));
}

#[test]
fn custom_resources_with_annotated_pods_are_reported() {
    let rollout = DEPLOYMENT.replace("apps/v1", "argoproj.io/v1alpha1").replace("Deployment", "Rollout");
    let (stdout, stderr) = on_stdin(&rollout).unwrap();
    assert_eq!(stdout, rollout);
    assert_eq!(
        stderr,
        "-: document 1 (line 1): Rollout web: left as it is: spec.template.metadata.annotations has bindery.dev/bind, but \
         bindery does not know where a Rollout has its pods; they are bound when they are created, by the webhook\n"
    );
}

/// A commit hash may look like a number that is too large for a number.
#[test]
fn labels_that_kubectl_reads_as_text_stay_text() {
    let labelled = DEPLOYMENT
        .replace("      annotations:", "      labels: {commit: 7e12345, other: 1e5a}\n      annotations:");
    let (stdout, _) = on_stdin(&labelled).unwrap();
    assert!(stdout.contains("commit: \"7e12345\"") && stdout.contains("other: 1e5a"), "{stdout}");
}
