//! The page's table of API actions: it has exactly the actions that bindery calls, and the tests that it names exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The files below a folder of the repository, joined.
fn sources(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    files.collect()
}

/// The actions that the client calls, by the names that policies have.
fn called() -> BTreeSet<String> {
    let source = sources("src/cloud/alibaba");
    let calls = ["Call::read(\"", "Call::write(\"", "Call::once(\""].map(|call| {
        source.split(call).skip(1).filter_map(|rest| rest.split('"').next()).map(ToOwned::to_owned)
    });
    let is_action =
        |name: &String| ["rds:", "ram:", "sts:", "oss:"].iter().any(|product| name.starts_with(product));
    calls.into_iter().flatten().filter(is_action).collect()
}

/// The rows of the table: an action, and the tests that cover it.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alibaba.md")).unwrap();
    let (_, table) = page.split_once("## Actions of the API").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `") && line.contains(':'));
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    rows.flat_map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let tests = code(cells[cells.len() - 1]);
        code(cells[0]).into_iter().map(move |action| (action, tests.clone()))
    })
    .collect()
}

#[test]
fn the_page_lists_every_action_and_tests_that_exist() {
    let (called, documented) = (called(), documented());
    let named: BTreeSet<_> = documented.keys().cloned().collect();
    let unknown: Vec<_> = named.difference(&called).collect();
    let missing: Vec<_> = called.difference(&named).collect();
    assert!(unknown.is_empty() && missing.is_empty(), "unknown: {unknown:?}, missing: {missing:?}");
    let tests = sources("tests/alibaba") + &sources("src/cloud/alibaba");
    for (action, covering) in documented {
        assert!(!covering.is_empty(), "{action} has no test");
        for test in covering {
            assert!(tests.contains(&format!("fn {test}(")), "{action}: there is no test {test}");
        }
    }
}
