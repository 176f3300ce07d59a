//! Reads string literals from the source, without tests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// These files, and the files below these folders, without tests.
pub(crate) fn files(below: &[&str]) -> Vec<PathBuf> {
    let all = below.iter().map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
    let (mut files, mut folders): (Vec<_>, Vec<_>) = all.partition(|path| path.is_file());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The code of a file, without comments, attributes of one line, and tests at its end.
pub(crate) fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let is_code = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("#[") && !line.starts_with("printcolumn")
    };
    text.lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

/// The `CamelCase` literals of the code below these folders, each with a file that contains it.
pub(crate) fn camel_case(below: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut words = BTreeMap::new();
    for file in files(below) {
        let code = code(&file);
        for literal in code.split('"') {
            let mut letters = literal.chars();
            let is_word = letters.next().is_some_and(|first| first.is_ascii_uppercase())
                && letters.next().is_some_and(|second| second.is_ascii_lowercase())
                && literal.len() > 3
                && literal.chars().all(|letter| letter.is_ascii_alphabetic());
            if is_word {
                words.insert(literal.to_owned(), file.clone());
            }
        }
    }
    words
}
