//! What a script learns from `bindery inject`.

use std::{
    io::Write,
    process::{Command, Stdio},
};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {bindery.dev/bind: BIND}}\nspec: {containers: [{name: a}]}\n";

/// The exit code, and what is printed.
fn bindery(arguments: &[&str], bind: &str) -> (i32, String) {
    let mut bindery = Command::new(env!("CARGO_BIN_EXE_bindery"))
        .args(["inject", "-f", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    bindery.stdin.take().unwrap().write_all(POD.replace("BIND", bind).as_bytes()).unwrap();
    let output = bindery.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn an_error_is_told_from_a_difference_and_both_from_success() {
    assert_eq!(bindery(&["--diff"], "''"), (0, String::new()));
    let (code, diff) = bindery(&["--diff"], "b");
    assert_eq!(code, 1);
    assert!(diff.starts_with("--- -\tdocument 1 (line 1)\n+++ -\t"), "{diff}");
    assert_eq!(bindery(&["--diff"], "My_DB"), (2, String::new()));
    assert_eq!(bindery(&[], "''").0, 0);
    assert_eq!(bindery(&[], "b").0, 0);
    assert_eq!(bindery(&[], "My_DB"), (1, String::new()));
}
