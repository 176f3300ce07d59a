//! The scheduling gate of a pod whose bindings have no Secrets yet. The kubelet would look for them with pauses of up to
//! two minutes; behind the gate the pod is not given to a kubelet until the catalog sees the Secrets and opens it. Here
//! stands who gets a gate; opening it is the catalog's (`pods::gates`).

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::inject::Need;
use crate::contract::pod::{GATE, WAITS_FOR};

/// Where the webhook learns which bindings are waited for.
pub trait Awaited: Send + Sync {
    /// Whether a pod of this namespace that needs these is to wait behind a gate: somebody will open it, and of one of
    /// the bindings it is not known that its Secrets have been written. Answers from what is known; waits for nothing.
    fn is_any(&self, namespace: &str, needs: &[Need]) -> bool;
}

/// What has to be added to the pod so that it waits for what it needs.
pub(super) fn gate(pod: &Value, needs: &[Need]) -> Vec<PatchOperation> {
    let (Some(spec), Some(metadata)) = (object(pod, "spec"), object(pod, "metadata")) else {
        return Vec::new();
    };
    // The API server refuses a gate on a pod that has its node already: nobody is to schedule it.
    if spec.get("nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty()) {
        return Vec::new();
    }
    let Some(gate) = add_gate(spec) else { return Vec::new() };
    gate.into_iter().chain(add_annotation(metadata, needs)).collect()
}

/// The gate, unless it is there; `None` if the pod's gates are not what Kubernetes reads.
fn add_gate(spec: &Map<String, Value>) -> Option<Option<PatchOperation>> {
    let entry = json!({"name": GATE});
    let list = PointerBuf::from_tokens(["spec", "schedulingGates"]);
    match spec.get("schedulingGates") {
        None | Some(Value::Null) => Some(Some(add(list, json!([entry])))),
        Some(Value::Array(gates)) if gates.iter().any(|gate| gate["name"] == GATE) => Some(None),
        Some(Value::Array(_)) => Some(Some(add(list.with_trailing_token("-"), entry))),
        Some(_) => None,
    }
}

/// Says for what the gate waits, unless just that stands there.
fn add_annotation(metadata: &Map<String, Value>, needs: &[Need]) -> Option<PatchOperation> {
    let secrets: Vec<&str> = needs.iter().flat_map(|need| &need.secrets).map(String::as_str).collect();
    let secrets = secrets.join(",");
    let annotations = PointerBuf::from_tokens(["metadata", "annotations"]);
    match metadata.get("annotations") {
        Some(Value::Object(present)) if present.get(WAITS_FOR) == Some(&json!(secrets)) => None,
        Some(Value::Object(_)) => Some(add(annotations.with_trailing_token(WAITS_FOR), json!(secrets))),
        _ => Some(add(annotations, json!({WAITS_FOR: secrets}))),
    }
}

fn object<'a>(value: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    value.get(field)?.as_object()
}

fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use rstest::rstest;

    use super::*;

    fn needs() -> Vec<Need> {
        let need = |binding: &str, secrets: &[&str]| Need {
            binding: binding.to_owned(),
            secrets: secrets.iter().map(|&secret| secret.to_owned()).collect(),
        };
        vec![need("db", &["db-env", "db"]), need("queue", &["queue-env"])]
    }

    fn gated(mut pod: Value) -> Value {
        let patch = Patch(gate(&pod, &needs()));
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    const SECRETS: &str = "db-env,db,queue-env";

    #[rstest]
    #[case::neither_there(json!({"metadata": {}, "spec": {}}))]
    #[case::null(json!({"metadata": {"annotations": null}, "spec": {"schedulingGates": null}}))]
    #[case::empty(json!({"metadata": {"annotations": {}}, "spec": {"schedulingGates": []}}))]
    fn the_gate_stands_beside_what_it_waits_for(#[case] pod: Value) {
        let expected = json!({
            "metadata": {"annotations": {"bindery.dev/waits-for": SECRETS}},
            "spec": {"schedulingGates": [{"name": "bindery.dev/binding"}]}
        });
        assert_eq!(gated(pod), expected);
    }

    #[test]
    fn the_gates_and_annotations_of_others_stay() {
        let pod = json!({
            "metadata": {"annotations": {"a": "b"}},
            "spec": {"schedulingGates": [{"name": "example.com/quota"}]}
        });
        let expected = json!({
            "metadata": {"annotations": {"a": "b", "bindery.dev/waits-for": SECRETS}},
            "spec": {"schedulingGates": [{"name": "example.com/quota"}, {"name": "bindery.dev/binding"}]}
        });
        assert_eq!(gated(pod), expected);
    }

    /// P1: the API server asks again after other webhooks.
    #[test]
    fn a_gate_that_is_there_is_not_added_again() {
        let pod = gated(json!({"metadata": {}, "spec": {}}));
        assert_eq!(gate(&pod, &needs()), []);
    }

    #[test]
    fn what_a_gate_waits_for_is_brought_up_to_date() {
        let mut pod = gated(json!({"metadata": {}, "spec": {}}));
        pod["metadata"]["annotations"][WAITS_FOR] = json!("copied-from-elsewhere");
        assert_eq!(gated(pod)["metadata"]["annotations"][WAITS_FOR], SECRETS);
    }

    #[rstest]
    #[case::with_a_node(json!({"metadata": {}, "spec": {"nodeName": "node1"}}))]
    #[case::gates_of_another_shape(json!({"metadata": {}, "spec": {"schedulingGates": "x"}}))]
    #[case::no_metadata(json!({"spec": {}}))]
    #[case::no_spec(json!({"metadata": {}}))]
    fn no_gate_where_the_api_server_would_refuse_it(#[case] pod: Value) {
        assert_eq!(gate(&pod, &needs()), []);
    }

    #[test]
    fn an_empty_node_name_is_none() {
        let pod = gated(json!({"metadata": {}, "spec": {"nodeName": ""}}));
        assert_eq!(pod["spec"]["schedulingGates"][0]["name"], GATE);
    }
}
