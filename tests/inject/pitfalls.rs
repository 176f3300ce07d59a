//! Checks that `docs/pitfalls.md` names an existing test for every pitfall.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tests of each row, by the number of the pitfall.
fn rows() -> BTreeMap<usize, Vec<String>> {
    let page = fs::read_to_string(repository().join("docs/pitfalls.md")).unwrap();
    let row = |line: &str| {
        let (number, rest) = line.strip_prefix("| P")?.split_once(" |")?;
        let tests = rest.trim_end().trim_end_matches('|').rsplit('|').next()?;
        let names = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((number.parse().unwrap(), names))
    };
    page.lines().filter_map(row).collect()
}

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The names of the test functions of a suite.
fn tests_of(suite: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    match suite {
        "lib" => sources(&repository().join("src"), &mut files),
        _ => {
            sources(&repository().join("tests").join(suite), &mut files);
            files.extend(Some(repository().join(format!("tests/{suite}.rs"))).filter(|file| file.exists()));
        }
    }
    files.iter().flat_map(|file| tests_in(&fs::read_to_string(file).unwrap())).collect()
}

/// A function is a test if an attribute above it says so; other attributes may be in between.
fn tests_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some((_, name)) = line.split_once("fn ").filter(|(before, _)| matches!(*before, "" | "async "))
        {
            if is_test {
                found.push(name.split(['(', '<']).next().unwrap().to_owned());
            }
            is_test = false;
        }
        is_test |=
            ["#[test]", "#[tokio::test", "#[rstest"].iter().any(|attribute| line.starts_with(attribute));
    }
    found
}

#[test]
fn every_pitfall_names_tests_that_exist() {
    let rows = rows();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=28).collect::<Vec<_>>());
    let mut suites: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (number, tests) in rows {
        assert!(!tests.is_empty(), "P{number} names no test");
        for test in tests {
            let (suite, name) =
                test.split_once("::").unwrap_or_else(|| panic!("P{number}: {test} names no suite"));
            let known = suites.entry(suite.to_owned()).or_insert_with(|| tests_of(suite));
            assert!(known.contains(name), "P{number}: there is no test {test}");
        }
    }
}

#[test]
fn only_tests_count_as_tests() {
    let source = "#[test]\nfn a() {}\nfn b() {}\n#[rstest]\n#[case(1)]\nasync fn c<T>() {}\n// fn d()\n#[tokio::test(x)]\nasync fn e() {}";
    assert_eq!(tests_in(source), ["a", "c", "e"]);
}
