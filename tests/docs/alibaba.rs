//! The actions that docs/alibaba.md lists are those that charts/alibabacloud-servicebroker/ram-policy.json allows.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::pages::read;

/// Actions that need no right: the token is one, and everybody may ask who it is.
const FREE: [&str; 2] = ["sts:AssumeRoleWithOIDC", "sts:GetCallerIdentity"];

#[test]
fn the_broker_has_the_rights_for_the_listed_actions_and_no_others() {
    let policy: Value =
        serde_json::from_str(&read("charts/alibabacloud-servicebroker/ram-policy.json")).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    });
    let allowed: BTreeSet<_> = actions.map(|action| action.as_str().unwrap().to_owned()).collect();
    let page = read("docs/alibaba.md");
    let table = page.split("## Actions of the API").nth(1).unwrap().split("\n## ").next().unwrap();
    let firsts = table.lines().filter_map(|row| row.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<_> = firsts
        .flat_map(|cell| cell.split("`, `"))
        .map(|action| action.trim_end_matches('`').to_owned())
        .filter(|action| !FREE.contains(&action.as_str()))
        .collect();
    assert_eq!(allowed, listed);
}
