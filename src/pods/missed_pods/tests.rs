//! Evictions against a stand-in for the API server, and the texts of events about missed pods.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, routing::post};
use kube::{
    Client, Config,
    runtime::{reflector, watcher::Event},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::pods::{
    Bindings, Namespaces, Owners,
    pod::tests::{object, read},
};

/// An API server that allows and counts evictions.
async fn api_server(evictions: Arc<AtomicUsize>) -> Client {
    let evict = async |State(evictions): State<Arc<AtomicUsize>>| {
        evictions.fetch_add(1, Ordering::SeqCst);
        Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    };
    let path = "/api/v1/namespaces/shop/pods/web-1/eviction";
    let router = Router::new().route(path, post(evict)).with_state(evictions);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::try_from(Config::new(url.parse().unwrap())).unwrap()
}

/// The API server would refuse the successor, and the owner would lose its pod.
#[tokio::test]
async fn nothing_is_evicted_while_the_webhook_cannot_be_reached() {
    let evictions = Arc::new(AtomicUsize::new(0));
    let client = api_server(evictions.clone()).await;
    let (pods, mut pod_writer) = reflector::store();
    let (namespaces, mut namespace_writer) = reflector::store();
    let owner =
        json!([{"apiVersion": "v1", "kind": "Cluster", "name": "web", "uid": "o", "controller": true}]);
    let pod = read(&object(&json!({"metadata": {"ownerReferences": owner}}))).unwrap();
    let reference = PodRef::from_obj(&pod);
    pod_writer.apply_watcher_event(&Event::Apply(pod));
    let (annotation, evict) = contract::namespace::MISSED;
    let namespace = json!({"metadata": {"name": "shop", "annotations": {annotation: evict}}});
    namespace_writer.apply_watcher_event(&Event::Apply(serde_json::from_value(namespace).unwrap()));
    let namespaces = Namespaces(namespaces);
    let shared = Shared {
        client: client.clone(),
        metrics: Arc::default(),
        unreadable: crate::k8s::unreadable::Unreadable::without_events(Arc::default()),
        pods,
        namespaces,
        bindings: Bindings::new(crate::k8s::cache::cache().0),
        owners: Arc::new(Owners::new(client.clone())),
        recorder: crate::k8s::events::Recorder::new(client, reflector::store().0),
        lost_secrets: crate::bindings::LostSecrets::default(),
    };
    let (reachable, is_reachable) = watch::channel(false);
    let mut missed = MissedPods::new(shared, is_reachable);
    missed.handle(reference);
    missed.evict_next().await;
    assert_eq!(evictions.load(Ordering::SeqCst), 0);
    reachable.send_replace(true);
    missed.evict_next().await;
    assert_eq!(evictions.load(Ordering::SeqCst), 1);
}

#[test]
fn the_event_about_a_missed_pod_names_lack_cause_and_remedy() {
    let pod = read(&object(&json!({}))).unwrap();
    assert_eq!(
        event("it", &pod, None).note,
        "it asks for db and does not have it in container app: the API server did not call bindery's webhook when it was created \
         (not installed yet, no webhook configuration, or failurePolicy Ignore), or its annotations were added later, perhaps by \
         another webhook. To bind it: delete the pod and create it again: kubectl delete pod web-1 -n shop"
    );
}

/// One event covers all pods of a Deployment, so the text must not name one of them.
#[test]
fn the_event_about_an_owner_is_the_same_for_all_its_pods() {
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d"});
    let owner = Owner::of(&serde_json::from_value(owner).unwrap());
    let one = read(&object(&json!({}))).unwrap();
    let other = read(&object(&json!({"metadata": {"name": "web-2", "uid": "u2"}}))).unwrap();
    let last_event = event("a pod of it", &one, Some(&owner));
    assert_eq!(last_event, event("a pod of it", &other, Some(&owner)));
    assert!(
        last_event.note.ends_with("To bind it: kubectl rollout restart deployment/web -n shop"),
        "{}",
        last_event.note
    );
}

#[test]
fn what_cannot_be_carried_out_is_named_but_not_repeated() {
    let pod = read(&object(&json!({"metadata": {"annotations": {"bindery.dev/bind": "hunter2 hunter2"}}})));
    let note = event("it", &pod.unwrap(), None).note;
    assert!(note.contains("metadata.annotations[bindery.dev/bind] is invalid"), "{note}");
    assert!(!note.contains("hunter2"), "{note}");
}
