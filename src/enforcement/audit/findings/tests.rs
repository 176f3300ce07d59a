use super::*;
use crate::{enforcement::audit::kinds::KINDS, policy::Finding};

fn object(name: &str) -> ObjectName {
    ObjectName { kind: &KINDS[0], name: name.to_owned() }
}

fn violation(policy: &str, mode: Mode, exception: Option<&str>) -> Violation {
    Violation {
        policy: policy.to_owned(),
        rule: RuleName::FilesOnly,
        mode,
        exception: exception.map(str::to_owned),
        message: "m".to_owned(),
    }
}

fn one(violation: Violation) -> Violations {
    Violations { uid: "u".to_owned(), all: vec![violation], if_missing: BTreeMap::new() }
}

#[test]
fn only_changed_namespaces_are_named() {
    let mut findings = Findings::default();
    let violations = || one(violation("p", Mode::Warn, None));
    findings.set("shop", object("web"), violations());
    assert_eq!(findings.take_changed(), BTreeSet::from(["shop".to_owned()]));
    findings.set("shop", object("web"), violations());
    findings.set("shop", object("fine"), Violations { all: Vec::new(), ..violations() });
    findings.remove("bank", &object("web"));
    assert_eq!(findings.take_changed(), BTreeSet::new());
    findings.remove("shop", &object("web"));
    assert_eq!(findings.take_changed(), BTreeSet::from(["shop".to_owned()]));
    assert_eq!(findings.namespaces().count(), 0, "nothing is kept of a namespace without findings");
}

#[test]
fn a_complete_list_replaces_its_kind_alone() {
    let mut findings = Findings::default();
    let violations = || one(violation("p", Mode::Warn, None));
    for name in ["stays", "goes"] {
        findings.set("shop", object(name), violations());
    }
    let deployment = ObjectName { kind: &KINDS[3], name: "goes".to_owned() };
    findings.set("shop", deployment.clone(), violations());
    findings.take_changed();
    let listed = BTreeSet::from([("shop".to_owned(), "stays".to_owned())]);
    findings.retain(&KINDS[0], &listed);
    assert_eq!(findings.take_changed(), BTreeSet::from(["shop".to_owned()]));
    let left: Vec<_> = findings.of("shop").into_keys().cloned().collect();
    assert_eq!(left, [object("stays"), deployment]);
    findings.retain(&KINDS[0], &listed);
    assert_eq!(findings.take_changed(), BTreeSet::new());
}

#[test]
fn counts_name_the_largest_namespaces_and_leave_out_exceptions() {
    let mut findings = Findings::default();
    for number in 0..25 {
        findings.set(&format!("n{number:02}"), object("web"), one(violation("p", Mode::Warn, None)));
    }
    findings.set("large", object("a"), one(violation("p", Mode::Enforce, None)));
    findings.set("large", object("b"), one(violation("p", Mode::Enforce, None)));
    findings.set("exempt", object("a"), one(violation("p", Mode::Enforce, Some("e"))));
    let counts = &findings.counts()["p"];
    assert_eq!(counts.violations, 27);
    let of_rule = |mode| counts.rules.iter().find(|it| it.mode == mode).unwrap();
    assert_eq!((of_rule(Mode::Warn).violations, of_rule(Mode::Warn).exempt), (25, 0));
    assert_eq!((of_rule(Mode::Enforce).violations, of_rule(Mode::Enforce).exempt), (2, 1));
    assert_eq!(counts.namespaces.len(), 20);
    assert_eq!(counts.other_namespaces, 6);
    let first = &counts.namespaces[0];
    assert_eq!((first.namespace.as_str(), first.violations, first.enforced), ("large", 2, 2));
    assert_eq!(counts.namespaces[1].namespace, "n00");
}

#[test]
fn the_verdicts_of_a_rule_become_one_violation_of_limited_length() {
    let verdict = |place: String| Verdict {
        policy: "p".to_owned(),
        mode: Mode::Warn,
        finding: Finding { rule: RuleName::NoPlainText, place, what: "é".repeat(200) },
        message: "ask us".to_owned(),
        exception: None,
    };
    let all = violations((0..5).map(|number| verdict(format!("spec.containers[{number}]"))).collect());
    assert_eq!(all.len(), 1);
    assert!(all[0].message.starts_with("ask us (spec.containers[0]: é"), "{}", all[0].message);
    assert!(all[0].message.len() <= MOST_BYTES, "{}", all[0].message.len());
}

#[test]
fn a_binding_that_does_not_exist_is_a_violation_until_it_does() {
    let mut findings = Findings::default();
    let missing = violation("p", Mode::Warn, None);
    let pod = || Violations {
        uid: "u".to_owned(),
        all: Vec::new(),
        if_missing: BTreeMap::from([("db".to_owned(), vec![missing.clone()])]),
    };
    findings.set("shop", object("web"), pod());
    assert!(findings.of("shop").is_empty() && findings.counts().is_empty(), "bindings are unknown yet");
    findings.take_changed();
    findings.list_bindings();
    findings.list_binding("bank", "db");
    findings.bindings_listed();
    assert_eq!(findings.take_changed(), BTreeSet::from(["shop".to_owned()]));
    assert_eq!(
        findings.of("shop")[&object("web")].1,
        [&missing],
        "a binding of another namespace does not count"
    );
    findings.set_binding("shop", "cache", true);
    assert_eq!(findings.take_changed(), BTreeSet::new(), "another binding");
    findings.set_binding("shop", "db", true);
    assert_eq!(findings.take_changed(), BTreeSet::from(["shop".to_owned()]));
    assert!(findings.of("shop").is_empty());
    findings.set_binding("shop", "db", false);
    assert_eq!(findings.counts()["p"].violations, 1);
    // A rule of a policy counts once.
    findings.set("shop", object("web"), Violations { all: vec![missing.clone()], ..pod() });
    assert_eq!(findings.counts()["p"].violations, 1);
}
