//! Which events report a refusal, and when owners are nudged.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures::stream;
use rstest::rstest;

use super::*;

const MESSAGE: &str = "Error creating: Internal error occurred: failed calling webhook \"inject.bindery.dev\": failed to \
                       call webhook: Post \"https://bindery-admission.bindery.svc:443/mutate?timeout=5s\": dial tcp \
                       10.96.0.7:443: connect: connection refused";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn event(changes: &Value) -> Event {
    let mut event = json!({
        "metadata": {"name": "web.1", "namespace": "shop"}, "reason": "FailedCreate", "message": MESSAGE,
        "involvedObject": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "shop", "name": "web", "uid": "u"},
        "lastTimestamp": "2025-12-31T23:59:00Z"
    });
    json_patch::merge(&mut event, changes);
    serde_json::from_value(event).unwrap()
}

fn owner(kind: OwnerKind) -> Owner {
    Owner { kind, namespace: "shop".to_owned(), name: "web".to_owned() }
}

#[rstest]
#[case::replica_set("apps/v1", "ReplicaSet", OwnerKind::ReplicaSet)]
#[case::stateful_set("apps/v1", "StatefulSet", OwnerKind::StatefulSet)]
#[case::daemon_set("apps/v1", "DaemonSet", OwnerKind::DaemonSet)]
#[case::job("batch/v1", "Job", OwnerKind::Job)]
fn an_event_tells_whose_pod_was_refused(
    #[case] version: &str,
    #[case] kind: &str,
    #[case] expected: OwnerKind,
) {
    let refusal = event(&json!({"involvedObject": {"apiVersion": version, "kind": kind}}));
    assert_eq!(refused(&refusal, now()), Some(owner(expected)));
}

#[rstest]
#[case::by_the_other_entry(&json!({"message": MESSAGE.replace("inject.", "defaults.")}))]
#[case::as_the_stateful_set_s_controller_says_it(
    &json!({"message": format!("create Pod web-0 in StatefulSet web failed error: {MESSAGE}")})
)]
#[case::as_events_of_the_newer_kind_have_it(
    &json!({"lastTimestamp": null, "eventTime": "2025-12-31T01:00:00.000000Z",
        "series": {"lastObservedTime": "2025-12-31T23:59:00.000000Z"}})
)]
fn a_refusal_is_known_from_every_source(#[case] changes: &Value) {
    assert_eq!(refused(&event(changes), now()), Some(owner(OwnerKind::ReplicaSet)));
}

#[rstest]
#[case::of_another_webhook(&json!({"message": MESSAGE.replace("inject.bindery.dev", "inject.example.com")}))]
#[case::by_the_webhook_itself(
    &json!({"message": "Error creating: admission webhook \"inject.bindery.dev\" denied the request: it is wrong"})
)]
#[case::for_another_reason(&json!({"message": "Error creating: pods \"web\" is forbidden: exceeded quota"}))]
#[case::long_ago(&json!({"lastTimestamp": "2025-12-31T23:40:00Z"}))]
#[case::of_an_owner_of_another_kind(&json!({"involvedObject": {"kind": "Deployment"}}))]
#[case::with_another_meaning(&json!({"reason": "FailedDelete"}))]
fn other_failures_are_not_bindery_s_to_mend(#[case] changes: &Value) {
    assert_eq!(refused(&event(changes), now()), None);
}

#[rstest]
#[case(&json!([]), false)]
#[case(&json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]), false)]
#[case(&json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]), true)]
#[case::as_the_api_says_of_an_unknown_state(&json!([{"addresses": ["10.0.0.1"]}]), true)]
fn the_webhook_is_well_with_one_ready_endpoint(#[case] endpoints: &Value, #[case] expected: bool) {
    let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints});
    assert_eq!(has_ready_endpoint(&serde_json::from_value(slice).unwrap()), expected);
}

/// All four kinds accept the condition, and each nudge changes it.
#[test]
fn a_nudge_changes_the_status_alone() {
    let at = |time: &str| condition(time.parse().unwrap());
    let first = at("2026-01-01T00:00:00.9Z");
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["status"]);
    assert_eq!(first["status"]["conditions"][0]["type"], "bindery.dev/Nudged");
    assert_ne!(first, at("2026-01-01T00:00:02Z"));
    serde_json::from_value::<k8s_openapi::api::batch::v1::JobStatus>(first["status"].clone()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_owners_are_nudged_after_the_recovery() {
    let (received, nudged) = (Arc::new(Mutex::new(Vec::new())), owner(OwnerKind::Job));
    let sink = received.clone();
    let watch_refusals = stream::iter([nudged.clone(), nudged.clone()]).chain(stream::pending());
    let recovery = async {
        tokio::time::sleep(Duration::from_mins(3)).await;
        true
    };
    let availability = stream::iter([false]).chain(stream::once(recovery)).chain(stream::pending());
    let started = Instant::now();
    let note = move |owner| sink.lock().unwrap().push((owner, started.elapsed()));
    let deciding = schedule(Box::pin(watch_refusals), Box::pin(availability), note);
    let _ = tokio::time::timeout(Duration::from_mins(30), deciding).await;
    let received = received.lock().unwrap();
    let [(owner, at)] = &received[..] else { panic!("nudged {received:?}") };
    assert_eq!(*owner, nudged);
    assert!((181..190).contains(&at.as_secs()), "{at:?}");
}

fn owners(count: usize) -> Vec<Owner> {
    (0..count).map(|number| Owner { name: number.to_string(), ..owner(OwnerKind::ReplicaSet) }).collect()
}

/// The first nudge is due after two seconds, so that pods run within ten.
#[tokio::test(start_paused = true)]
async fn a_thousand_owners_are_nudged_in_their_order_within_seconds_and_few_at_a_time() {
    let (begun, under_way) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let nudge = async |owner: Owner| {
        begun.lock().unwrap().push(owner);
        assert!(under_way.fetch_add(1, Ordering::SeqCst) < NUDGE_CONCURRENCY);
        tokio::time::sleep(Duration::from_millis(40)).await;
        under_way.fetch_sub(1, Ordering::SeqCst);
    };
    let started = Instant::now();
    run_nudges(stream::iter(owners(1000)), nudge).await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(begun.into_inner().unwrap(), owners(1000));
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_nudge_is_not_answered_does_not_hold_up_the_others() {
    let ended = Mutex::new(Vec::new());
    let nudge = async |owner: Owner| {
        if owner.name == "0" {
            tokio::time::sleep(NUDGE_TIMEOUT).await;
        }
        ended.lock().unwrap().push((owner.name, Instant::now()));
    };
    let started = Instant::now();
    run_nudges(stream::iter(owners(100)), nudge).await;
    let ended = ended.into_inner().unwrap();
    let late: Vec<_> = ended.iter().filter(|(_, at)| *at > started + Duration::from_secs(1)).collect();
    assert_eq!((ended.len(), late.len()), (100, 1), "{late:?}");
}
