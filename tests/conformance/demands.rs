//! Checks that `docs/conformance.md` names a test for each demand, that these tests exist and run on every store, and
//! that no test lacks a demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

const DOCUMENT: &str = include_str!("../../docs/conformance.md");

/// Where a test may run beside the stores.
const OVER: [&str; 1] = ["alibaba"];

/// Modules that examine the suite itself.
const OF_THE_SUITE: [&str; 1] = ["demands"];

/// A row of the document.
#[derive(Debug)]
struct Demand {
    id: String,
    text: String,
    source: String,
    /// `area::test`.
    tests: Vec<String>,
}

/// Rows are `| id | demand | where from | tests |`; those of other tables have other widths or no id.
fn demands(document: &str) -> Vec<Demand> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .filter_map(|cells| match cells.as_slice() {
            [id, text, source, tests] if id.ends_with(|c: char| c.is_ascii_digit()) => Some(Demand {
                id: (*id).to_owned(),
                text: (*text).to_owned(),
                source: (*source).to_owned(),
                tests: tests.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect(),
            }),
            _ => None,
        })
        .collect()
}

/// The tests of this program, as it lists them itself.
fn listed(more: &[&str]) -> BTreeSet<String> {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--list", "--format", "terse"]).args(more).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(ToOwned::to_owned).collect()
}

/// `area::test` of each test of a demand, with the stores it runs on; none for those that need no broker.
fn by_name(tests: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for test in tests {
        let parts: Vec<&str> = test.split("::").collect();
        match parts.as_slice() {
            [area, ..] if OF_THE_SUITE.contains(area) => {}
            [area, name] => drop(found.entry(format!("{area}::{name}")).or_default()),
            [area, over, name] if OVER.contains(over) => {
                found.entry(format!("{area}::{name}")).or_default();
            }
            [area, store, name] => {
                found.entry(format!("{area}::{name}")).or_default().insert((*store).to_owned());
            }
            _ => panic!("{test} is neither area::test nor area::store::test"),
        }
    }
    found
}

#[test]
fn every_demand_names_its_tests() {
    let demands = demands(DOCUMENT);
    assert!(demands.len() > 100, "the tables were not read: {}", demands.len());
    let mut ids = BTreeSet::new();
    for demand in demands {
        assert!(ids.insert(demand.id.clone()), "{} is there twice", demand.id);
        assert!(!demand.text.is_empty() && !demand.source.is_empty(), "{demand:?}");
        assert!(!demand.tests.is_empty(), "{} names no test", demand.id);
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let tests = by_name(&listed(&[]));
    for demand in demands(DOCUMENT) {
        for test in &demand.tests {
            assert!(tests.contains_key(test), "{} names {test}, which is not there", demand.id);
        }
    }
}

#[test]
fn no_test_is_ignored() {
    assert_eq!(listed(&["--ignored"]), BTreeSet::new());
}

#[test]
fn every_test_shows_a_demand() {
    let named: BTreeSet<String> = demands(DOCUMENT).into_iter().flat_map(|demand| demand.tests).collect();
    let tests: BTreeSet<String> = by_name(&listed(&[])).into_keys().collect();
    assert_eq!(tests.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_test_runs_on_every_store() {
    let tests = by_name(&listed(&[]));
    let stores: BTreeSet<String> = tests.values().flatten().cloned().collect();
    assert!(stores.contains("sqlite"));
    for (test, on) in tests {
        assert!(on.is_empty() || on == stores, "{test} runs on {on:?} only");
    }
}

#[test]
fn rows_are_read() {
    let text = "| id | demand | section | tests |\n|---|---|---|---|\n| H1 | Do it. | Headers | `a::b`, `c::d` |\n| x | y |";
    let rows = demands(text);
    assert_eq!((rows.len(), rows[0].id.as_str()), (1, "H1"));
    assert_eq!(rows[0].tests, ["a::b", "c::d"]);
}
