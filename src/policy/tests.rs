//! Pods judged by policies. `tests/policies` judges more of them, on a real API server as well.

mod laws;
mod modes;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::apis::bindery::credential_policy::{Mode, RuleName};

/// A time before which the exceptions of these tests do not end.
fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn policy(spec: Value) -> CredentialPolicy {
    serde_json::from_value(with_fields(json!({"metadata": {"name": "p"}}), [("spec", spec)])).unwrap()
}

/// The object with these fields instead of its own.
fn with_fields<'a>(mut object: Value, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    for (name, value) in fields {
        object[name] = value;
    }
    object
}

/// The object with the fields of another instead of its own.
fn merged(mut object: Value, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            object[name] = value;
        }
    }
    object
}

fn policies(spec: Value) -> Policies {
    Policies::new(&[policy(spec)], Vec::new(), Vec::new()).unwrap()
}

/// A policy with every rule.
fn strict() -> Policies {
    policies(json!({"mode": "Enforce", "rules": {
        "bindingsOnly": {}, "noPlainText": {}, "filesOnly": {}, "noServiceAccountTokens": {},
    }}))
}

fn namespace(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Namespace {
    let owned = |texts: &[(&str, &str)]| -> BTreeMap<String, String> {
        texts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Namespace::new("shop", owned(labels), owned(annotations))
}

/// A pod that violates nothing, with this in its spec.
fn pod(spec: Value, annotations: Value) -> Value {
    let own =
        json!({"automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app:1"}]});
    let metadata = with_fields(json!({"name": "web"}), [("annotations", annotations)]);
    with_fields(json!({}), [("metadata", metadata), ("spec", merged(own, spec))])
}

fn with_container(container: Value) -> Value {
    let app = merged(json!({"name": "app", "image": "app:1"}), container);
    pod(json!({"containers": [app]}), json!({}))
}

fn judged(policies: &Policies, pod: &Value, namespace: &Namespace) -> Vec<Verdict> {
    policies.judge(&Subject { name: "web", namespace, template: pod, only_ephemeral: false }, now())
}

/// The findings of all rules: rule and place.
fn found(pod: &Value) -> Vec<(RuleName, String)> {
    let verdicts = judged(&strict(), pod, &namespace(&[], &[]));
    verdicts.into_iter().map(|verdict| (verdict.finding.rule, verdict.finding.place)).collect()
}

#[test]
fn a_pod_without_credentials_violates_nothing() {
    assert_eq!(found(&pod(json!({}), json!({}))), []);
    let downward = json!({"env": [
        {"name": "PASSWORD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['x']"}}},
        {"name": "TOKEN", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
    ], "envFrom": [{"configMapRef": {"name": "c"}}]});
    assert_eq!(found(&with_container(downward)), []);
}

#[rstest]
fn ways_into_a_container_are_found_in_every_kind_of_container(
    #[values("containers", "initContainers", "ephemeralContainers")] list: &str,
) {
    use RuleName::{BindingsOnly, FilesOnly, NoPlainText};
    let key = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    let header =
        json!({"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "Basic dXNlcjpwYXNz"}]}});
    let exec = json!({"exec": {"command": ["mysql", "--password=hunter22"]}});
    let cases = [
        (
            json!({"env": [{"name": "A", "valueFrom": key}]}),
            vec![
                (BindingsOnly, "env[A].valueFrom.secretKeyRef.name"),
                (FilesOnly, "env[A].valueFrom.secretKeyRef"),
            ],
        ),
        (
            json!({"envFrom": [{"secretRef": {"name": "s"}}]}),
            vec![(BindingsOnly, "envFrom[0].secretRef.name"), (FilesOnly, "envFrom[0].secretRef")],
        ),
        (json!({"env": [{"name": "DB_PASSWORD", "value": "x"}]}), vec![(NoPlainText, "env[DB_PASSWORD]")]),
        (json!({"env": [{"name": "URL", "value": "redis://:x@y"}]}), vec![(NoPlainText, "env[URL]")]),
        (json!({"args": ["-v", "--password=hunter22"]}), vec![(NoPlainText, "args[1]")]),
        (json!({"command": ["sh", "-c", "PASSWORD=hunter22 app"]}), vec![(NoPlainText, "command[2]")]),
        (
            json!({"lifecycle": {"postStart": exec}}),
            vec![(NoPlainText, "lifecycle.postStart.exec.command[1]")],
        ),
        (
            json!({"lifecycle": {"preStop": header}}),
            vec![(NoPlainText, "lifecycle.preStop.httpGet.httpHeaders[Authorization].value")],
        ),
        (json!({"livenessProbe": exec}), vec![(NoPlainText, "livenessProbe.exec.command[1]")]),
        (
            json!({"readinessProbe": header}),
            vec![(NoPlainText, "readinessProbe.httpGet.httpHeaders[Authorization].value")],
        ),
        (json!({"startupProbe": exec}), vec![(NoPlainText, "startupProbe.exec.command[1]")]),
    ];
    for (fields, expected) in cases {
        let mut container = json!({"name": "c", "image": "i"});
        json_patch::merge(&mut container, &fields);
        let expected: Vec<_> =
            expected.into_iter().map(|(rule, place)| (rule, format!("spec.{list}[c].{place}"))).collect();
        assert_eq!(found(&pod(json!({list: [container]}), json!({}))), expected, "{fields}");
    }
}

#[rstest]
#[case(json!({"secret": {"secretName": "s"}}), "secret.secretName")]
#[case(json!({"projected": {"sources": [{"configMap": {"name": "s"}}, {"secret": {"name": "s"}}]}}), "projected.sources[1].secret.name")]
#[case(json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}), "csi.nodePublishSecretRef.name")]
#[case(json!({"csi": {"driver": "secrets-store.csi.k8s.io"}}), "csi.driver")]
#[case(json!({"azureFile": {"secretName": "s"}}), "azureFile.secretName")]
#[case(json!({"flexVolume": {"driver": "d", "secretRef": {"name": "s"}}}), "flexVolume.secretRef.name")]
#[case(json!({"rbd": {"secretRef": {"name": "s"}}}), "rbd.secretRef.name")]
fn ways_into_a_volume_are_found(#[case] source: Value, #[case] place: &str) {
    let volume = merged(json!({"name": "v"}), source);
    let pod = pod(json!({"volumes": [volume]}), json!({}));
    assert_eq!(found(&pod), [(RuleName::BindingsOnly, format!("spec.volumes[v].{place}"))]);
}

#[test]
fn tokens_of_the_service_account_are_found() {
    let rule = RuleName::NoServiceAccountTokens;
    let mut automounted = pod(json!({}), json!({}));
    automounted["spec"].as_object_mut().unwrap().remove("automountServiceAccountToken");
    assert_eq!(found(&automounted), [(rule, "spec".to_owned())]);
    let token = |token: Value| {
        let volume = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}});
        found(&pod(json!({"volumes": [volume]}), json!({})))
    };
    let place = "spec.volumes[t].projected.sources[0].serviceAccountToken".to_owned();
    assert_eq!(token(json!({"path": "token"})), [(rule, place.clone())]);
    assert_eq!(token(json!({"path": "t", "audience": "https://kubernetes.default.svc"})), [(rule, place)]);
    assert_eq!(token(json!({"path": "t", "audience": "sts.amazonaws.com"})), []);
    let allowing = policies(json!({"rules": {"noServiceAccountTokens": {"allowServiceAccounts": ["op*"]}}}));
    automounted["spec"]["serviceAccountName"] = json!("operator");
    assert_eq!(judged(&allowing, &automounted, &namespace(&[], &[])), []);
    automounted["spec"]["serviceAccountName"] = json!("app");
    assert_eq!(judged(&allowing, &automounted, &namespace(&[], &[])).len(), 1);
}

#[test]
fn secrets_with_tokens_that_never_expire_are_found() {
    let secret = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "app"}}})
    };
    let token = secret("kubernetes.io/service-account-token");
    let verdicts = strict().judge_secret(&token, &namespace(&[], &[]), now());
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].finding.rule, RuleName::NoServiceAccountTokens);
    assert_eq!(strict().judge_secret(&secret("Opaque"), &namespace(&[], &[]), now()), []);
    let allowing = policies(json!({"rules": {"noServiceAccountTokens": {"allowServiceAccounts": ["app"]}}}));
    assert_eq!(allowing.judge_secret(&token, &namespace(&[], &[]), now()), []);
    assert_eq!(
        policies(json!({"rules": {"filesOnly": {}}})).judge_secret(&token, &namespace(&[], &[]), now()),
        []
    );
}

#[test]
fn the_secrets_of_the_pods_bindings_are_allowed() {
    let only = policies(json!({"rules": {"bindingsOnly": {"allowSecrets": ["shared-*"]}}}));
    let of = |secret: &str, annotations: Value, namespace: &Namespace| {
        let volume = json!({"name": "v", "secret": {"secretName": secret}});
        judged(&only, &pod(json!({"volumes": [volume]}), annotations), namespace).len()
    };
    let plain = namespace(&[], &[]);
    let bound = json!({"bindery.dev/bind": " db , cache"});
    assert_eq!(of("db", bound.clone(), &plain), 0);
    assert_eq!(of("cache-env", bound.clone(), &plain), 0);
    assert_eq!(of("db-env-env", bound.clone(), &plain), 1);
    assert_eq!(of("other", bound, &plain), 1);
    assert_eq!(of("db", json!({"bindery.dev/bind.app": "db"}), &plain), 0);
    assert_eq!(of("shared-ca", json!({}), &plain), 0);
    // A plain Secret is not a binding, although bindery injects it.
    assert_eq!(of("db", json!({"bindery.dev/bind": "secret/db"}), &plain), 1);
    let defaults = namespace(&[("bindery.dev/inject", "enabled")], &[("bindery.dev/bind", "db")]);
    assert_eq!(of("db", json!({}), &defaults), 0);
    assert_eq!(of("db", json!({"bindery.dev/bind": ""}), &defaults), 1);
    assert_eq!(of("db", json!({}), &namespace(&[], &[("bindery.dev/bind", "db")])), 1);
}

#[rstest]
#[case(json!({"bindery.dev/bind": "db"}), true)]
#[case(json!({"bindery.dev/bind": "db", "bindery.dev/as": "env"}), true)]
#[case(json!({"bindery.dev/bind": "db", "bindery.dev/as": "files, env"}), true)]
#[case(json!({"bindery.dev/bind": "db", "bindery.dev/as": "files"}), false)]
#[case(json!({"bindery.dev/bind": "db", "bindery.dev/as": "files", "bindery.dev/env": "A=db/b"}), true)]
#[case(json!({"bindery.dev/bind.app": "db"}), true)]
#[case(json!({"bindery.dev/bind": "configmap/c"}), false)]
#[case(json!({"bindery.dev/bind": "configmap/c", "bindery.dev/env": "A=configmap/c/b"}), false)]
#[case(json!({"bindery.dev/bind": "secret/s"}), false)]
#[case(json!({"bindery.dev/bind": "secret/s", "bindery.dev/env": "A=secret/s/b"}), true)]
#[case(json!({"bindery.dev/bind": ""}), false)]
#[case(json!({}), false)]
fn requests_for_variables_are_found_before_the_injection(#[case] annotations: Value, #[case] expected: bool) {
    let found = found(&pod(json!({}), annotations));
    let expected = expected.then(|| (RuleName::FilesOnly, "metadata.annotations".to_owned()));
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn annotations_are_searched_except_the_copy_of_the_manifest() {
    let url = "postgres://a:b@c/d";
    let place = (RuleName::NoPlainText, "metadata.annotations".to_owned());
    assert_eq!(found(&pod(json!({}), json!({"example.com/dsn": url}))), [place]);
    let copied = json!({"kubectl.kubernetes.io/last-applied-configuration": url});
    assert_eq!(found(&pod(json!({}), copied)), []);
    let reference = json!({"bindery.dev/files": "password=db-binding/password"});
    assert_eq!(found(&pod(json!({}), reference)), []);
}

#[test]
fn allowed_variables_are_not_searched() {
    let allowing = policies(json!({"rules": {"noPlainText": {"allowVariables": ["DEMO_*"]}}}));
    let pod = with_container(
        json!({"env": [{"name": "DEMO_PASSWORD", "value": "x"}, {"name": "PASSWORD", "value": "x"}]}),
    );
    let verdicts = judged(&allowing, &pod, &namespace(&[], &[]));
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].finding.place, "spec.containers[app].env[PASSWORD]");
}

/// The pod may be older than the policy, and `kubectl debug` must stay possible.
#[test]
fn of_a_debugged_pod_only_the_new_containers_are_judged() {
    let bad = json!({"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]});
    let mut pod = pod(json!({"containers": [bad]}), json!({"x": "postgres://a:b@c"}));
    let namespace = namespace(&[], &[]);
    let debug = |pod: &Value| {
        let subject = Subject { name: "web", namespace: &namespace, template: pod, only_ephemeral: true };
        strict().judge(&subject, now()).len()
    };
    assert_eq!(debug(&pod), 0);
    pod["spec"]["ephemeralContainers"] = json!([bad]);
    assert_eq!(debug(&pod), 2);
}
