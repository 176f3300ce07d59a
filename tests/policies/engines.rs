//! Each pod of the table through each engine.

use std::collections::{BTreeMap, BTreeSet};

use bindery::{
    apis::bindery::credential_policy::{Mode, RuleName},
    cli::check::{self, CheckArgs},
    policy::{Author, Change, Namespace, Policies, Subject},
};
use clap::Parser;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place},
    objects::{policy, policy_of},
    table::{Case, WORKLOADS, annotated_cases, cases, rules, workload},
};

/// The rules that a pod violates by the pure function.
fn by_function(pod: &Value) -> BTreeSet<RuleName> {
    let policies = Policies::new(&[policy("p", json!({"rules": rules()}))], Vec::new(), Vec::new()).unwrap();
    let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
    let subject = Subject { name: "web", namespace: &namespace, template: pod, only_ephemeral: false };
    policies.judge(&subject, Timestamp::now()).into_iter().map(|verdict| verdict.finding.rule).collect()
}

/// The rules of a policy that a change of an object violates by the pure function.
pub(crate) fn change_by_function(
    spec: Value,
    namespace: &str,
    before: Option<&Value>,
    after: &Value,
) -> BTreeSet<RuleName> {
    let policies = Policies::new(&[policy("p", spec)], Vec::new(), Vec::new()).unwrap();
    let namespace = Namespace::new(namespace, BTreeMap::new(), BTreeMap::new());
    let change =
        Change { namespace: Some(&namespace), before, after: Some(after), author: Author::default() };
    policies.judge_change(&change, Timestamp::now()).into_iter().map(|it| it.finding.rule).collect()
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckArgs,
}

/// The rules that an object violates by `bindery check`.
fn by_command(object: &Value) -> BTreeSet<RuleName> {
    by_command_with(&rules(), object)
}

/// The same, of a policy with these rules.
pub(crate) fn by_command_with(rules: &Value, object: &Value) -> BTreeSet<RuleName> {
    by_command_beside(rules, &[], object).0
}

/// The same beside other objects, and the notes.
pub(crate) fn by_command_beside(
    rules: &Value,
    others: &[Value],
    object: &Value,
) -> (BTreeSet<RuleName>, String) {
    let policy = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "CredentialPolicy", "metadata": {"name": "p"},
        "spec": {"rules": rules}});
    let cli = Cli::try_parse_from(["check", "-f", "-", "-o", "sarif", "-n", "shop"]).unwrap();
    let documents: Vec<_> =
        [&policy].into_iter().chain(others).chain([object]).map(Value::to_string).collect();
    let input = documents.join("\n---\n");
    let (mut output, mut notes) = (Vec::new(), Vec::new());
    check::run(cli.args, input.as_bytes(), &mut output, &mut notes).unwrap();
    let log: Value = serde_json::from_slice(&output).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let violated = results.iter().map(|result| serde_json::from_value(result["ruleId"].clone()).unwrap());
    (violated.collect(), String::from_utf8(notes).unwrap())
}

#[test]
fn the_function_and_the_command_agree_on_every_pod() {
    let cases = cases();
    assert!(cases.len() > 80, "{}", cases.len());
    for (index, Case { name, pod, violated }) in cases.iter().enumerate() {
        assert_eq!(&by_function(pod), violated, "{name}");
        assert_eq!(&by_command(pod), violated, "{name}");
        // The API server judges each pod in every kind; here the kinds take turns.
        let kind = WORKLOADS[index % WORKLOADS.len()];
        assert_eq!(&by_command(&workload(kind, pod)), violated, "{name} in a {kind}");
    }
    for Case { name, pod, violated } in annotated_cases() {
        assert_eq!(by_function(&pod), violated, "{name}, before the injection");
        assert_eq!(by_command(&pod), violated, "{name}");
    }
}

/// A namespace for each mode tells which rules are violated: warnings name all of them.
#[tokio::test]
async fn the_api_server_agrees_in_every_mode() {
    let place = Place::new("modes").await;
    for mode in [Mode::Warn, Mode::Audit] {
        let name = place.namespace(&mode.name().to_lowercase()).await;
        place.enforce(&policy_of(&place.unique(&name), &name, mode, &rules())).await;
    }
    let enforcing = place.enforcing_each_rule(&rules()).await;
    place.settled().await;
    for Case { name, pod, violated } in cases() {
        let warned = place.create("warn", &pod).await;
        assert_eq!(warned, Answer::Allowed { warned: violated.clone() }, "{name}");
        let audited = place.create("audit", &pod).await;
        assert_eq!(audited, Answer::Allowed { warned: BTreeSet::new() }, "{name}");
        for (rule, namespace) in &enforcing {
            let answer = place.create(namespace, &pod).await;
            let is_refused = matches!(&answer, Answer::Refused { rule: refused } if refused == rule);
            assert_eq!(is_refused, violated.contains(rule), "{name}, {}: {answer:?}", rule.name());
            assert!(is_refused || matches!(answer, Answer::Allowed { .. }), "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_api_server_agrees_on_every_kind_of_workload() {
    let place = Place::new("kinds").await;
    let name = place.namespace("warn").await;
    place.enforce(&policy_of(&place.unique(&name), &name, Mode::Warn, &rules())).await;
    place.settled().await;
    for kind in WORKLOADS {
        for Case { name, pod, violated } in cases() {
            let answer = place.create("warn", &workload(kind, &pod)).await;
            assert_eq!(answer, Answer::Allowed { warned: violated }, "{name} in a {kind}");
        }
    }
}
