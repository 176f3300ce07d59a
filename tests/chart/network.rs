//! The network policies: none by default, otherwise one for the ports of each role.

use serde_json::{Value, json};

use crate::rendered::{example, example_with, find, kind, refusal};

/// The allowed clients of a role's port, or `None` if every client may connect.
fn from(documents: &[Value], role: &str, port: &str) -> Option<Value> {
    let policy = find(documents, "NetworkPolicy", role).unwrap();
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["ports"] == json!([{"port": port}]));
    rule.unwrap_or_else(|| panic!("{role} has no rule for {port}")).get("from").cloned()
}

#[test]
fn there_are_none_by_default() {
    assert!(example().iter().all(|document| kind(document) != "NetworkPolicy"));
}

#[test]
fn each_port_accepts_only_its_clients() {
    let plain = example_with(&["--set", "networkPolicy.enabled=true"]);
    assert_eq!(from(&plain, "bindery-admission", "admission"), None, "API servers cannot be told");
    let catalog = json!({"app.kubernetes.io/name": "bindery", "app.kubernetes.io/instance": "bindery",
        "app.kubernetes.io/component": "catalog"});
    let catalog = json!({"podSelector": {"matchLabels": catalog}});
    assert_eq!(from(&plain, "bindery-broker", "broker"), Some(json!([catalog])));
    let own = json!({"podSelector": {"matchLabels": {
        "app.kubernetes.io/name": "bindery", "app.kubernetes.io/instance": "bindery"}}});
    for role in ["bindery-admission", "bindery-catalog", "bindery-broker"] {
        assert_eq!(from(&plain, role, "ops"), Some(json!([own])), "{role}");
    }
    let told = example_with(&[
        "--set",
        "networkPolicy.enabled=true",
        "--set",
        "networkPolicy.apiServers={10.0.0.0/28,fd00::/64}",
        "--set-json",
        r#"networkPolicy.brokerClients=[{"namespaceSelector":{}}]"#,
        "--set-json",
        r#"networkPolicy.metricsClients=[{"podSelector":{"matchLabels":{"app":"prometheus"}}}]"#,
    ]);
    let servers = [json!({"ipBlock": {"cidr": "10.0.0.0/28"}}), json!({"ipBlock": {"cidr": "fd00::/64"}})];
    assert_eq!(from(&told, "bindery-admission", "admission"), Some(json!(servers)));
    assert_eq!(from(&told, "bindery-broker", "broker"), Some(json!([catalog, {"namespaceSelector": {}}])));
    let scraper = json!({"podSelector": {"matchLabels": {"app": "prometheus"}}});
    for role in ["bindery-admission", "bindery-catalog", "bindery-broker"] {
        assert_eq!(from(&told, role, "ops"), Some(json!([own, servers[0], servers[1], scraper])), "{role}");
    }
}

/// A policy selects the right pods and uses port names of their containers.
#[test]
fn policies_fit_the_pods() {
    let documents = example_with(&["--set", "networkPolicy.enabled=true"]);
    let policies: Vec<&Value> =
        documents.iter().filter(|document| kind(document) == "NetworkPolicy").collect();
    assert_eq!(policies.len(), 3);
    for policy in policies {
        let selected = &policy["spec"]["podSelector"]["matchLabels"];
        let workload = documents
            .iter()
            .find(|document| {
                &document["spec"]["selector"]["matchLabels"] == selected
                    && kind(document) != "PodDisruptionBudget"
            })
            .unwrap_or_else(|| panic!("{selected} selects nothing"));
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let mut named: Vec<&Value> =
            container["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
        let mut ruled: Vec<&Value> = policy["spec"]["ingress"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| &rule["ports"][0]["port"])
            .collect();
        named.sort_by_key(ToString::to_string);
        ruled.sort_by_key(ToString::to_string);
        assert_eq!(named, ruled, "{selected}");
    }
}

#[test]
fn an_invalid_address_block_is_refused() {
    for wrong in ["10.0.0.1", "example.com/24"] {
        refusal(&[
            "--set",
            "networkPolicy.enabled=true",
            "--set",
            &format!("networkPolicy.apiServers={{{wrong}}}"),
        ]);
    }
    refusal(&["--set-json", r#"networkPolicy.metricsClients=[{"namespace":"monitoring"}]"#]);
}
