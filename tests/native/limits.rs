//! Large and hostile pods: the API server never fails because an expression is too expensive.

use bindery::contract::pod::{AS, BIND, CONTAINERS, MOUNT_ROOT};
use serde_json::{Value, json};

use crate::{
    cluster::Place,
    equality::engine_of,
    table::{Engine, names, with_annotations},
};

/// A pod with this many containers, volumes, and entries in each list of each container.
fn large(containers: usize, volumes: usize, entries: usize) -> Value {
    let mounts: Vec<_> = (0..entries)
        .map(|n| json!({"name": format!("v{}", n % volumes), "mountPath": format!("/data/{n}/{}", "x".repeat(60))}))
        .collect();
    let containers: Vec<_> = (0..containers)
        .map(|n| json!({"name": format!("c{n}"), "image": "i", "volumeMounts": mounts}))
        .collect();
    let volumes: Vec<_> = (0..volumes)
        .map(|n| json!({"name": format!("v{n}"), "secret": {"secretName": format!("other-{n}")}}))
        .collect();
    json!({"containers": containers, "volumes": volumes})
}

/// With the volume and the mount that Kubernetes adds for the service account.
#[tokio::test]
async fn the_largest_pod_of_the_form_is_bound_within_the_cost_limits() {
    let place = Place::new("large").await;
    let pod = |containers, volumes, entries, bindings| {
        with_annotations(&large(containers, volumes, entries), &json!({BIND: names(bindings, 40)}))
    };
    for (pod, engine) in [
        (pod(30, 99, 59, 20), Engine::ApiServer),
        (pod(31, 1, 1, 1), Engine::Webhook),
        (pod(1, 100, 1, 1), Engine::Webhook),
        (pod(1, 1, 60, 1), Engine::Webhook),
        (pod(200, 300, 40, 24), Engine::Webhook),
    ] {
        assert_eq!(engine_of(&place, &place.pair(), None, &pod).await, Some(engine));
    }
}

#[tokio::test]
async fn hostile_annotations_reach_the_webhook_and_nothing_else() {
    let place = Place::new("hostile").await;
    let shape = json!({"containers": [{"name": "app", "image": "i"}]});
    let many: serde_json::Map<String, Value> = (0..20_000)
        .map(|n| (format!("a.b/{n}"), json!("")))
        .chain([(BIND.to_owned(), json!("db"))])
        .collect();
    let huge = "x".repeat(250 << 10);
    for annotations in [
        Value::Object(many),
        json!({BIND: huge}),
        json!({BIND: ",".repeat(250 << 10)}),
        json!({BIND: "a,".repeat(100 << 10)}),
        json!({BIND: "db", CONTAINERS: ",".repeat(250 << 10)}),
        json!({BIND: "db", CONTAINERS: "app,".repeat(200)}),
        json!({BIND: "db", MOUNT_ROOT: "/x".repeat(100 << 10)}),
        json!({BIND: "db", MOUNT_ROOT: "/".repeat(200)}),
        json!({BIND: "db", AS: " ".repeat(250 << 10)}),
        json!({BIND: "db", "bindery.dev/bound-by": "x'+\"y"}),
    ] {
        let pod = with_annotations(&shape, &annotations);
        let expected = if annotations.get("bindery.dev/bound-by").is_some() {
            Engine::ApiServer
        } else {
            Engine::Webhook
        };
        let engine = engine_of(&place, &place.pair(), None, &pod).await;
        assert_eq!(engine, Some(expected), "{:.200}", annotations.to_string());
    }
}
