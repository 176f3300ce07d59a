//! Adds a scheduling gate to a pod whose bindings have no Secrets yet. Without the gate the kubelet would retry with
//! pauses of up to two minutes; with it the pod gets a node only after the catalog sees the Secrets and opens the gate.
//! `bindings::awaited` knows which pods have to wait, and `pods::gates` opens the gate.

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};

use crate::contract::pod::GATE;

/// The patch that adds the gate; `None` if the pod has the gate, or the API server would refuse it.
pub(super) fn gate(pod: &Value) -> Option<PatchOperation> {
    let spec = pod.get("spec")?.as_object()?;
    // The scheduler ignores a pod that already has a node, and the API server refuses a gate on it.
    if spec.get("nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty()) {
        return None;
    }
    let entry = json!({"name": GATE});
    let path = PointerBuf::from_tokens(["spec", "schedulingGates"]);
    let (path, value) = match spec.get("schedulingGates") {
        None | Some(Value::Null) => (path, json!([entry])),
        Some(Value::Array(gates)) if !gates.contains(&entry) => (path.with_trailing_token("-"), entry),
        Some(_) => return None,
    };
    Some(PatchOperation::Add(AddOperation { path, value }))
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use rstest::rstest;

    use super::*;

    fn gated(mut pod: Value) -> Value {
        let patch = Patch(gate(&pod).into_iter().collect());
        json_patch::patch(&mut pod, &patch).unwrap();
        pod["spec"].take()
    }

    #[rstest]
    #[case::absent(&json!({}), &json!([{"name": "bindery.dev/binding"}]))]
    #[case::null(&json!({"schedulingGates": null}), &json!([{"name": "bindery.dev/binding"}]))]
    #[case::empty(&json!({"schedulingGates": []}), &json!([{"name": "bindery.dev/binding"}]))]
    #[case::of_others(
        &json!({"schedulingGates": [{"name": "example.com/quota"}]}),
        &json!([{"name": "example.com/quota"}, {"name": "bindery.dev/binding"}])
    )]
    #[case::no_node(&json!({"nodeName": ""}), &json!([{"name": "bindery.dev/binding"}]))]
    fn the_gate_comes_beside_those_of_others(#[case] spec: &Value, #[case] expected: &Value) {
        assert_eq!(gated(json!({"spec": spec}))["schedulingGates"], *expected);
    }

    /// P1: the API server calls the webhook again after other webhooks changed the pod.
    #[test]
    fn a_gate_that_is_there_is_not_added_again() {
        let spec = gated(json!({"spec": {}}));
        assert_eq!(gate(&json!({"spec": spec})), None);
    }

    #[rstest]
    #[case::it_has_a_node(json!({"spec": {"nodeName": "node1"}}))]
    #[case::its_gates_are_no_list(json!({"spec": {"schedulingGates": "x"}}))]
    #[case::it_has_no_spec(json!({}))]
    fn no_gate_where_the_api_server_would_refuse_it(#[case] pod: Value) {
        assert_eq!(gate(&pod), None);
    }
}
