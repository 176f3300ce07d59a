use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::contract::{self, pod};

/// A pod as the API server returns it, with `changes` merged into it.
pub(in crate::pods) fn object(changes: &Value) -> DynamicObject {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "annotations": {"bindery.dev/bind": "db"}},
        "spec": {"containers": [{"name": "app", "image": "app"}], "nodeName": "node"},
        "status": {"phase": "Running"},
    });
    json_patch::merge(&mut pod, changes);
    serde_json::from_value(pod).unwrap()
}

/// The same pod after its injection.
pub(in crate::pods) fn bound(changes: &Value) -> DynamicObject {
    let mut pod = serde_json::to_value(object(changes)).unwrap();
    inject(&pod, &InjectSettings::default()).unwrap().apply(&mut pod).unwrap();
    serde_json::from_value(pod).unwrap()
}

pub(in crate::pods) fn read(object: &DynamicObject) -> Option<AskingPod> {
    AskingPod::read(object, None, &InjectSettings::default())
}

fn defaults(bind: &str) -> NamespaceDefaults {
    let (label, enabled) = contract::namespace::INJECT;
    let labels = BTreeMap::from([(label.to_owned(), enabled.to_owned())]);
    let annotations = BTreeMap::from([(pod::BIND.to_owned(), bind.to_owned())]);
    NamespaceDefaults::read("shop", &labels, &annotations).unwrap()
}

#[test]
fn a_pod_that_was_bound_lacks_nothing() {
    let pod = read(&bound(&json!({}))).unwrap();
    assert_eq!(pod.coverage, Coverage::Full);
    assert!(!pod.is_missed() && pod.asks_for("db") && !pod.asks_for("other"));
}

#[test]
fn a_pod_that_was_not_bound_lacks_it_in_its_containers() {
    let two = json!({"spec": {"containers": [{"name": "app"}, {"name": "worker"}, {"name": "istio-proxy"}]}});
    let pod = read(&object(&two)).unwrap();
    assert_eq!(pod.coverage, Coverage::Lacking { containers: vec!["app".to_owned(), "worker".to_owned()] });
}

/// A mark proves nothing: the content of the pod is compared.
#[test]
fn a_container_that_was_added_after_the_webhook_lacks_it() {
    let mut pod = bound(&json!({}));
    pod.data["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late"}));
    assert_eq!(read(&pod).unwrap().coverage, Coverage::Lacking { containers: vec!["late".to_owned()] });
}

#[rstest]
#[case::asking_for_nothing(&json!({"metadata": {"annotations": {"bindery.dev/bind": null}}}))]
#[case::opting_out(&json!({"metadata": {"annotations": {"bindery.dev/bind": ""}}}))]
#[case::a_mirror_pod(&json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "hash"}}}))]
#[case::ending(&json!({"metadata": {"deletionTimestamp": "2026-11-21T10:00:00Z"}}))]
#[case::done(&json!({"status": {"phase": "Succeeded"}}))]
#[case::failed(&json!({"status": {"phase": "Failed"}}))]
fn a_pod_is_of_no_concern_when_it_is(#[case] changes: &Value) {
    assert!(read(&object(changes)).is_none());
}

#[test]
fn a_pod_may_be_asked_for_by_its_namespace() {
    let silent = object(&json!({"metadata": {"annotations": null}}));
    let defaults = defaults("queue");
    let pod = AskingPod::read(&silent, Some(&defaults), &InjectSettings::default()).unwrap();
    assert!(pod.is_by_namespace && pod.is_missed() && pod.asks_for("queue"));
    let own = AskingPod::read(&bound(&json!({})), Some(&defaults), &InjectSettings::default()).unwrap();
    assert!(!own.is_by_namespace && !own.is_missed());
}

#[test]
fn a_pod_that_the_webhook_would_refuse_says_which_field() {
    let pod = read(&object(&json!({"metadata": {"annotations": {"bindery.dev/bind": "a,,b"}}}))).unwrap();
    assert_eq!(
        pod.coverage,
        Coverage::Unclear { field: "metadata.annotations[bindery.dev/bind]".to_owned() }
    );
}

#[rstest]
#[case::no_node(&json!({"spec": {"nodeName": null}}), Stage::Unscheduled)]
#[case::nothing_said_yet(&json!({"status": {"phase": "Pending"}}), Stage::Starting)]
#[case::waiting_for_a_volume(
    &json!({"status": {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}}]}}),
    Stage::Starting
)]
#[case::waiting_for_variables(
    &json!({"status": {"containerStatuses": [
        {"name": "proxy", "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}, "lastState": {}},
        {"name": "app", "state": {"waiting": {"reason": "CreateContainerConfigError"}}, "lastState": {}}]}}),
    Stage::Starting
)]
#[case::running(
    &json!({"status": {"containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}}]}}),
    Stage::Started
)]
#[case::initializing(
    &json!({"status": {
        "initContainerStatuses": [{"name": "init", "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}}],
        "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}}]}}),
    Stage::Started
)]
#[case::crashing(
    &json!({"status": {"containerStatuses": [
        {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]}}),
    Stage::Started
)]
fn how_far_a_pod_is(#[case] changes: &Value, #[case] expected: Stage) {
    assert_eq!(read(&bound(changes)).unwrap().stage, expected);
}

#[test]
fn what_is_said_of_a_pod_is_kept() {
    let pod = read(&bound(&json!({
        "metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "other", "uid": "o"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
        "spec": {"schedulingGates": [{"name": "bindery.dev/binding"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}}]},
    })))
    .unwrap();
    assert_eq!(pod.controller().unwrap().name, "web");
    assert_eq!(pod.gates, ["bindery.dev/binding"]);
    assert!(pod.is_ready);
    assert_eq!(pod.meta().annotations, None, "only what is needed stays");
}

/// Users of controllers never see the webhook's warnings, so these are kept for an event.
#[test]
fn what_the_webhook_would_warn_of_is_kept() {
    let mut changes = json!({"spec": {"containers": [{
        "name": "app", "volumeMounts": [{"name": "own", "mountPath": "/var/secrets", "readOnly": true}]
    }], "volumes": [{"name": "own", "emptyDir": {}}]}});
    let pod = read(&bound(&changes)).unwrap();
    assert_eq!(pod.coverage, Coverage::Full);
    assert_eq!(pod.warnings.len(), 1);
    assert!(pod.warnings[0].contains("/var/secrets above its binding is read-only"), "{:?}", pod.warnings);
    changes["spec"]["containers"][0]["volumeMounts"] = json!([]);
    assert_eq!(read(&bound(&changes)).unwrap().warnings, [""; 0]);
}

#[test]
fn the_variables_of_several_bindings_are_kept_in_their_order() {
    let mut changes = json!({"metadata": {"annotations": {"bindery.dev/bind": "db,queue"}}});
    let pod = read(&bound(&changes)).unwrap();
    let source = |kind, prefix: &str, name: &str| VariableSource {
        prefix: prefix.to_owned(),
        kind,
        name: name.to_owned(),
    };
    let sources = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(prefix, name)| source(ObjectKind::Secret, prefix, name)).collect()
    };
    assert_eq!(
        pod.variable_sources,
        [sources(&[("", "queue-env"), ("", "db-env")])],
        "the first wins, and the last does"
    );
    changes["metadata"]["annotations"] = json!({"bindery.dev/bind": "db", "bindery.dev/env": "A_*=db/*"});
    assert_eq!(read(&bound(&changes)).unwrap().variable_sources, [sources(&[("", "db-env"), ("A_", "db")])]);
    changes["metadata"]["annotations"] =
        json!({"bindery.dev/bind": "db,configmap/app", "bindery.dev/env": "*=app/*"});
    let expected = [source(ObjectKind::Secret, "", "db-env"), source(ObjectKind::ConfigMap, "", "app")];
    assert_eq!(read(&bound(&changes)).unwrap().variable_sources, [expected]);
    changes["metadata"]["annotations"] = json!({"bindery.dev/bind": "db"});
    assert!(read(&bound(&changes)).unwrap().variable_sources.is_empty(), "one alone hides nothing");
}

const GATED: fn() -> Value = || json!({"spec": {"nodeName": null, "schedulingGates": [{"name": GATE}]}});

#[test]
fn a_gated_pod_waits_for_the_secrets_of_its_bindings_alone() {
    let mut changes = GATED();
    changes["metadata"] = json!({"annotations": {"bindery.dev/bind": "db,queue,secret/tls"}});
    let pod = read(&bound(&changes)).unwrap();
    assert!(pod.is_gated());
    assert_eq!(pod.needed_secrets(), ["db-env", "db", "queue-env", "queue"]);
    assert!(!read(&bound(&json!({}))).unwrap().is_gated());
}

#[test]
fn a_gated_pod_is_kept_even_if_it_asks_for_nothing_any_more() {
    let mut changes = GATED();
    changes["metadata"] = json!({"annotations": {"bindery.dev/bind": ""}});
    let pod = read(&object(&changes)).unwrap();
    assert!(pod.is_gated() && !pod.is_missed());
    assert!(pod.needed_secrets().is_empty());
}

/// The namespace was excluded after the webhook had added the gate.
#[test]
fn a_gated_pod_where_none_is_bound_is_let_go_and_no_other_is_looked_at() {
    let gated = json!({"spec": {"schedulingGates": [{"name": GATE}], "nodeName": null}});
    for asking in ["db", "a,,b"] {
        let mut gated = gated.clone();
        gated["metadata"]["annotations"]["bindery.dev/bind"] = json!(asking);
        let pod = AskingPod::read_left_alone(&object(&gated)).unwrap();
        assert!(pod.is_gated() && pod.needed_secrets().is_empty() && !pod.is_missed(), "{asking}");
    }
    assert!(AskingPod::read_left_alone(&object(&json!({}))).is_none());
}
