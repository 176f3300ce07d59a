//! `docs/policies.md` lists the ways that the policies check.

use bindery::{
    apis::bindery::credential_policy::RuleName,
    policy::{Root, WAYS},
};

use crate::pages;

const PAGE: &str = "docs/policies.md";

#[test]
fn the_page_lists_every_way_into_a_pod() {
    let row = |way: &bindery::policy::Way| {
        let root = match way.root {
            Root::Container => "spec.containers[].",
            Root::Volume => "spec.volumes[].",
            Root::Template => "",
        };
        format!("| `{}` | {} | `{root}{}` |", way.rule.name(), way.what, way.path)
    };
    let rows: Vec<_> = WAYS.iter().map(row).collect();
    let expected = format!("| rule | way | field |\n|---|---|---|\n{}\n\n", rows.join("\n"));
    assert!(pages::read(PAGE).contains(&expected), "{PAGE} does not have this table:\n{expected}");
}

#[test]
fn the_page_lists_every_rule() {
    let cells = pages::first_cells(PAGE, Some("The rules"), "rule");
    let listed: Vec<_> = cells.iter().flat_map(|cell| pages::words(cell)).collect();
    assert_eq!(listed, RuleName::ALL.map(RuleName::name));
}
