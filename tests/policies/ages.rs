//! The rule about the age of credentials.

use std::collections::{BTreeMap, BTreeSet};

use bindery::{
    apis::bindery::credential_policy::{Mode, RuleName},
    policy::{Ages, Namespace, Policies, Subject},
};
use bindery_test_support::cluster;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    audit::{Audited, TYPE_CHECK},
    cluster::{Answer, Place, until},
    engines::by_command_beside,
    objects::{exception, policy, policy_of},
    services::serve_service_catalog,
    table::workload,
};

const RULE: RuleName = RuleName::MaxAge;

fn rules() -> Value {
    json!({"maxAge": {"days": 30}})
}

/// A binding whose credentials were written this many days ago, the newest last.
fn binding(namespace: &str, name: &str, days: &[i64]) -> Value {
    let written = |days: &i64| Timestamp::now() - SignedDuration::from_hours(days * 24);
    let revisions: Vec<_> = days
        .iter()
        .zip(1..)
        .map(|(days, n)| json!({"n": n, "writtenAt": written(days).to_string()}))
        .collect();
    json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"instanceRef": {"name": "db"}, "secretName": format!("{name}-login")},
        "status": {"revisions": revisions, "conditions": [], "asyncOpInProgress": false, "reconciledGeneration": 1,
            "orphanMitigationInProgress": false, "lastConditionState": "Ready"}})
}

fn bindings(namespace: &str) -> Vec<Value> {
    vec![
        binding(namespace, "old", &[100, 31]),
        binding(namespace, "rotated", &[100, 1]),
        binding(namespace, "pending", &[]),
    ]
}

/// Pods, and whether they use old credentials.
fn cases() -> Vec<(&'static str, Value, bool)> {
    let pod = |annotations: Value, spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "app", "image": "i"}]}});
        pod["metadata"]["annotations"] = annotations;
        json_patch::merge(&mut pod["spec"], &spec);
        pod
    };
    let bound = |to: &str| pod(json!({"bindery.dev/bind": to}), json!({}));
    let variable = |secret: &str| {
        let from = json!({"secretKeyRef": {"name": secret, "key": "k"}});
        pod(
            json!({}),
            json!({"containers": [{"name": "app", "image": "i", "env": [{"name": "A", "valueFrom": from}]}]}),
        )
    };
    let volume = |secret: &str| {
        pod(
            json!({}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": secret}}]}}]}),
        )
    };
    vec![
        ("no binding", pod(json!({}), json!({})), false),
        ("young credentials", bound("rotated"), false),
        ("no credentials yet", bound("pending"), false),
        ("an unknown binding", bound("none"), false),
        ("old credentials", bound("old"), true),
        ("old credentials among others", bound("rotated, old"), true),
        ("the Secret of old credentials, by annotation", bound("secret/old"), true),
        ("the Secret of old credentials", variable("old"), true),
        ("the variables of old credentials", variable("old-env"), true),
        ("the Secret that the binding names", volume("old-login"), true),
        ("another Secret", volume("old-logins"), false),
    ]
}

fn expected(is_violated: bool) -> BTreeSet<RuleName> {
    is_violated.then_some(RULE).into_iter().collect()
}

#[test]
fn the_function_and_the_command_agree_on_every_pod() {
    let known = bindings("shop");
    let policies = Policies::new(&[policy("p", json!({"rules": rules()}))], Vec::new(), Vec::new()).unwrap();
    let policies = policies.with_ages(Ages::read(&known));
    let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
    for (name, pod, is_violated) in cases() {
        let subject = Subject { name: "web", namespace: &namespace, template: &pod, only_ephemeral: false };
        let verdicts = policies.judge(&subject, Timestamp::now()).into_iter();
        let violated: BTreeSet<_> = verdicts.map(|verdict| verdict.finding.rule).collect();
        assert_eq!(violated, expected(is_violated), "{name}");
        for object in [pod.clone(), workload("CronJob", &pod)] {
            let (violated, _) = by_command_beside(&rules(), &known, &object);
            assert_eq!(violated, expected(is_violated), "{name}");
        }
    }
    assert_eq!(by_command_beside(&rules(), &[], &cases()[4].1).0, expected(false), "unknown ages");
}

/// Writes the bindings as the catalog would.
pub(crate) async fn create(place: &Place, namespace: &str) {
    for binding in bindings(namespace) {
        let path = place.path(namespace, &binding);
        let answer = place.send("POST", &path, &binding).await;
        assert!(matches!(answer, Answer::Allowed { .. }), "{answer:?}");
        write_status(place, &binding).await;
    }
}

async fn write_status(place: &Place, binding: &Value) {
    let (namespace, name) = (&binding["metadata"]["namespace"], &binding["metadata"]["name"]);
    let path = place.path(namespace.as_str().unwrap(), binding);
    let one = format!("{path}/{}/status?fieldManager=tests&force=true", name.as_str().unwrap());
    let answer = place.apply_as_is(&one, binding).await;
    assert!(matches!(answer, Answer::Allowed { .. }), "{answer:?}");
}

#[tokio::test]
async fn the_api_server_agrees_on_every_pod_until_a_rotation() {
    let place = Place::new("ages").await;
    let shop = place.namespace("shop").await;
    serve_service_catalog(&place, &shop).await;
    create(&place, &shop).await;
    let exempt = exception(
        "ages",
        json!({"policy": shop, "namespaces": [shop], "names": ["legacy*"],
        "expiresAt": "2999-01-01T00:00:00Z"}),
    );
    place.enforce_with(&policy_of(&shop, &shop, Mode::Enforce, &rules()), &[exempt], Timestamp::now()).await;
    let warn = place.namespace("warn").await;
    create(&place, &warn).await;
    place.enforce(&policy_of(&warn, &warn, Mode::Warn, &rules())).await;
    let bound = cases()[4].1.clone();
    let (allowed, refused) = (Answer::Allowed { warned: BTreeSet::new() }, Answer::Refused { rule: RULE });
    until("the policies hold", async || {
        place.create(&shop, &bound).await == refused
            && place.create(&warn, &bound).await == Answer::Allowed { warned: expected(true) }
    })
    .await;
    for (name, pod, is_violated) in cases() {
        for object in [pod.clone(), workload("Deployment", &pod)] {
            let answer = if is_violated { &refused } else { &allowed };
            assert_eq!(&place.create(&shop, &object).await, answer, "{name}");
            let warned = Answer::Allowed { warned: expected(is_violated) };
            assert_eq!(place.create(&warn, &object).await, warned, "{name}");
        }
    }
    let mut legacy = bound.clone();
    legacy["metadata"]["name"] = json!("legacy-1");
    assert_eq!(place.create(&shop, &legacy).await, allowed, "an exception");
    write_status(&place, &binding(&shop, "old", &[100, 31, 0])).await;
    until("the rotation counts", async || place.create(&shop, &bound).await == allowed).await;
}

#[tokio::test]
async fn the_audit_finds_old_credentials_and_config_maps() {
    let mut audited = Audited::new("kinds-audit").await;
    let name = audited.place.namespace("shop").await;
    serve_service_catalog(&audited.place, &name).await;
    create(&audited.place, &name).await;
    audited.create(&name, &crate::config_maps::config_map(&json!({"DB_PASSWORD": "Tr0ub4dor&3"}))).await;
    let mut rules = rules();
    rules["noPlainText"] = json!({"configMaps": true, "mode": "Enforce"});
    audited.policy(&policy_of(&name, &name, Mode::Audit, &rules)).await;
    audited.start();
    let wanted = ["ConfigMap settings noPlainText fail", "ServiceBinding old maxAge warn"];
    until("both are reported", async || {
        audited.results(0, &name).await.is_some_and(|results| results == wanted)
    })
    .await;
    write_status(&audited.place, &binding(&name, "old", &[100, 31, 0])).await;
    until("the rotation counts", async || {
        audited.results(0, &name).await.is_some_and(|results| results[0] == wanted[0] && results.len() == 2)
    })
    .await;
    assert_eq!(audited.types_checked(&name).await, "the API server checked the types of all expressions");
    rules["conditions"] = json!({"checks": [
        {"name": "few", "expression": "object.spec.replica < 9", "message": "Ask for fewer"}]});
    audited.change(&name, &json!({"spec": {"rules": rules}})).await;
    let is_warned = async || {
        let message = audited.types_checked(&name).await;
        message.contains("-conditions, ") && message.contains("undefined field 'replica'")
    };
    cluster::until(TYPE_CHECK, "the API server's warning is shown", is_warned).await;
    audited.end().await;
}

/// The API server cannot know whether a binding exists; the audit does.
#[tokio::test]
async fn the_audit_finds_pods_that_name_a_binding_that_does_not_exist() {
    let mut audited = Audited::new("names-audit").await;
    let name = audited.place.namespace("shop").await;
    serve_service_catalog(&audited.place, &name).await;
    let (_, mut pod, _) = cases().swap_remove(4);
    pod["spec"]["nodeSelector"] = json!({"none": "none"});
    audited.create(&name, &pod).await;
    audited.policy(&policy_of(&name, &name, Mode::Enforce, &json!({"bindingsOnly": {}}))).await;
    audited.start();
    let reported = async || audited.results(0, &name).await;
    until("the pod is reported", async || {
        reported().await.is_some_and(|results| results == ["Pod web bindingsOnly fail"])
    })
    .await;
    create(&audited.place, &name).await;
    until("the binding is there", async || reported().await.is_none()).await;
    let binding = format!("{}/old", audited.place.path(&name, &binding(&name, "old", &[])));
    audited.place.send("DELETE", &binding, &json!({})).await;
    until("the pod is reported again", async || reported().await.is_some()).await;
    audited.end().await;
}
