//! kubectl and svcat, beside the servers of the same test.

use std::path::{Path, PathBuf};

use bindery_test_support::command::run;

use crate::harness::Place;

/// A program of `tests/preflight svcat`.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("svcat").join(name)
}

/// Runs kubectl in the namespace of the place; the command must succeed.
pub(crate) async fn kubectl(place: &Place, arguments: &[&str], input: &str) -> String {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--namespace", &place.namespace]).collect();
    run("kubectl", &arguments, input).await.expect_success()
}

/// Runs svcat in the namespace of the place. Returns its output, or its error.
pub(crate) async fn svcat(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--namespace", &place.namespace]).collect();
    let said = run(program("svcat"), &arguments, "").await.ok();
    said.map_err(|error| format!("svcat {arguments:?}: {error}"))
}

/// The same for a command that must succeed and print these words.
pub(crate) async fn svcat_says(place: &Place, arguments: &[&str], words: &[&str]) {
    let output = svcat(place, arguments).await.unwrap_or_else(|error| panic!("{error}"));
    for word in words {
        assert!(output.contains(word), "svcat {arguments:?} does not print {word:?}: {output}");
    }
}
