//! Scope, modes, overrides and exceptions.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::apis::bindery::credential_policy_exception::CredentialPolicyException;

/// A pod that violates `filesOnly`.
fn bad() -> Value {
    with_container(json!({"envFrom": [{"secretRef": {"name": "s"}}]}))
}

fn modes(spec: Value, namespace: &Namespace) -> Vec<Mode> {
    judged(&policies(spec), &bad(), namespace).into_iter().map(|verdict| verdict.mode).collect()
}

fn exception(spec: Value) -> CredentialPolicyException {
    let whole = json!({"policy": "p", "namespaces": ["shop"], "reason": "r", "owner": "o",
        "expiresAt": "2026-06-01T00:00:00Z"});
    let object = with_fields(json!({"metadata": {"name": "e"}}), [("spec", merged(whole, spec))]);
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_rule_has_its_own_mode_or_the_policys() {
    let shop = namespace(&[], &[]);
    assert_eq!(modes(json!({"rules": {"filesOnly": {}}}), &shop), [Mode::Audit]);
    assert_eq!(modes(json!({"mode": "Warn", "rules": {"filesOnly": {}}}), &shop), [Mode::Warn]);
    assert_eq!(
        modes(json!({"mode": "Warn", "rules": {"filesOnly": {"mode": "Enforce"}}}), &shop),
        [Mode::Enforce]
    );
}

#[rstest]
#[case(json!([{"namespaces": ["shop"], "mode": "Enforce"}]), Mode::Enforce)]
#[case(json!([{"namespaces": ["sh*"], "mode": "Enforce"}]), Mode::Enforce)]
#[case(json!([{"namespaces": ["other"], "mode": "Enforce"}]), Mode::Audit)]
#[case(json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}, "mode": "Enforce"}]), Mode::Enforce)]
#[case(json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}, "mode": "Enforce"}]), Mode::Audit)]
#[case(json!([{"namespaces": ["shop"], "namespaceSelector": {"matchLabels": {"team": "b"}}, "mode": "Enforce"}]), Mode::Audit)]
#[case(json!([{"namespaces": ["shop"], "mode": "Warn"}, {"namespaces": ["shop"], "mode": "Enforce"}]), Mode::Warn)]
#[case(json!([{"namespaces": ["shop"], "rules": ["noPlainText"], "mode": "Enforce"}]), Mode::Audit)]
#[case(json!([{"namespaces": ["shop"], "rules": ["filesOnly"], "mode": "Enforce"}]), Mode::Enforce)]
fn the_first_override_that_matches_counts(#[case] overrides: Value, #[case] expected: Mode) {
    let spec = with_fields(json!({"rules": {"filesOnly": {}}}), [("overrides", overrides)]);
    assert_eq!(modes(spec, &namespace(&[("team", "a")], &[])), [expected]);
}

#[rstest]
#[case(json!({}), true)]
#[case(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), true)]
#[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}}), false)]
#[case(json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}), true)]
#[case(json!({"excludeNamespaces": ["shop"]}), false)]
#[case(json!({"serviceAccounts": ["default"]}), true)]
#[case(json!({"serviceAccounts": ["ci-*"]}), false)]
#[case(json!({"images": ["app:*"]}), true)]
#[case(json!({"images": ["registry.example.com/*"]}), false)]
fn a_policy_holds_within_its_scope(#[case] scope: Value, #[case] expected: bool) {
    let spec = with_fields(json!({"rules": {"filesOnly": {}}}), [("scope", scope)]);
    assert_eq!(!modes(spec, &namespace(&[("team", "a")], &[])).is_empty(), expected);
}

#[test]
fn no_policy_holds_in_the_namespaces_of_the_system() {
    let policy = policy(json!({"rules": {"filesOnly": {}}}));
    let excluding = Policies::new(&[policy], Vec::new(), vec!["bindery".to_owned()]).unwrap();
    for (name, expected) in [("kube-system", 0), ("kube-node-lease", 0), ("bindery", 0), ("kube-public", 1)] {
        let namespace = Namespace::new(name, BTreeMap::new(), BTreeMap::new());
        assert_eq!(judged(&excluding, &bad(), &namespace).len(), expected, "{name}");
    }
}

#[rstest]
#[case(json!({}), true)]
#[case(json!({"rules": ["filesOnly"]}), true)]
#[case(json!({"rules": ["noPlainText"]}), false)]
#[case(json!({"policy": "other"}), false)]
#[case(json!({"namespaces": ["other"]}), false)]
#[case(json!({"names": ["web"]}), true)]
#[case(json!({"names": ["we*"]}), true)]
#[case(json!({"names": ["api"]}), false)]
#[case(json!({"serviceAccounts": ["default"]}), true)]
#[case(json!({"serviceAccounts": ["other"]}), false)]
#[case(json!({"images": ["app:*"]}), true)]
#[case(json!({"images": ["other:*"]}), false)]
#[case(json!({"expiresAt": "2026-01-01T00:00:01Z"}), true)]
#[case(json!({"expiresAt": "2026-01-01T00:00:00Z"}), false)]
fn an_exception_exempts_just_what_it_names_until_it_ends(#[case] spec: Value, #[case] expected: bool) {
    let policy = policy(json!({"mode": "Enforce", "rules": {"filesOnly": {}}}));
    let policies = Policies::new(&[policy], vec![exception(spec)], Vec::new()).unwrap();
    let verdicts = judged(&policies, &bad(), &namespace(&[], &[]));
    assert_eq!(verdicts.len(), 1, "an exempt finding is still reported");
    assert_eq!(verdicts[0].exception.as_deref(), expected.then_some("e"));
    assert_eq!(verdicts[0].is_violated(Mode::Audit), !expected);
}

#[test]
fn an_exception_for_an_image_exempts_no_other_container() {
    let policy = policy(json!({"rules": {"filesOnly": {}}}));
    let policies =
        Policies::new(&[policy], vec![exception(json!({"images": ["app:*"]}))], Vec::new()).unwrap();
    let mut pod = bad();
    pod["spec"]["initContainers"] = json!([{"name": "i", "image": "evil"}]);
    assert_eq!(judged(&policies, &pod, &namespace(&[], &[]))[0].exception, None);
}

#[rstest]
#[case(json!({"rules": {}}), "spec.rules: name at least one rule")]
#[case(json!({"overrides": [{"mode": "Warn"}], "rules": {"filesOnly": {}}}), "spec.overrides[0]: select namespaces")]
#[case(
    json!({"scope": {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "rules": {"filesOnly": {}}}),
    "spec.scope.namespaceSelector: "
)]
#[case(
    json!({"overrides": [{"mode": "Warn", "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}], "rules": {"filesOnly": {}}}),
    "spec.overrides[0].namespaceSelector: operator In of key a needs values"
)]
fn invalid_policies_are_refused(#[case] spec: Value, #[case] expected: &str) {
    let error = Policies::new(&[policy(spec.clone())], Vec::new(), Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("CredentialPolicy p: {expected}")), "{error}");
    assert_eq!(cel::compile(&policy(spec), &[], &[], now()).unwrap_err().to_string(), error);
}
