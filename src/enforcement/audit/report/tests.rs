use super::*;
use crate::enforcement::audit::{findings::Violations, kinds::KINDS};

fn policy(name: &str) -> CredentialPolicy {
    serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {"rules": {"filesOnly": {}}}}))
    .unwrap()
}

fn violations(mode: Mode, exception: Option<&str>) -> Violations {
    let violation = Violation {
        policy: "p".to_owned(),
        rule: RuleName::FilesOnly,
        mode,
        exception: exception.map(str::to_owned),
        message: "m".to_owned(),
    };
    Violations { uid: "1".to_owned(), all: vec![violation], if_missing: BTreeMap::new() }
}

fn objects(all: impl IntoIterator<Item = (String, Violations)>) -> BTreeMap<ObjectName, Violations> {
    all.into_iter().map(|(name, violations)| (ObjectName { kind: &KINDS[3], name }, violations)).collect()
}

/// The objects, as findings show them.
fn shown(objects: &BTreeMap<ObjectName, Violations>) -> BTreeMap<&ObjectName, (&str, Vec<&Violation>)> {
    objects.iter().map(|(object, found)| (object, (found.uid.as_str(), found.all.iter().collect()))).collect()
}

#[test]
fn a_report_has_a_result_for_each_violation_and_each_rule_without_one() {
    let objects = objects([
        ("a".to_owned(), violations(Mode::Audit, Some("legacy"))),
        ("b".to_owned(), violations(Mode::Audit, None)),
        ("c".to_owned(), violations(Mode::Enforce, None)),
    ]);
    let held = [("p", RuleName::FilesOnly, Mode::Audit), ("q", RuleName::NoPlainText, Mode::Enforce)];
    let report = report("shop", &shown(&objects), &held, &[policy("q"), policy("p"), policy("elsewhere")]);
    let results: Vec<_> =
        report["results"].as_array().unwrap().iter().map(|it| it["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["fail", "warn", "skip", "pass"]);
    assert_eq!(report["summary"], json!({"pass": 1, "fail": 1, "warn": 1, "error": 0, "skip": 1}));
    let owners: Vec<_> = report["metadata"]["ownerReferences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(owners, ["p", "q"]);
    assert_eq!(
        report["results"][2],
        json!({"source": "bindery", "policy": "p", "rule": "filesOnly", "category": "Credentials", "severity": "medium",
            "scored": false, "result": "skip", "message": "m", "properties": {"mode": "Audit", "exception": "legacy"},
            "resources": [{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "a", "uid": "1"}]})
    );
    assert_eq!(report["results"][3]["severity"], "high");
}

#[test]
fn a_large_report_keeps_the_failures_and_fits_into_the_api_server() {
    let longest = "x".repeat(500);
    let many = (0..1200).map(|number| {
        let mode = if number == 1199 { Mode::Enforce } else { Mode::Warn };
        let mut violations = violations(mode, None);
        violations.all[0].message.clone_from(&longest);
        (format!("{}{number:04}", "n".repeat(59)), violations)
    });
    let report = report("shop", &shown(&objects(many)), &[], &[policy("p")]);
    assert_eq!(report["results"].as_array().unwrap().len(), MOST_RESULTS);
    assert_eq!(report["results"][0]["result"], "fail");
    assert_eq!(report["summary"]["warn"], 1199);
    assert_eq!(report["metadata"]["annotations"][RESULTS_LEFT_OUT], "200");
    assert!(report.to_string().len() < 1_400_000, "{}", report.to_string().len());
}
