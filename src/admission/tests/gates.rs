//! Pods whose bindings have no Secrets yet.

use super::*;
use crate::bindings::awaited::Awaited;

/// Bindings of the namespace `shop` that are not ready.
struct Waits(&'static [&'static str]);

impl Awaited for Waits {
    fn needs_gate(&self, namespace: &str, bindings: &[String]) -> bool {
        assert_eq!(namespace, "shop");
        bindings.iter().any(|binding| self.0.contains(&binding.as_str()))
    }
}

/// The pod after the API server called both webhooks.
async fn admitted(waited_for: &'static [&'static str], pod: &Value) -> Value {
    let bind = BTreeMap::from([("bindery.dev/bind".to_owned(), "mydb01-binding".to_owned())]);
    let known = Known(BTreeMap::from([("shop".to_owned(), bind)]));
    let path = if pod["metadata"]["annotations"].is_null() { DEFAULTS_PATH } else { PATH };
    let waits = Some(Arc::new(Waits(waited_for)) as _);
    let router = Routes::of_pods(Arc::default(), Arc::new(known), waits, Arc::default()).into_router();
    let request = Request::post(path).body(Body::from(review(pod).to_string())).unwrap();
    let body = to_bytes(router.oneshot(request).await.unwrap().into_body(), usize::MAX).await.unwrap();
    let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
    assert_eq!(response["allowed"], true);
    if response["patch"].is_null() { pod.clone() } else { patched(pod, &response) }
}

fn gates(pod: &Value) -> &Value {
    &pod["spec"]["schedulingGates"]
}

fn gate() -> Value {
    json!([{"name": "bindery.dev/binding"}])
}

#[tokio::test]
async fn a_pod_whose_binding_is_waited_for_waits_behind_a_gate_and_is_bound_all_the_same() {
    let admitted_at_once = admitted(&[], &pod()).await;
    let mut expected = admitted_at_once.clone();
    expected["spec"]["schedulingGates"] = gate();
    assert_eq!(admitted(&["mydb01-binding"], &pod()).await, expected);
    assert_eq!(gates(&admitted_at_once), &Value::Null);
}

#[tokio::test]
async fn one_binding_of_several_is_enough_and_a_plain_secret_never_is() {
    let bound_to = |bind: &str| {
        let mut pod = pod();
        pod["metadata"]["annotations"]["bindery.dev/bind"] = json!(bind);
        pod
    };
    assert_eq!(gates(&admitted(&["b"], &bound_to("a,b")).await), &gate());
    assert_eq!(gates(&admitted(&["b"], &bound_to("a,secret/b")).await), &Value::Null);
    assert_eq!(gates(&admitted(&["b"], &bound_to("a,configmap/b")).await), &Value::Null);
}

#[tokio::test]
async fn a_binding_of_one_container_is_waited_for_too() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"bindery.dev/bind.app": "b"});
    assert_eq!(gates(&admitted(&["b"], &pod).await), &gate());
}

#[tokio::test]
async fn a_pod_that_leaves_it_to_its_namespace_waits_likewise() {
    let mut silent = pod();
    silent["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(gates(&admitted(&["mydb01-binding"], &silent).await), &gate());
    assert_eq!(gates(&admitted(&["other"], &silent).await), &Value::Null);
}

/// P1: the API server calls the webhook again after other webhooks.
#[tokio::test]
async fn asked_again_the_gate_is_there_once() {
    let once = admitted(&["mydb01-binding"], &pod()).await;
    assert_eq!(admitted(&["mydb01-binding"], &once).await, once);
}

/// The webhook never removes a gate: the catalog opens it when the binding becomes ready.
#[tokio::test]
async fn a_gate_is_never_taken_off_here() {
    let gated = admitted(&["mydb01-binding"], &pod()).await;
    assert_eq!(admitted(&[], &gated).await, gated);
}

#[tokio::test]
async fn a_pod_with_a_node_gets_none() {
    let mut placed = pod();
    placed["spec"]["nodeName"] = json!("node1");
    assert_eq!(gates(&admitted(&["mydb01-binding"], &placed).await), &Value::Null);
}
