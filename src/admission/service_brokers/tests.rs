use serde_json::{Value, json};

use super::*;
use crate::admission::secret_rights::stand_in::{Asking, Cluster};

impl Cluster {
    /// The `response` of the answer, and the object after the patch.
    async fn asked(&self, user: &str, old: Option<&Value>, new: &Value) -> (Value, Value) {
        let is_cluster = new["metadata"]["namespace"].is_null();
        let kind = if is_cluster { "ClusterServiceBroker" } else { "ServiceBroker" };
        let handler = ServiceBrokerHandler::new(self.client(), self.approvals());
        Asking { kind, user, old, new }.of(handler).await
    }

    async fn is_approved(&self, stored: &Value) -> bool {
        let broker: Broker = serde_json::from_value(stored.clone()).unwrap();
        let approval = broker.approval().unwrap_or_default().to_owned();
        self.approvals()
            .verify(&broker.read(stored["metadata"]["namespace"].as_str()).checked(), &approval)
            .await
            .unwrap()
    }
}

fn broker(url: &str, secret: &str) -> Value {
    let reference = json!({"namespace": "own", "name": secret});
    json!({"metadata": {"name": "b", "annotations": {"a": "b"}},
        "spec": {"url": url, "authInfo": {"bearer": {"secretRef": reference}}}})
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

#[tokio::test]
async fn an_author_who_may_get_the_secret_is_approved_and_another_refused() {
    let cluster = Cluster::default();
    let wanted = broker("https://b", "token");
    let (response, stored) = cluster.asked("alice", None, &wanted).await;
    assert_eq!(response["allowed"], true);
    assert!(cluster.is_approved(&stored).await, "{stored}");
    let asked = cluster.reviews.lock().unwrap().pop().unwrap();
    assert_eq!((&asked["groups"], &asked["extra"]), (&json!(["g"]), &json!({"scope": ["s"]})));
    for (user, wanted) in [("mallory", wanted), ("alice", broker("https://b", "other"))] {
        let (response, _) = cluster.asked(user, None, &wanted).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("own/") && message.contains(user), "{message}");
    }
}

/// The editor chose the URL but not the Secret, and would receive a Secret that another user selected.
#[tokio::test]
async fn who_changes_where_a_secret_goes_must_be_able_to_get_it() {
    let cluster = Cluster::default();
    let (_, stored) = cluster.asked("alice", None, &broker("https://b", "token")).await;
    for (pointer, value) in [
        ("/spec/url", json!("https://mallory")),
        ("/spec", {
            let mut spec = stored["spec"].clone();
            spec["insecureSkipTLSVerify"] = json!(true);
            spec
        }),
        ("/spec", {
            let mut spec = stored["spec"].clone();
            spec["caBundle"] = json!("bXk=");
            spec
        }),
    ] {
        let changed = with(stored.clone(), pointer, value);
        assert!(!cluster.is_approved(&changed).await, "{changed}");
        let (response, _) = cluster.asked("mallory", Some(&stored), &changed).await;
        assert_eq!(response["allowed"], false, "{changed}");
        let (response, changed) = cluster.asked("alice", Some(&stored), &changed).await;
        assert!(response["allowed"] == true && cluster.is_approved(&changed).await, "{changed}");
    }
}

#[tokio::test]
async fn what_is_not_covered_can_be_changed_by_anybody_and_keeps_its_approval() {
    let cluster = Cluster::default();
    let (_, stored) = cluster.asked("alice", None, &broker("https://b", "token")).await;
    let mut relisted = stored.clone();
    relisted["spec"]["relistRequests"] = json!(1);
    let stripped = with(relisted.clone(), "/metadata/annotations", Value::Null);
    let forged = with(relisted.clone(), "/metadata/annotations", json!({APPROVAL: "v1.AAAA"}));
    for changed in [relisted, stripped, forged] {
        let (response, changed) = cluster.asked("mallory", Some(&stored), &changed).await;
        assert_eq!(response["allowed"], true, "{response}");
        assert!(cluster.is_approved(&changed).await, "{changed}");
    }
}

#[tokio::test]
async fn zero_relist_requests_keep_the_count() {
    let cluster = Cluster::default();
    let mut stored = json!({"metadata": {"name": "b"}, "spec": {"url": "https://b", "relistRequests": 3}});
    for secret in [false, true] {
        if secret {
            stored["spec"]["authInfo"] = broker("https://b", "token")["spec"]["authInfo"].clone();
        }
        for zero in [json!(0), Value::Null] {
            let mut changed = stored.clone();
            changed["spec"]["relistRequests"] = zero;
            let (_, after) = cluster.asked("alice", Some(&stored), &changed).await;
            assert_eq!(after["spec"]["relistRequests"], 3);
        }
        let mut raised = stored.clone();
        raised["spec"]["relistRequests"] = json!(4);
        let (_, after) = cluster.asked("alice", Some(&stored), &raised).await;
        assert_eq!(after["spec"]["relistRequests"], 4);
    }
}

/// As after an upgrade, or after an outage of the webhook.
#[tokio::test]
async fn an_object_without_approval_gets_one_when_its_author_asks() {
    let cluster = Cluster::default();
    let stored = broker("https://b", "token");
    let labelled = with(stored.clone(), "/metadata/annotations", json!({"other": "controller"}));
    let (response, after) = cluster.asked("alice", Some(&stored), &labelled).await;
    assert!(response["allowed"] == true && !cluster.is_approved(&after).await, "nobody asked");
    let asking = with(stored.clone(), "/metadata/annotations", json!({APPROVAL: "check"}));
    let (response, _) = cluster.asked("mallory", Some(&stored), &asking).await;
    assert_eq!(response["allowed"], false);
    let (_, after) = cluster.asked("alice", Some(&stored), &asking).await;
    assert!(cluster.is_approved(&after).await);
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused_and_what_names_no_secret_is_let_through() {
    let away = Cluster::away();
    let (response, _) = away.asked("alice", None, &broker("https://b", "token")).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(503)));
    for spec in [json!({"url": "https://b"}), json!({"url": "https://b", "authInfo": {}})] {
        let (response, _) = away.asked("x", None, &json!({"metadata": {"name": "b"}, "spec": spec})).await;
        assert_eq!(response, json!({"uid": "u", "allowed": true}));
    }
    let (response, _) = away.asked("x", None, &json!({"metadata": {}, "spec": {"authInfo": {}}})).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(response["allowed"] == false && message.contains("url"), "{response}");
}

#[tokio::test]
async fn a_namespaced_broker_uses_only_secrets_of_its_own_namespace() {
    let cluster = Cluster::default();
    let broker = |namespace: &str, secret: Value| {
        json!({"metadata": {"name": "b", "namespace": namespace},
            "spec": {"url": "https://b", "authInfo": {"basic": {"secretRef": secret}}}})
    };
    let (response, stored) = cluster.asked("alice", None, &broker("own", json!({"name": "token"}))).await;
    assert!(response["allowed"] == true && cluster.is_approved(&stored).await, "{response}");
    let elsewhere = broker("other", json!({"name": "token", "namespace": "own"}));
    let (response, _) = cluster.asked("alice", None, &elsewhere).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("broker forbidden access to auth secret (other/token)"), "{message}");
    let mut moved = stored.clone();
    moved["metadata"]["namespace"] = json!("other");
    assert!(!cluster.is_approved(&moved).await, "an approval holds in one namespace only");
}

#[tokio::test]
async fn a_cluster_broker_must_name_the_namespace_of_its_secret() {
    let spec = json!({"url": "https://b", "authInfo": {"basic": {"secretRef": {"name": "token"}}}});
    let (response, _) =
        Cluster::default().asked("alice", None, &json!({"metadata": {"name": "b"}, "spec": spec})).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(response["allowed"] == false && message.contains("set secretRef.namespace"), "{message}");
}
