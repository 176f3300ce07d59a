//! Native injection: what the chart renders for clusters that serve MutatingAdmissionPolicies.

use std::{path::Path, process::Command};

use bindery::injection::InjectSettings;
use serde_json::{Value, json};

use crate::{
    rendered::{documents, example, example_with, find, helm_release, kind},
    webhook::webhooks,
};

const SERVED: [&str; 2] = ["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"];

fn with(values: &[&str]) -> Vec<Value> {
    let sets = values.iter().flat_map(|value| ["--set", value]);
    example_with(&SERVED.into_iter().chain(sets).collect::<Vec<_>>())
}

fn conditions(webhook: &Value) -> Vec<&str> {
    let conditions = webhook["matchConditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["name"].as_str().unwrap()).collect()
}

fn named<'a>(documents: &'a [Value], webhook: &str) -> Option<&'a Value> {
    let configuration = find(documents, "MutatingWebhookConfiguration", "bindery").unwrap();
    configuration["webhooks"].as_array().unwrap().iter().find(|it| it["name"] == webhook)
}

#[test]
fn the_chart_has_the_expressions_of_the_binary() {
    let printed = Command::new(env!("CARGO_BIN_EXE_bindery")).arg("native-injection").output().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/bindery/native-injection.yaml");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(String::from_utf8(printed.stdout).unwrap() == kept, "run `make generate`");
}

#[test]
fn without_the_kind_or_when_it_is_off_the_webhook_gets_every_pod() {
    for documents in [example(), with(&["admission.native=off"]), with(&["admission.native=false"])] {
        assert!(!documents.iter().any(|document| kind(document).starts_with("MutatingAdmissionPolicy")));
        let [own, defaults] = webhooks(&documents);
        assert_eq!(conditions(own), ["asks-for-credentials", "is-no-mirror-pod"]);
        assert_eq!(conditions(defaults), ["says-nothing-itself", "is-no-mirror-pod"]);
        assert_eq!(named(&documents, "gate.bindery.dev"), None);
    }
}

/// The webhook reviews every pod that the policy has not bound completely, so an error of the policy loses no pod.
#[test]
fn the_policy_takes_the_namespaces_of_the_webhook() {
    let documents = with(&["admission.excludeNamespaces={monitoring}"]);
    let [own, defaults] = webhooks(&documents);
    for (name, webhook) in [("bindery-injection", own), ("bindery-injection-defaults", defaults)] {
        let policy = find(&documents, "MutatingAdmissionPolicy", name).unwrap();
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore");
        assert_eq!(policy["spec"]["reinvocationPolicy"], "IfNeeded");
        assert_eq!(policy["spec"]["matchConstraints"]["resourceRules"], webhook["rules"]);
        let binding = find(&documents, "MutatingAdmissionPolicyBinding", name).unwrap();
        assert_eq!(binding["spec"]["policyName"], name);
        assert_eq!(binding["spec"]["matchResources"]["namespaceSelector"], webhook["namespaceSelector"]);
    }
    for webhook in [own, defaults] {
        assert_eq!(conditions(webhook).last(), Some(&"is-not-bound-yet"));
        assert_eq!(webhook["failurePolicy"], "Fail");
    }
}

#[test]
fn excluded_containers_are_those_of_the_webhook() {
    let text = serde_json::to_string(&with(&[])).unwrap();
    assert!(!text.contains("EXCLUDED_"));
    for name in InjectSettings::DEFAULT_EXCLUDED {
        assert!(text.contains(name.trim_end_matches('*')), "{name}");
    }
    let text = serde_json::to_string(&with(&["admission.excludeContainers={proxy,side*}"])).unwrap();
    assert!(text.contains(r#"c.name.matches(\"^(proxy|side.*)$\")"#), "{text}");
    assert!(!text.contains("istio-proxy"));
}

/// The gate is a help for waiting pods, so no pod waits for bindery because of it.
#[test]
fn a_bound_pod_is_reviewed_only_for_its_gate_and_never_delayed() {
    let documents = with(&[]);
    for (name, path) in [("gate", "/mutate"), ("gate-defaults", "/mutate-namespace-defaults")] {
        let webhook = named(&documents, &format!("{name}.bindery.dev")).unwrap();
        assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Ignore"), &json!(1)));
        assert_eq!(webhook["clientConfig"]["service"]["path"], path);
    }
    let ungated = with(&["admission.gateWaitingPods=false"]);
    assert_eq!(named(&ungated, "gate.bindery.dev"), None);
    assert_eq!(named(&ungated, "gate-defaults.bindery.dev"), None);
}

/// The charts share the templates and need the expressions, too.
#[test]
fn the_charts_of_the_brokers_have_the_policies_as_well() {
    for chart in ["alibabacloud-servicebroker", "aws-servicebroker"] {
        let output = helm_release(chart, "catalog", &Path::new("charts").join(chart), &SERVED);
        assert!(output.status.success(), "{chart}: {}", String::from_utf8_lossy(&output.stderr));
        let documents = documents(&String::from_utf8(output.stdout).unwrap());
        assert!(documents.iter().any(|document| kind(document) == "MutatingAdmissionPolicy"), "{chart}");
    }
}
