//! How many calls of AWS's API many objects need. `make soak` sets `BINDERY_SOAK_OBJECTS` for the full size, which runs at the
//! operator's default pace.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::ground::{Place, SERVER, scale};

const OBJECTS: usize = 20;
/// How many objects each namespace has.
const IN_NAMESPACE: usize = 10;
/// The goals of the full size: calls per object and minute.
const WORKING: f64 = 2.0;
const IDLE: f64 = 0.05;

/// The calls since the last reset, by their name.
fn calls() -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for call in SERVER.calls() {
        *calls.entry(call).or_default() += 1;
    }
    calls
}

fn manifest(namespace: &str) -> String {
    let object = |number: usize| {
        json!({"apiVersion": "service-operator.aws/v1alpha1", "kind": "SQSQueue",
            "metadata": {"name": format!("queue-{number}"), "namespace": namespace}})
    };
    let objects: Vec<_> = (0..IN_NAMESPACE).map(object).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// How many objects of the namespaces are in this state.
fn count(place: &Place, namespaces: &[String], status: &str) -> usize {
    let path = "-o=jsonpath={range .items[*]}{.metadata.namespace} {.status.resourceStatus}\n{end}";
    let text = place.kubectl(&["get", "sqsqueues", "-A", path], "").unwrap();
    let of = |line: &&str| {
        line.split_once(' ').is_some_and(|(namespace, found)| {
            found == status && namespaces.iter().any(|known| known == namespace)
        })
    };
    text.lines().filter(of).count()
}

async fn reached(place: &Place, namespaces: &[String], status: &str, wanted: usize) {
    let deadline = Instant::now() + Duration::from_mins(20);
    while count(place, namespaces, status) != wanted {
        assert!(Instant::now() < deadline, "not all are {status}");
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn many_objects_need_few_calls() {
    let place = Place::alone().await;
    let objects = scale().unwrap_or(OBJECTS);
    let namespaces: Vec<String> =
        (0..objects / IN_NAMESPACE).map(|number| format!("{}-{number}", place.namespace)).collect();
    SERVER.set(&json!({"reset_calls": true}));
    let began = Instant::now();
    for namespace in &namespaces {
        place.kubectl(&["create", "namespace", namespace], "").unwrap();
        place.kubectl(&["apply", "-n", namespace, "-f", "-"], &manifest(namespace)).unwrap();
    }
    reached(&place, &namespaces, "CREATE_COMPLETE", objects).await;
    let (working, made) = (began.elapsed(), calls());
    assert_eq!(made["cloudformation:CreateStack"], objects, "{made:?}");
    assert!(made["cloudformation:DescribeStackEvents"] <= objects, "{made:?}");
    let window = if scale().is_some() { Duration::from_mins(5) } else { Duration::from_secs(2) };
    SERVER.set(&json!({"reset_calls": true}));
    sleep(window).await;
    let idle = calls();
    let rate = |calls: &BTreeMap<String, usize>, time: Duration| {
        let [calls, objects] = [calls.values().sum::<usize>(), objects].map(|it| u32::try_from(it).unwrap());
        f64::from(calls) / f64::from(objects) / (time.as_secs_f64() / 60.0)
    };
    let (busy, quiet) = (rate(&made, working), rate(&idle, window));
    println!(
        "soak: {objects} objects in {} namespaces, {busy:.2} calls per object and minute while working, {quiet:.3} idle",
        namespaces.len()
    );
    if scale().is_some() {
        assert!(busy < WORKING && quiet < IDLE, "{busy} {quiet} {made:?} {idle:?}");
    } else {
        assert!(idle.keys().all(|call| call == "cloudformation:DescribeStacks"), "{idle:?}");
    }
    for namespace in &namespaces {
        place.kubectl(&["delete", "namespace", "--wait=false", namespace], "").unwrap();
    }
    reached(&place, &namespaces, "CREATE_COMPLETE", 0).await;
    let gone = async || place.account.stacks().await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(20);
    while gone().await.iter().any(|stack| stack.name.contains(&place.namespace)) {
        assert!(Instant::now() < deadline, "stacks are left");
        sleep(Duration::from_secs(1)).await;
    }
}
