//! Splitting files into documents, limits, and values after reading and writing.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn texts(file: &str) -> Vec<&str> {
    let documents = documents(file);
    assert_eq!(documents.iter().map(|document| document.text).collect::<String>(), file, "something is lost");
    for document in &documents {
        let start = document.text.as_ptr() as usize - file.as_ptr() as usize;
        assert_eq!(document.line, 1 + file[..start].matches('\n').count());
    }
    documents.into_iter().map(|document| document.text).collect()
}

fn values(file: &str) -> Vec<Value> {
    documents(file).iter().map(|document| document.parse().unwrap()).collect()
}

fn only(file: &str) -> Document<'_> {
    let [document] = <[_; 1]>::try_from(documents(file)).unwrap();
    document
}

#[rstest]
#[case::nothing("", &[])]
#[case::one("a: 1\n", &["a: 1\n"])]
#[case::no_line_end("a: 1", &["a: 1"])]
#[case::two("a: 1\n---\nb: 2\n", &["a: 1\n", "---\nb: 2\n"])]
#[case::first_marked("---\na: 1\n---\nb: 2", &["---\na: 1\n", "---\nb: 2"])]
#[case::comments_first("# c\n\n---\na: 1\n", &["# c\n\n---\na: 1\n"])]
#[case::directive("%YAML 1.2\n---\na: 1\n", &["%YAML 1.2\n---\na: 1\n"])]
#[case::marker_with_comment("a: 1\n--- # c\nb: 2\n", &["a: 1\n", "--- # c\nb: 2\n"])]
#[case::marker_with_content("a: 1\n--- {b: 2}\n", &["a: 1\n", "--- {b: 2}\n"])]
#[case::marker_at_the_end("a: 1\n---", &["a: 1\n", "---"])]
#[case::empty_between("a: 1\n---\n---\n# c\n---\nb: 2\n", &["a: 1\n", "---\n", "---\n# c\n", "---\nb: 2\n"])]
#[case::ended("a: 1\n...\n# c\n---\nb: 2\n", &["a: 1\n...\n", "# c\n---\nb: 2\n"])]
#[case::ended_bare("a: 1\n... # c\nb: 2\n...\n", &["a: 1\n... # c\n", "b: 2\n...\n"])]
#[case::no_marker("a: 1\n---b\n----\n ---\n", &["a: 1\n---b\n----\n ---\n"])]
#[case::windows("a: 1\r\n---\r\nb: 2\r\n", &["a: 1\r\n", "---\r\nb: 2\r\n"])]
#[case::byte_order_marks("\u{feff}---\na: 1\n\u{feff}---\nb: 2\n", &["\u{feff}---\na: 1\n", "\u{feff}---\nb: 2\n"])]
fn a_file_is_split_at_its_markers(#[case] file: &str, #[case] expected: &[&str]) {
    assert_eq!(texts(file), expected);
}

#[rstest]
#[case::lines("{\"a\": 1}\n{\"b\": 2}\n", &["{\"a\": 1}\n", "{\"b\": 2}\n"])]
#[case::one_line("{}{} {}", &["{}", "{} ", "{}"])]
#[case::spread("\n{\n}  \n\n {\n}\r\n{} \n\n", &["\n{\n}  \n", "\n {\n}\r\n", "{} \n\n"])]
#[case::byte_order_mark("\u{feff}{}\n{}", &["\u{feff}{}\n", "{}"])]
#[case::only_one("{\"a\": 1}\n", &["{\"a\": 1}\n"])]
#[case::marked("{}\n---\n{}\n", &["{}\n", "---\n{}\n"])]
#[case::not_json("{}\n{a: 1}\n", &["{}\n{a: 1}\n"])]
#[case::no_object("{}\n[]\n", &["{}\n[]\n"])]
fn json_objects_in_a_row_are_documents(#[case] file: &str, #[case] expected: &[&str]) {
    assert_eq!(texts(file), expected);
}

#[test]
fn a_marker_ends_a_block_scalar_and_an_indented_one_is_text() {
    let file = "a: |\n  x\n  ---\n  ...\nb: 1\n---\nc: |\n x\n---\nd: 1\n";
    assert_eq!(texts(file).len(), 3);
    assert_eq!(values(file), [json!({"a": "x\n---\n...\n", "b": 1}), json!({"c": "x\n"}), json!({"d": 1})]);
}

#[rstest]
#[case("")]
#[case("\n \n")]
#[case("# only a comment\n")]
#[case("---\n")]
#[case("---\n# c\n")]
#[case("...\n")]
#[case("--- # c\n")]
#[case("---\n---\n...\n...\n")]
#[case("\u{feff}# c\n")]
fn an_empty_document_is_null(#[case] file: &str) {
    for value in values(file) {
        assert_eq!(value, Value::Null);
    }
}

/// `kubectl` reads YAML 1.1, in which `0644` is octal. Manifests often write `defaultMode` that way.
#[test]
fn values_are_read_as_kubectl_reads_them() {
    let file = "mode: 0644\nnew: 0o644\ntext: '0644'\nfloat: 1e3\nyes: on\nnothing:\ndate: 2026-01-01\nbase: &b {k: v}\ncopy: {<<: *b}\n";
    let expected = json!({
        "mode": 420, "new": 420, "text": "0644", "float": 1000, "true": true, "nothing": null, "date": "2026-01-01",
        "base": {"k": "v"}, "copy": {"k": "v"}
    });
    assert_eq!(values(file).remove(0), expected);
}

#[test]
fn errors_name_the_line_and_quote_no_value() {
    let file = "a: 1\n---\nb: 2\n---\npassword: s3cret\nc: [1,\n";
    let error = documents(file)[2].parse().unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("this is not valid YAML; correct it: ") && error.contains("line 6"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

/// The output of `kubectl get pods --all-namespaces -o yaml`, with labels that an alias sets.
#[test]
fn a_dump_of_a_whole_cluster_can_be_read() {
    let item = "- {a: *shared, b: [1, 2, 3, 4, 5, 6, 7, 8]}\n";
    let file = format!("shared: &shared {{x: y}}\nitems:\n{}", item.repeat(30_000));
    assert_eq!(only(&file).parse().unwrap()["items"].as_array().unwrap().len(), 30_000);
    let deep = format!("a: {}1{}\n", "[".repeat(60), "]".repeat(60));
    assert!(only(&deep).parse().is_ok(), "the schema of a custom resource that holds pods");
}

/// A few lines must not expand to gigabytes, and nested brackets must not overflow the stack.
#[test]
fn alias_and_nesting_bombs_are_refused() {
    let of_tens = |level: usize| {
        let last = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{last}]\n")
    };
    let file =
        format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}", (1..12).map(of_tens).collect::<String>());
    assert!(only(&file).parse().is_err());
    let deep = format!("a: {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(only(&deep).parse().is_err());
}

/// As `kubectl` does.
#[test]
fn keys_of_other_types_become_text() {
    let expected = json!({"5432": "a", "true": "b", "1.5": "c", "x": {"1": 2}});
    assert_eq!(only("5432: a\ntrue: b\n1.5: c\nx: {1: 2}\n").parse().unwrap(), expected);
}

/// `kubectl` takes the last value without a warning.
#[test]
fn the_last_of_repeated_keys_counts_and_its_line_is_known() {
    let file = "x: 1\n---\na: 1\nb:\n  c: 1\n  c: 2\na: 3\n";
    let contents = documents(file)[1].read().unwrap();
    assert_eq!(contents.value, json!({"a": 3, "b": {"c": 2}}));
    assert_eq!(contents.repeated, [(6, "c".to_owned()), (7, "a".to_owned())]);
}

/// In go-yaml 2 a merge key overrides the keys before it and yields to the keys after it. The first mapping of a list
/// wins.
#[rstest]
#[case::before("a: &a {k: 1}\nb: {<<: *a, k: 2}\n", &json!({"k": 2}))]
#[case::after("a: &a {k: 1}\nb: {k: 2, <<: *a}\n", &json!({"k": 1}))]
#[case::list("a: &a {k: 1}\nb: {<<: [{k: 2}, *a, {l: 3}]}\n", &json!({"k": 2, "l": 3}))]
#[case::quoted("a: &a 1\nb: {'<<': *a}\n", &json!({"<<": 1}))]
#[case::tagged("a: &a {k: 1}\nb: {!!merge <<: *a}\n", &json!({"k": 1}))]
fn merge_keys_merge_as_in_kubectl(#[case] file: &str, #[case] expected: &Value) {
    let contents = only(file).read().unwrap();
    assert_eq!(&contents.value["b"], expected);
    assert_eq!(contents.repeated, []);
}

#[rstest]
#[case::not_a_mapping("a: {<<: 1}", "<< takes a mapping, or a list of mappings")]
#[case::in_itself("a: &a [*a]", "an alias refers to a node that contains it")]
#[case::unknown("a: *b", "while parsing node, found unknown anchor")]
#[case::no_number(
    "a: .inf",
    "JSON has no infinity and no NaN, so Kubernetes cannot receive them; quote the value if it is text"
)]
#[case::no_base64("a: !!binary x", "the value of !!binary is not base64")]
#[case::mapping_as_key("{a: b}: 1", "this value cannot be a field name; quote it")]
#[case::null_as_key("~: 1", "this value cannot be a field name; quote it")]
fn what_kubectl_refuses_is_refused_with_its_line(#[case] text: &str, #[case] expected: &str) {
    let file = format!("x: 1\n---\n{text}\n");
    let error = format!("{:#}", documents(&file)[1].read().unwrap_err());
    let expected = format!("this is not valid YAML; correct it: {expected} at line 3, column ");
    assert!(error.starts_with(&expected), "{error}");
}

#[rstest]
#[case::yaml("a: 1 # c\n", "a: 2\n")]
#[case::no_line_end("a: 1", "a: 2\n")]
#[case::marked("# c\n--- # c\na: 1\n", "---\na: 2\n")]
#[case::content_after_marker("--- {a: 1}\n", "---\na: 2\n")]
#[case::ended("a: 1\n...\n", "a: 2\n...\n")]
#[case::windows("---\r\na: 1\r\n", "---\r\na: 2\r\n")]
#[case::byte_order_mark("\u{feff}a: 1\n", "\u{feff}a: 2\n")]
#[case::json("{\"a\": 1}", "{\"a\":2}\n")]
#[case::pretty_json("{\n  \"a\": 1\n}\n", "{\n  \"a\": 2\n}\n")]
#[case::json_in_a_stream("---\n{\"a\": 1}\n", "---\n{\"a\":2}\n")]
#[case::flow_yaml("{a: 1}\n", "a: 2\n")]
fn rewriting_keeps_the_style_of_the_document(#[case] file: &str, #[case] expected: &str) {
    let document = only(file);
    assert_eq!(document.parse().unwrap(), json!({"a": 1}));
    assert_eq!(document.rewrite(&json!({"a": 2})).unwrap(), expected);
}

#[rstest]
#[case("a: 1\n", false)]
#[case("a: '# 1'\nb: x#y\nc: |\n  # text\n", false)]
#[case("# c\na: 1\n", true)]
#[case("a: 1 # c\n", true)]
#[case("a: 1\n...\n# c\n", true)]
#[case("{\"a\": \"# 1\"}", false)]
fn comments_are_distinguished_from_text(#[case] file: &str, #[case] expected: bool) {
    assert_eq!(documents(file).iter().any(|document| document.read().unwrap().has_comments), expected);
}

/// Strings that a reader of YAML 1.1 or 1.2 would read as another type without quotes.
#[rstest]
fn a_string_stays_a_string(
    #[values(
        "",
        " ",
        "~",
        "null",
        "Null",
        "true",
        "False",
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "N",
        "0",
        "-1",
        "+1",
        "007",
        "0644",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "1.0",
        ".5",
        "1.",
        "1e3",
        "1E+3",
        "12e03",
        "6e5",
        ".inf",
        "-.INF",
        ".nan",
        "190:20:30",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "=",
        "<<",
        "-",
        "?",
        ":",
        "- a",
        "? a",
        "a: b",
        "a:",
        ": a",
        "a #b",
        "#a",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "@a",
        "`a",
        "%a",
        "[a",
        "{a",
        "]",
        "}",
        ",",
        "'a'",
        "\"a\"",
        "'",
        "\"",
        "a\\b",
        " a",
        "a ",
        "\ta",
        "a\t",
        "a\tb",
        "a\n",
        "\na",
        "a\nb",
        "a\n\nb\n\n",
        "  a\nb",
        "a \n b ",
        "a\r\nb",
        "a\rb",
        "\u{0}",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}",
        "\u{feff}",
        "😀",
        "---",
        "...",
        "--- a",
        "a\n---\nb",
        "a\n...\n",
        "\ta\nb",
        " \na",
        "\n\ta",
        "a\n\tb\n",
        "a\n \n\t\n",
        "a\n\n\n",
        "7e12345",
        "0b-1",
        "1_0.5",
        "._5",
        ".1_0",
        "+.inf",
        "\u{2029}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{9f}",
        "a\u{85}\nb",
        "#!/bin/sh\nset -e\n# c\n"
    )]
    text: &str,
) {
    keeps(&json!({"text": text, "list": [text, [text]], text: {"nested": text}}));
}

/// The value is the same after it has been written and read.
fn keeps(value: &Value) {
    let style = ["a: 1\n", "a: 1\r\n", "---\na: 1\n...\n", "{\"a\":\n1}", "{\"a\":1}"];
    for document in style.map(only) {
        let text = document.rewrite(value).unwrap();
        assert_eq!(&only(&text).parse().unwrap(), value, "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["\\PC*", "[ \t\n\r#:'\"|>&*!%@`{},\\[\\]?a-c0-9.eExo_+-]{0,12}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Only some floats, because serde_json misreads the last digit of others. A float without a fraction is an
        // integer to Kubernetes.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0 + 0.0625)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_survives_writing_and_reading(value in any_value()) {
        keeps(&json!({"value": value}));
    }

    #[test]
    fn splitting_never_panics_and_loses_no_text(
        file in "(---|\\.\\.\\.|[a: \n\r#|%\u{feff}-]|\n|\r\n|'|\"|\\{|\\}){0,40}",
    ) {
        texts(&file);
        for document in documents(&file) {
            let _ = document.read();
        }
    }
}
