use serde_json::{Value, json};

use super::*;
use crate::policy::Namespace;

fn policy(spec: Value, annotations: Value) -> CredentialPolicy {
    let mut object = json!({"metadata": {"name": "p"}});
    object["metadata"]["annotations"] = annotations;
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

struct Cache {
    held: HeldPolicies,
    writer: Writer<CredentialPolicy>,
}

impl Cache {
    fn new() -> Self {
        let (policies, writer) = reflector::store();
        Self { held: HeldPolicies::of(policies, reflector::store().0, vec!["bindery".to_owned()]), writer }
    }

    fn apply(&mut self, event: &Event<CredentialPolicy>) {
        self.writer.apply_watcher_event(event);
        self.held.refresh();
    }

    /// The number of rules that hold in a namespace.
    fn rules(&self, namespace: &str) -> usize {
        self.held.present().rules_in(&Namespace::new(namespace, [].into(), [].into())).len()
    }
}

fn rules() -> Value {
    json!({"rules": {"noRandomValues": {}, "filesOnly": {}}})
}

#[test]
fn only_rules_of_the_webhook_are_judged_and_not_in_excluded_namespaces() {
    let mut cache = Cache::new();
    assert!(cache.held.present().is_empty());
    cache.apply(&Event::Apply(policy(json!({"rules": {"filesOnly": {}}}), json!({}))));
    assert!(cache.held.present().is_empty(), "the API server evaluates filesOnly");
    cache.apply(&Event::Apply(policy(rules(), json!({}))));
    assert_eq!((cache.rules("shop"), cache.rules("bindery"), cache.rules("kube-system")), (1, 0, 0));
}

#[test]
fn a_policy_that_becomes_invalid_counts_as_before_until_it_is_deleted() {
    let mut cache = Cache::new();
    cache.apply(&Event::Apply(policy(rules(), json!({}))));
    let mut invalid = rules();
    invalid["overrides"] = json!([{"mode": "Audit"}]);
    let invalid = policy(invalid, json!({}));
    cache.apply(&Event::Apply(invalid.clone()));
    assert_eq!(cache.rules("shop"), 1);
    let mut off = invalid.clone();
    off.metadata.annotations =
        Some([(crate::contract::policy::STOOD_DOWN.to_owned(), "me".to_owned())].into());
    cache.apply(&Event::Apply(off));
    assert_eq!(cache.rules("shop"), 0, "an invalid policy can be switched off, too");
    cache.apply(&Event::Delete(invalid));
    assert!(cache.held.present().is_empty());
}

#[test]
fn a_policy_that_somebody_switched_off_does_not_count() {
    let mut cache = Cache::new();
    cache.apply(&Event::Apply(policy(rules(), json!({crate::contract::policy::STOOD_DOWN: "me: outage"}))));
    assert!(cache.held.present().is_empty());
    cache.apply(&Event::Apply(policy(rules(), json!({}))));
    assert_eq!(cache.rules("shop"), 1);
}
