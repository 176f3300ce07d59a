//! The policies that limit bindery's accounts. `tests/catalog` tests their effect against an API server.

use std::{collections::BTreeSet, process::Command};

use bindery::contract;
use serde_json::{Value, json};

use crate::rendered::{documents, example, example_with, find, kind, name, rendered, strings};

fn policies(documents: &[Value]) -> BTreeSet<&str> {
    documents.iter().filter(|document| kind(document) == "ValidatingAdmissionPolicy").map(name).collect()
}

fn variable<'a>(policy: &'a Value, name: &str) -> &'a str {
    let variables = policy["spec"]["variables"].as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name).unwrap()["expression"].as_str().unwrap()
}

#[test]
fn every_policy_refuses_and_fails_closed() {
    let documents = example();
    let wanted = [
        "bindery-broker-registration",
        "bindery-catalog-registrations",
        "bindery-catalog-deletions",
        "bindery-catalog-namespaces",
        "bindery-catalog-objects",
        "bindery-catalog-pods",
        "bindery-catalog-secrets",
        "bindery-catalog-statuses",
        "bindery-deletion-protection",
        "bindery-namespace-bindings",
        "bindery-own-secrets",
    ];
    assert_eq!(policies(&documents), wanted.into());
    for policy in wanted {
        let binding = find(&documents, "ValidatingAdmissionPolicyBinding", policy).unwrap();
        assert_eq!(binding["spec"], json!({"policyName": policy, "validationActions": ["Deny"]}));
        let policy = find(&documents, "ValidatingAdmissionPolicy", policy).unwrap();
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    }
}

#[test]
fn policies_exist_together_with_the_rights_that_they_limit() {
    let without = documents(&rendered(&["--set", "apis.serviceCatalog=false"]));
    assert_eq!(policies(&without), ["bindery-own-secrets"].into());
    let unregistered = example_with(&["--set", "broker.register="]);
    assert!(!policies(&unregistered).contains("bindery-broker-registration"));
    let unnudged = example_with(&["--set", "catalog.nudgeRefusedOwners=false"]);
    assert!(!policies(&unnudged).contains("bindery-catalog-statuses"));
}

/// Every right to write objects that users also write has a policy.
#[test]
fn policies_limit_the_catalogs_writes_of_each_kind() {
    let documents = example();
    let narrowed: BTreeSet<String> = documents
        .iter()
        .filter(|document| {
            kind(document) == "ValidatingAdmissionPolicy" && name(document).contains("catalog")
        })
        .flat_map(|policy| policy["spec"]["matchConstraints"]["resourceRules"].as_array().unwrap())
        .flat_map(|rule| strings(&rule["resources"]))
        .map(str::to_owned)
        .collect();
    // Kinds of bindery's own, events, and evictions.
    let own = [
        "externalresources",
        "externalresources/status",
        "clusterserviceclasses",
        "clusterserviceclasses/status",
        "clusterserviceplans",
        "clusterserviceplans/status",
        "clusterservicebrokers/finalizers",
        "clusterservicebrokers/status",
        "servicebrokers",
        "servicebrokers/finalizers",
        "servicebrokers/status",
        "serviceclasses",
        "serviceclasses/status",
        "serviceplans",
        "serviceplans/status",
        "events",
        "leases",
        "namespacebindings/status",
        "pods/eviction",
        "servicebindings/finalizers",
        "servicebindings/status",
        "serviceinstances/finalizers",
        "serviceinstances/status",
    ];
    for role in documents.iter().filter(|document| name(document) == "bindery-catalog") {
        for rule in role["rules"].as_array().into_iter().flatten() {
            if strings(&rule["verbs"]).is_subset(&["get", "list", "watch"].into()) {
                continue;
            }
            for resource in strings(&rule["resources"]) {
                assert!(own.contains(&resource) || narrowed.contains(resource), "{resource}: {rule}");
            }
        }
    }
}

#[test]
fn policies_use_the_names_of_the_code() {
    let documents = example();
    let policy = |name: &str| find(&documents, "ValidatingAdmissionPolicy", name).unwrap();
    let namespaces = policy("bindery-catalog-namespaces");
    let list = |names: &[&str]| {
        format!("[{}]", names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
    };
    let annotations = [contract::pod::BIND, contract::branch::BOUND_BY, contract::branch::LAST_POD_AT];
    assert_eq!(variable(namespaces, "annotations"), list(&annotations));
    assert_eq!(variable(namespaces, "labels"), list(&[contract::namespace::INJECT.0]));
    let label = contract::branch::NAMESPACE_BINDING;
    let says = policy("bindery-namespace-bindings")["spec"]["matchConditions"][0]["expression"].as_str();
    assert!(says.unwrap().contains(label), "{says:?}");
    let (key, value) = contract::binding::MANAGED_BY;
    let secrets = policy("bindery-catalog-secrets")["spec"]["validations"][0]["expression"].as_str().unwrap();
    assert!(secrets.contains(&format!("'{key}'")) && secrets.contains(&format!("'{value}'")), "{secrets}");
    let statuses = policy("bindery-catalog-statuses")["spec"]["validations"][0]["expression"].as_str();
    assert!(statuses.unwrap().contains(contract::nudge::CONDITION), "{statuses:?}");
    for policy in documents.iter().filter(|document| name(document).contains("bindery-catalog-")) {
        let Some(conditions) = policy["spec"]["matchConditions"].as_array() else { continue };
        let by = "request.userInfo.username == 'system:serviceaccount:bindery:bindery-catalog'";
        assert_eq!(conditions[0]["expression"], by, "{}", name(policy));
    }
}

/// The rules that the API server cannot evaluate: nothing waits for the webhook, and it may only read policies.
#[test]
fn policies_have_a_webhook_if_they_are_enforced() {
    let is_one = |document: &&Value| kind(document) == "ValidatingWebhookConfiguration";
    assert_eq!(example().iter().filter(is_one).count(), 0);
    let documents =
        example_with(&["--set", "enforcement.enabled=true,admission.excludeNamespaces={monitoring}"]);
    let configuration = find(&documents, "ValidatingWebhookConfiguration", "bindery").unwrap();
    let webhooks = configuration["webhooks"].as_array().unwrap();
    let names: Vec<_> = webhooks.iter().map(name_of).collect();
    assert_eq!(names, ["pods.policies.bindery.dev", "config-maps.policies.bindery.dev"]);
    let injection = find(&documents, "MutatingWebhookConfiguration", "bindery").unwrap();
    for webhook in webhooks {
        assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Ignore"), &json!(2)));
        assert_eq!(webhook["clientConfig"]["service"]["path"], bindery::enforcement::webhook::PATH);
        assert_eq!(webhook["namespaceSelector"], injection["webhooks"][0]["namespaceSelector"]);
        let conditions = webhook["matchConditions"].as_array().unwrap();
        assert_eq!(conditions.last().map(name_of), Some("names-a-credential"));
    }
    let admission = find(&documents, "Deployment", "bindery-admission").unwrap();
    let arguments = admission["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("--judge-policies=true"), "{arguments}");
    assert!(arguments.contains("--exclude-namespaces=monitoring"), "{arguments}");
    let role = find(&documents, "ClusterRole", "bindery-admission").unwrap();
    for rule in role["rules"].as_array().unwrap() {
        if strings(&rule["resources"]).contains("credentialpolicies") {
            assert_eq!(strings(&rule["verbs"]), ["list", "watch"].into());
        }
        if strings(&rule["resources"]).contains("validatingwebhookconfigurations") {
            assert_eq!(strings(&rule["resourceNames"]), ["bindery"].into());
        }
    }
}

fn name_of(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

#[test]
fn the_chart_has_the_requests_of_the_binary() {
    let printed = Command::new(env!("CARGO_BIN_EXE_bindery")).arg("policy-webhook").output().unwrap();
    let kept = include_str!("../../charts/bindery/policy-webhook.yaml");
    assert!(String::from_utf8(printed.stdout).unwrap() == kept, "run `make generate`");
}
