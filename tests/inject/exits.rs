//! The exit codes and output of `bindery inject` for scripts.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {bindery.dev/bind: BIND}}\nspec: {containers: [{name: a}]}\n";

/// The exit code and the output.
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
fn exit_codes_distinguish_error_difference_and_success() {
    assert_eq!(bindery(&["--diff"], "''"), (0, String::new()));
    let (code, diff) = bindery(&["--diff"], "b");
    assert_eq!(code, 1);
    assert!(diff.starts_with("--- -\tdocument 1 (line 1)\n+++ -\t"), "{diff}");
    assert_eq!(bindery(&["--diff"], "My_DB"), (2, String::new()));
    assert_eq!(bindery(&[], "''").0, 0);
    assert_eq!(bindery(&[], "b").0, 0);
    assert_eq!(bindery(&[], "My_DB"), (1, String::new()));
}

/// The exit code and the output for these files.
fn of_files(arguments: &[&str], files: &[PathBuf]) -> (i32, String) {
    let mut bindery = Command::new(env!("CARGO_BIN_EXE_bindery"));
    bindery.arg("inject").args(arguments).stderr(Stdio::null());
    for file in files {
        bindery.arg("-f").arg(file);
    }
    let output = bindery.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_folder_gives_the_output_of_its_files_in_order() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (code, of_folder) = of_files(&[], std::slice::from_ref(&corpus));
    assert_eq!((code, &of_folder), (0, &of_files(&[], &files).1));
    let mut rest = of_folder.as_str();
    for file in &files {
        let (code, alone) = of_files(&[], std::slice::from_ref(file));
        assert_eq!(code, 0);
        // Among other files, the objects of a JSON stream are separated.
        for part in
            if file.ends_with("stream.json") { alone.split_inclusive('\n').collect() } else { vec![&*alone] }
        {
            rest = rest.strip_prefix("---\n").filter(|_| !part.starts_with("---")).unwrap_or(rest);
            rest = rest.strip_prefix(part).unwrap_or_else(|| panic!("{} is not in\n{rest}", file.display()));
        }
    }
    assert_eq!(rest, "");
    assert_eq!(of_files(&["--diff"], &[corpus]).0, 1);
    assert_eq!(of_files(&[], &[PathBuf::from("/does/not/exist")]).0, 1);
    assert_eq!(of_files(&["--diff"], &[PathBuf::from("/does/not/exist")]).0, 2);
    assert_eq!(of_files(&["--no-such-option"], &files).0, 2);
}

/// A parser's advice to programmers does not help users, and the lines around an error in a kubeconfig contain
/// credentials.
#[test]
fn an_error_in_a_kubeconfig_is_reported_without_the_surrounding_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    fs::write(&file, "apiVersion: v1\nusers: [{name: a, user: {token: hunter2, token: hunter2}}]\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bindery"))
        .args(["who", "db"])
        .env("KUBECONFIG", &file)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the kubeconfig cannot be read: ") && error.contains("duplicate"), "{error}");
    for never in ["hunter2", "DuplicateKeyPolicy", "Options"] {
        assert!(!error.contains(never), "{error}");
    }
}
