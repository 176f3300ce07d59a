//! `bindery inject` against `kubectl`: from the output `kubectl` must read the same objects as from the manifests,
//! plus what bindery adds.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{fs, path::Path};

use bindery::{
    cli::inject::{InjectArgs, run},
    injection::{InjectSettings, inject, workload::workloads},
};
use bindery_test_support::command::run_blocking;
use clap::Parser;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// The objects that `kubectl` reads from these manifests, or its error. `kubectl` asks the API server for the known
/// kinds.
fn by_kubectl(manifests: &str) -> Result<Vec<Value>, String> {
    let arguments = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
    let said = run_blocking("kubectl", &arguments, manifests);
    if !said.success {
        return Err(said.stderr);
    }
    let values: Vec<Value> =
        serde_json::Deserializer::from_str(&said.stdout).into_iter().collect::<Result<_, _>>().unwrap();
    // Several objects are printed as one List.
    let objects = values.into_iter().flat_map(|value| match value {
        Value::Object(mut list) if list.get("kind") == Some(&json!("List")) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        value => vec![value],
    });
    Ok(objects.map(without_last_applied).collect())
}

/// `kubectl` rewrites this annotation where it exists.
fn without_last_applied(mut object: Value) -> Value {
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    object
}

fn by_bindery(manifests: &str) -> Result<String, String> {
    let args = Cli::parse_from(["inject", "-f", "-"]).args;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    run(args, manifests.as_bytes(), &mut stdout, &mut stderr).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(stdout).unwrap())
}

/// The object after injection.
fn injected(mut object: Value) -> Value {
    let before = object.clone();
    for workload in workloads(&before) {
        let injection = inject(workload.template, &InjectSettings::default()).unwrap();
        injection.apply(object.pointer_mut(&workload.pointer).unwrap()).unwrap();
    }
    object
}

/// Compares what `kubectl` reads before and after, and returns how many objects changed.
fn compare(what: &str, manifests: &str) -> usize {
    let before = by_kubectl(manifests).unwrap_or_else(|error| panic!("{what}: {error}\n{manifests}"));
    let printed = by_bindery(manifests).unwrap_or_else(|error| panic!("{what}: {error}\n{manifests}"));
    let after = by_kubectl(&printed).unwrap_or_else(|error| panic!("{what}: {error}\n{printed}"));
    let expected: Vec<Value> = before.iter().cloned().map(injected).collect();
    for (after, expected) in after.iter().zip(&expected) {
        assert_eq!(after, expected, "{what}\n{printed}");
    }
    assert_eq!(after.len(), expected.len(), "{what}\n{printed}");
    before.iter().zip(&expected).filter(|(before, expected)| before != expected).count()
}

/// An annotated pod with these lines in its spec.
fn asking(lines: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, annotations: {{bindery.dev/bind: db}}}}\nspec:\n  containers: [{{name: \
         app}}]\n{lines}"
    )
}

/// Scalars that YAML 1.1, YAML 1.2 and go-yaml read differently.
const SCALARS: &[&str] = &[
    "7e12345",
    "6e5",
    "1e3",
    "12e03",
    "1.5e3",
    "1e-400",
    ".5e400",
    "yes",
    "No",
    "on",
    "OFF",
    "y",
    "N",
    "yEs",
    "true",
    "True",
    "tRue",
    "~",
    "null",
    "Null",
    "nUll",
    "0",
    "-0",
    "007",
    "0777",
    "0o17",
    "0O17",
    "-017",
    "08",
    "0x1F",
    "0xfg",
    "0b11",
    "0b12",
    "0b-1",
    "-0b1",
    "1_000",
    "1__0_",
    "_1",
    ".1_0",
    "._5",
    "1._5",
    "+1",
    "+-1",
    ".5",
    "5.",
    ".",
    "190:20:30",
    "1:30",
    "2026-01-01",
    "2026-1-1",
    "2026-01-01T00:00:00Z",
    "2026-01-01 10:00:00",
    "=",
    "a<<b",
    "inf",
    "nan",
    "1.2.3",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e300",
    "0x7fffffffffffffff",
    "-0x1",
    "1e",
    "e5",
    "0x",
    "!!str 123",
    "!!int '12'",
    "!!float 2",
    "!!bool yes",
    "!!null ''",
    "!!binary aGk=",
    "!!binary /+KC",
    "!!timestamp 2026-01-01",
    "! 12",
    "!own 12",
    "'0644'",
    "\"0644\"",
    "\"a\\tb\\u00e9\\x41\"",
    "'it''s'",
    "\"\\\n    folded\"",
    "a#b",
    "a:b",
    "a, b",
    "http://x:1/?a=b#c",
    "|\n    a\n      b\n    c",
    "|-\n    ---\n    a",
    ">\n    a\n    b\n\n    c",
    ">-\n    a",
    "|+\n    a\n\n",
    "|2\n      a",
    "[a, 1, {b: ~}]",
    "[yes, 0777, 'no']",
    "{}",
    "[]",
    "{a: b, 1: c, true: d, 1.5: e, 1e6: f}",
    "plain over\n    two lines",
    "'quoted over\n\n    lines'",
];

#[test]
fn scalars_are_read_as_kubectl_reads_them() {
    let lines: String =
        SCALARS.iter().enumerate().map(|(at, scalar)| format!("  v{at}: {scalar}\n")).collect();
    assert_eq!(compare("scalars", &asking(&lines)), 1);
    assert_eq!(compare("scalars with CRLF", &asking(&lines).replace('\n', "\r\n")), 1);
    assert_eq!(compare("scalars after a byte order mark", &format!("\u{feff}{}", asking(&lines))), 1);
}

#[test]
fn documents_are_read_as_kubectl_reads_them() {
    let pod = asking("");
    let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": {"bindery.dev/bind": "db"}}, "spec": {"containers": [{"name": "app"}], "n": 1.0, "e": 1e3}}"#;
    for (what, manifests, patched) in [
        ("duplicate keys", asking("  a: 1\n  a: 2\n  b: {c: 1, c: 2}\n"), 1),
        (
            "merge keys",
            asking(
                "  base: &b {k: 1, l: 2}\n  before: {<<: *b, k: 3}\n  after: {k: 3, <<: *b}\n  list: {<<: [{k: 4}, *b]}\n",
            ),
            1,
        ),
        ("anchors", asking("  a: &x [1, &y {z: yes}]\n  b: *x\n  c: *y\n  &k key: *y\n  *k : 1\n"), 1),
        ("comments", format!("# c\n{pod}  # d\n  a: 1 # e\n"), 1),
        ("many comments", format!("{}{pod}", "# c\n".repeat(300)), 1),
        ("stream", format!("---\n{pod}---\n# nothing\n---\n{pod}...\n---\n{pod}"), 3),
        ("marker with a comment", format!("--- # c\n{pod}"), 1),
        ("JSON", json.to_owned(), 1),
        ("JSON in a row", format!("{json}\n{json} {json}\n"), 3),
        (
            "pretty JSON",
            serde_json::to_string_pretty(&serde_json::from_str::<Value>(json).unwrap()).unwrap(),
            1,
        ),
        (
            "List",
            format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", pod.trim_end().replace('\n', "\n  ")),
            1,
        ),
    ] {
        assert_eq!(compare(what, &manifests), patched, "{what}");
    }
}

#[test]
fn manifests_that_kubectl_cannot_read_are_refused() {
    for lines in [
        "  a: .inf\n",
        "  a: .nan\n",
        "  a: !!int x\n",
        "  a: !!binary x\n",
        "  ~: 1\n",
        "  [a]: 1\n",
        "  a: *b\n",
        "  a: {<<: 1}\n",
        "\ta: 1\n",
    ] {
        let pod = asking(lines);
        let error = by_kubectl(&pod).unwrap_err();
        assert!(by_bindery(&pod).is_err(), "{pod}\n{error}");
    }
}

#[test]
fn the_corpus_means_the_same_to_kubectl() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut compared = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // This API server does not have the kinds of custom resources; other tests cover the defaults of a Namespace.
        let Ok(_) = by_kubectl(&text) else { continue };
        if !text.contains("bindery.dev/inject") {
            assert!(compare(&path.display().to_string(), &text) > 0, "{}", path.display());
            compared += 1;
        }
    }
    assert!(compared > 3, "{compared} files");
}

/// Texts of all kinds in one object, so that `kubectl` runs once.
#[test]
fn kubectl_reads_every_text_that_bindery_writes_unchanged() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let text = prop_oneof![
        "\\PC{0,20}",
        "[ \t\n\r#:'\"|>&*!%@`{},\\[\\]?a-c0-9.eExo_+\u{85}\u{2028}\u{feff}-]{0,12}"
    ];
    let mut texts: Vec<String> = (0..2000).map(|_| text.new_tree(&mut runner).unwrap().current()).collect();
    texts.extend(
        [
            "\ta\nb",
            "\t",
            "a\n\tb",
            "\n\ta\n",
            " \n a",
            "a\n ",
            "7e12345",
            "1e5",
            "\u{7f}",
            "\u{9f}",
            "\u{fffe}",
            "a\u{2029}\nb",
        ]
        .map(str::to_owned),
    );
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": {"bindery.dev/bind": "db"}},
        "spec": {"containers": [{"name": "app"}], "texts": texts, "nested": [[texts[0], {"a": texts[1]}]]},
    });
    for (at, text) in texts.iter().enumerate() {
        pod["spec"]["keys"][format!("{at}{text}")] = json!(at);
        pod["spec"]["values"][format!("k{at}")] = json!(text);
    }
    let printed = by_bindery(&serde_saphyr::to_string(&pod).unwrap()).unwrap();
    let read = by_kubectl(&printed).unwrap_or_else(|error| panic!("{error}")).remove(0);
    for field in ["texts", "nested", "values", "keys"] {
        assert_eq!(read["spec"][field], pod["spec"][field], "{field}");
    }
}
