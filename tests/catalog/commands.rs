//! kubectl and svcat, beside the servers of the same test.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::harness::Place;

/// A program of `tests/preflight svcat`.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("svcat").join(name)
}

/// Runs a program with this input. Returns its output, or all that it said.
async fn run(program: impl AsRef<OsStr>, arguments: &[&str], input: &str) -> Result<String, String> {
    let name = program.as_ref().to_owned();
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{} ({error}): run tests/preflight svcat", name.display()));
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    let [out, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() {
        Ok(out)
    } else {
        Err(format!("{} {arguments:?}: {out}{beside}", name.display()))
    }
}

/// Runs kubectl in the namespace of the place; the command must succeed.
pub(crate) async fn kubectl(place: &Place, arguments: &[&str], input: &str) -> String {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--namespace", &place.namespace]).collect();
    run("kubectl", &arguments, input).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs svcat in the namespace of the place. Returns its output, or its error.
pub(crate) async fn svcat(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--namespace", &place.namespace]).collect();
    run(program("svcat"), &arguments, "").await
}

/// The same for a command that must succeed and print these words.
pub(crate) async fn svcat_says(place: &Place, arguments: &[&str], words: &[&str]) {
    let output = svcat(place, arguments).await.unwrap_or_else(|error| panic!("{error}"));
    for word in words {
        assert!(output.contains(word), "svcat {arguments:?} does not print {word:?}: {output}");
    }
}
