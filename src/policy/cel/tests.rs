//! What a policy compiles to. `tests/policies` has a real API server evaluate it.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn policy(spec: Value) -> CredentialPolicy {
    let mut object = json!({"metadata": {"name": "p", "uid": "u"}});
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

fn compiled(spec: Value, exceptions: &[CredentialPolicyException]) -> Vec<Compiled> {
    compile(&policy(spec), exceptions, &["bindery".to_owned()], now()).unwrap()
}

fn names(compiled: &[Compiled]) -> Vec<&str> {
    compiled.iter().map(|it| it.policy.metadata.name.as_deref().unwrap()).collect()
}

fn expression<'a>(compiled: &'a Compiled, name: &str) -> &'a str {
    let variables = compiled.policy.spec.as_ref().unwrap().variables.as_ref().unwrap();
    &variables.iter().find(|variable| variable.name == name).unwrap().expression
}

#[test]
fn each_mode_that_a_rule_can_have_is_one_policy() {
    let spec = json!({"rules": {"filesOnly": {}, "noPlainText": {"mode": "Enforce"}},
        "overrides": [{"namespaces": ["a"], "rules": ["filesOnly"], "mode": "Warn"}]});
    let compiled = compiled(spec, &[]);
    assert_eq!(
        names(&compiled),
        ["bindery-policy-p-enforce", "bindery-policy-p-warn", "bindery-policy-p-audit"]
    );
    let rules: Vec<_> = compiled.iter().map(|it| it.rules.clone()).collect();
    assert_eq!(rules, [vec![RuleName::NoPlainText], vec![RuleName::FilesOnly], vec![RuleName::FilesOnly]]);
    let actions: Vec<_> = compiled.iter().flat_map(|it| it.binding.spec.validation_actions.clone()).collect();
    assert_eq!(actions, ["Deny", "Warn", "Audit"]);
    for it in &compiled {
        assert_eq!(it.binding.metadata.name, it.policy.metadata.name);
        assert_eq!(it.policy.spec.as_ref().unwrap().failure_policy.as_deref(), Some("Fail"));
        assert_eq!(it.policy.metadata.labels.as_ref().unwrap()[contract::policy::POLICY], "p");
    }
}

#[test]
fn the_rule_about_tokens_has_a_policy_for_secrets_as_well() {
    let compiled = compiled(json!({"mode": "Enforce", "rules": {"noServiceAccountTokens": {}}}), &[]);
    assert_eq!(names(&compiled), ["bindery-policy-p-enforce", "bindery-policy-p-enforce-token-secrets"]);
}

#[test]
fn namespaces_are_selected_by_the_binding() {
    let spec = json!({"scope": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "excludeNamespaces": ["x"]},
        "rules": {"filesOnly": {}}});
    let selector =
        compiled(spec, &[])[0].binding.spec.match_resources.clone().unwrap().namespace_selector.unwrap();
    assert_eq!(
        json!(selector),
        json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
            "values": ["bindery", "kube-node-lease", "kube-system", "x"]}]})
    );
}

#[test]
fn the_first_override_comes_first() {
    let spec = json!({"mode": "Enforce", "rules": {"filesOnly": {}}, "overrides": [
        {"namespaces": ["a", "b*"], "mode": "Warn"},
        {"namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "DoesNotExist"}]}, "mode": "Audit"},
    ]});
    assert_eq!(
        expression(&compiled(spec, &[])[0], "filesOnly_mode"),
        "!variables.inScope || false ? '' : (variables.namespaceName in ['a'] || variables.namespaceName.startsWith('b')) ? 'Warn' : \
         !variables.namespaceLabels[?'k'].hasValue() ? 'Audit' : 'Enforce'"
    );
}

#[test]
fn only_exceptions_that_have_not_ended_are_compiled() {
    let exception = |end: &str| -> CredentialPolicyException {
        serde_json::from_value(
            json!({"metadata": {"name": "e"}, "spec": {"policy": "p", "namespaces": ["shop"],
            "names": ["web*"], "reason": "r", "owner": "o", "expiresAt": end}}),
        )
        .unwrap()
    };
    let spec = || json!({"rules": {"filesOnly": {}}});
    let exceptions = [exception("2025-12-31T00:00:00Z"), exception("2026-06-01T00:00:00Z")];
    assert_eq!(
        expression(&compiled(spec(), &exceptions)[0], "filesOnly_mode"),
        "!variables.inScope || (variables.namespaceName in ['shop'] && variables.name.startsWith('web') && \
         variables.times.size() > 0 && variables.times.all(t, t < timestamp('2026-06-01T00:00:00Z'))) ? '' : 'Audit'"
    );
    assert_eq!(compiled(spec(), &exceptions[..1]), compiled(spec(), &[]));
}

/// What the API server may refuse comes last, and has objects of its own, so that the other rules hold all the same.
#[test]
fn conditions_of_administrators_come_last() {
    let spec = json!({"mode": "Warn", "overrides": [{"namespaces": ["a"], "mode": "Enforce"}], "rules": {
        "conditions": {"checks": [{"name": "a", "expression": "true // b", "message": "m\nn"}]},
        "filesOnly": {}, "noPlainText": {"configMaps": true}, "maxAge": {"days": 9}, "whoMayBind": {}, "allowedServices": {"limits": [{"access": ["readonly"]}]}, "protectedObjects": {}}});
    let compiled = compiled(spec, &[]);
    let suffixes: Vec<_> =
        names(&compiled).iter().map(|name| name.replace("bindery-policy-p-", "")).collect();
    let each = ["", "-protected-objects", "-bindings", "-services", "-config-maps", "-ages", "-conditions"];
    let expected = each.iter().flat_map(|suffix| ["enforce", "warn"].map(|mode| format!("{mode}{suffix}")));
    assert_eq!(suffixes, expected.collect::<Vec<_>>());
    assert!(names(&compiled).into_iter().all(|name| policy_of_object(name) == Some("p")));
    let last = compiled.last().unwrap().policy.spec.clone().unwrap().validations.unwrap();
    assert_eq!(last[0].expression, "variables.conditions_mode != 'Warn' || (\ntrue // b\n)");
    assert_eq!(last[0].message.as_deref(), Some("[conditions] a: m n"));
}

/// A custom resource definition that is gone must not stop the cluster.
#[test]
fn only_the_rule_with_parameters_ignores_failures() {
    let compiled = compiled(json!({"rules": {"maxAge": {"days": 2}, "filesOnly": {}}}), &[]);
    let policies: Vec<_> = compiled
        .iter()
        .map(|it| {
            let spec = it.policy.spec.as_ref().unwrap();
            (spec.failure_policy.as_deref(), spec.param_kind.is_some(), it.binding.spec.param_ref.is_some())
        })
        .collect();
    assert_eq!(policies, [(Some("Fail"), false, false), (Some("Ignore"), true, true)]);
    assert!(expression(&compiled[1], "isOld").contains("duration('48h')"));
}

#[test]
fn objects_of_others_belong_to_no_policy() {
    for name in ["other", "bindery-policy-p", "bindery-policy-p-deny", "bindery-policy-p-enforce-other"] {
        assert_eq!(policy_of_object(name), None, "{name}");
    }
    assert_eq!(policy_of_object("bindery-policy-a-warn-bindings-enforce"), Some("a-warn-bindings"));
}

/// An administrator's text must not become code.
#[test]
fn texts_of_the_policy_stay_literals() {
    let text = "it's\n' + 1/0 + '";
    let spec = json!({"scope": {"images": [text]}, "overrides": [{"namespaces": [text], "mode": "Warn"}],
    "rules": {
        "bindingsOnly": {"message": text, "allowSecrets": [text]},
        "protectedObjects": {"message": text, "allowGroups": [text], "allowUsers": [text]},
        "whoMayBind": {"message": text, "allowSecrets": [text]},
        "allowedServices": {"message": text, "limits": [{"namespaces": [text], "exceptNamespaces": [text],
            "allowClasses": [text], "forbidPlans": [text], "access": [text]}]},
        "noPlainText": {"message": text, "configMaps": true, "allowVariables": [text]},
        "maxAge": {"message": text, "days": 1},
        "conditions": {"checks": [{"name": "a", "expression": "true", "message": text}]},
    }});
    for it in compiled(spec, &[]) {
        let spec = it.policy.spec.unwrap();
        let variables = spec.variables.unwrap().into_iter().map(|variable| variable.expression);
        let validations = spec.validations.unwrap().into_iter();
        let conditions = spec.match_conditions.unwrap().into_iter().map(|it| it.expression);
        let messages = validations.flat_map(|it| [Some(it.expression), it.message_expression]).flatten();
        for expression in variables.chain(messages).chain(conditions) {
            let outside: String = expression.replace("\\'", "").split('\'').step_by(2).collect();
            assert!(!outside.contains("1/0"), "{expression}");
        }
    }
}

#[test]
fn messages_have_one_line_and_begin_with_the_rule() {
    let compiled = compiled(json!({"rules": {"filesOnly": {"message": "Ask\n  us"}}}), &[]);
    for validation in compiled[0].policy.spec.clone().unwrap().validations.unwrap() {
        assert_eq!(validation.message.as_deref(), Some("[filesOnly] Ask us"));
        assert!(validation.message_expression.unwrap().starts_with("'[filesOnly] Ask us: "));
    }
}
