//! Missed pods and waiting pods: the events about them, and evictions. The cluster has no webhook, so a pod is bound
//! only if its manifest is already patched, as by `bindery inject`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeSet, process::Output, sync::LazyLock};

use bindery::{
    apis::servicecatalog::ServiceBinding,
    injection::{InjectSettings, inject},
    pods::{self, PodsSettings},
    telemetry::Metrics,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod, Secret},
    events::v1::Event,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{process::Command, sync::OnceCell};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::Fault,
    harness::{LOST_SECRETS, Place, RUNTIME, client, until},
};

static METRICS: LazyLock<std::sync::Arc<Metrics>> = LazyLock::new(Default::default);

/// A place in a cluster whose pods the catalog watches; one process does so for all tests.
pub(crate) async fn place() -> Place {
    static LOOKING_AFTER: OnceCell<()> = OnceCell::const_new();
    let place = Place::with_broker().await;
    LOOKING_AFTER
        .get_or_init(async || {
            RUNTIME.spawn(async {
                let settings = PodsSettings { lost_secrets: LOST_SECRETS.clone(), ..PodsSettings::default() };
                let stop = CancellationToken::new();
                let ended = pods::run(client().await, settings, METRICS.clone(), stop).await;
                panic!("nobody looks after pods any more: {ended:?}");
            });
        })
        .await;
    place
}

/// A pod (template) that sleeps, with these annotations.
fn sleeping(annotations: &Value) -> Value {
    let container = json!({"name": "app", "image": "busybox:1.35", "imagePullPolicy": "Never", "command": ["sleep", "3600"]});
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    })
}

/// The same pod after injection.
fn bound(annotations: &Value) -> Value {
    let mut pod = sleeping(annotations);
    inject(&pod, &InjectSettings::default()).unwrap().apply(&mut pod).unwrap();
    pod
}

async fn create<K>(place: &Place, name: &str, mut object: Value)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    object["metadata"]["name"] = json!(name);
    place.api::<K>().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn deploy(place: &Place, name: &str, replicas: usize, template: Value) {
    let mut template = template;
    template["metadata"]["labels"] = json!({"app": name});
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template});
    create::<Deployment>(place, name, json!({"spec": spec})).await;
}

/// The event messages about an object with this reason.
async fn told(place: &Place, kind: &str, name: &str, reason: &str) -> Vec<String> {
    let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
    let is_about = |event: &Event| {
        event.reason.as_deref() == Some(reason)
            && event.regarding.as_ref().is_some_and(|about| {
                about.kind.as_deref() == Some(kind) && about.name.as_deref() == Some(name)
            })
    };
    events.into_iter().filter(is_about).filter_map(|event| event.note).collect()
}

pub(crate) async fn until_told(place: &Place, kind: &str, name: &str, reason: &str, what: &str) -> String {
    let mut found = None;
    until(&format!("{kind} {name} is told {reason}: {what}"), async || {
        found = told(place, kind, name, reason).await.into_iter().find(|note| note.contains(what));
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn metric(name: &str, place: &Place) -> Option<i64> {
    let line = format!("bindery_{name}{{namespace=\"{}\"}} ", place.namespace);
    let text = METRICS.encode().unwrap();
    text.lines().find_map(|text| text.strip_prefix(&line)).map(|count| count.parse().unwrap())
}

/// The uids of the pods with this label that are not terminating.
async fn pods_of(place: &Place, app: &str) -> BTreeSet<String> {
    let pods = place.api::<Pod>().list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap();
    pods.into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| pod.uid())
        .collect()
}

async fn say(place: &Place, metadata: &Value) {
    let patch = Patch::Merge(json!({"metadata": metadata}));
    Api::<Namespace>::all(place.client.clone())
        .patch(&place.namespace, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn bindery(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bindery")).args(arguments).output().await.unwrap()
}

#[tokio::test]
async fn a_missed_pod_is_counted_and_its_owner_gets_one_event() {
    let place = place().await;
    deploy(&place, "web", 2, sleeping(&json!({"bindery.dev/bind": "db"}))).await;
    create::<Pod>(&place, "bare", sleeping(&json!({"bindery.dev/bind": "db"}))).await;
    create::<Pod>(&place, "fine", bound(&json!({"bindery.dev/bind": "db"}))).await;
    create::<Pod>(&place, "silent", sleeping(&json!({}))).await;
    until("three pods are missed", async || metric("pods_missed", &place) == Some(3)).await;
    let note = until_told(&place, "Deployment", "web", "BindingMissed", "in container app").await;
    let remedy = format!("kubectl rollout restart deployment/web -n {}", place.namespace);
    assert!(note.ends_with(&remedy), "{note}");
    let note = until_told(&place, "Pod", "bare", "BindingMissed", "asks for db").await;
    assert!(note.ends_with(&format!("kubectl delete pod bare -n {}", place.namespace)), "{note}");
    for pod in place.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap() {
        until_told(&place, "Pod", &pod.name_any(), "BindingMissed", "asks for db").await;
    }
    assert_eq!(told(&place, "Deployment", "web", "BindingMissed").await.len(), 1, "both pods gave cause");
    for pod in ["fine", "silent"] {
        assert!(told(&place, "Pod", pod, "BindingMissed").await.is_empty(), "{pod}");
    }
    place.delete::<Deployment>("web").await;
    until("one is left", async || metric("pods_missed", &place) == Some(1)).await;
}

#[tokio::test]
async fn existing_pods_of_a_namespace_with_a_new_default_count_as_missed() {
    let place = place().await;
    create::<Pod>(&place, "silent", sleeping(&json!({}))).await;
    create::<Pod>(&place, "out", sleeping(&json!({"bindery.dev/bind": ""}))).await;
    say(
        &place,
        &json!({"labels": {"bindery.dev/inject": "enabled"}, "annotations": {"bindery.dev/bind": "db"}}),
    )
    .await;
    let note = until_told(&place, "Pod", "silent", "BindingMissed", "by default of its Namespace, db").await;
    assert!(note.contains("it was created before the Namespace had that default"), "{note}");
    assert_eq!(metric("pods_missed", &place), Some(1));
    say(&place, &json!({"labels": {"bindery.dev/inject": null}})).await;
    until("nothing is asked for any more", async || metric("pods_missed", &place).is_none()).await;
}

/// Without a webhook every replacement is missed as well, so each owner loses only one pod.
#[tokio::test]
async fn missed_pods_are_evicted_if_the_namespace_asks_for_it_and_not_repeatedly() {
    let place = place().await;
    let asking = || sleeping(&json!({"bindery.dev/bind": "db"}));
    for app in ["web", "kept"] {
        deploy(&place, app, 2, asking()).await;
    }
    create::<Pod>(&place, "bare", asking()).await;
    let budget = json!({"spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "kept"}}}});
    create::<PodDisruptionBudget>(&place, "kept", budget).await;
    until("five pods are missed", async || metric("pods_missed", &place) == Some(5)).await;
    let (web, kept) = (pods_of(&place, "web").await, pods_of(&place, "kept").await);
    let bare = place.api::<Pod>().get("bare").await.unwrap().uid();
    // The budget does not protect a pod that has not started.
    until("the budget is in force", async || {
        let budget = place.api::<PodDisruptionBudget>().get("kept").await.unwrap();
        budget.status.is_some_and(|status| status.current_healthy == Some(2))
    })
    .await;

    say(&place, &json!({"annotations": {"bindery.dev/missed-pods": "evict"}})).await;
    until_told(&place, "Deployment", "web", "MissedAgain", "does not call bindery's webhook for new pods")
        .await;
    assert_eq!(pods_of(&place, "web").await.intersection(&web).count(), 1, "one of two was evicted");
    assert_eq!(pods_of(&place, "kept").await, kept, "a budget is respected");
    assert_eq!(place.api::<Pod>().get("bare").await.unwrap().uid(), bare, "nobody would replace it");
    deploy(&place, "late", 1, asking()).await;
    // A pod that cannot be evicted does not delay the others.
    until_told(&place, "Deployment", "late", "MissedAgain", "does not call bindery's webhook for new pods")
        .await;

    place.delete::<PodDisruptionBudget>("kept").await;
    until_told(&place, "Deployment", "kept", "MissedAgain", "does not call bindery's webhook for new pods")
        .await;
    assert_eq!(pods_of(&place, "web").await.intersection(&web).count(), 1, "it is not tried again and again");
}

#[tokio::test]
async fn a_waiting_pod_and_its_owner_get_an_event_with_the_reason() {
    let place = place().await;
    place.binding("mydb01-binding", "mydb01", json!({})).await;
    deploy(&place, "web", 1, bound(&json!({"bindery.dev/bind": "mydb01-bindign"}))).await;
    create::<Pod>(&place, "early", bound(&json!({"bindery.dev/bind": "mydb01-binding"}))).await;
    create::<Pod>(&place, "plain", bound(&json!({"bindery.dev/bind": "secret/absent"}))).await;
    let note = until_told(&place, "Deployment", "web", "BindingMissing", "mydb01-bindign").await;
    assert!(note.ends_with("did you mean \"mydb01-binding\"?"), "{note}");
    until_told(&place, "Pod", "early", "BindingNotReady", "no ServiceInstance named \"mydb01\"").await;
    until_told(&place, "Pod", "plain", "SecretMissing", "no Secret named \"absent\"").await;
    until("all three are counted", async || metric("pods_waiting", &place) == Some(3)).await;

    // A new reason is reported as soon as it exists.
    place.broker.set(Fault::Slow);
    place.instance("mydb01", json!({})).await;
    let words = until_told(&place, "Pod", "early", "BindingNotReady", "creating (10%)").await;
    assert!(words.contains("ServiceInstance \"mydb01\" is not ready: Provisioning"), "{words}");
    place.broker.set(Fault::None);
    until("one has what it waited for", async || metric("pods_waiting", &place) == Some(2)).await;
}

#[tokio::test]
async fn a_missing_key_of_a_secret_is_named_without_any_value() {
    let place = place().await;
    let secret = json!({"stringData": {"host": "hunter2", "port": "26257"}});
    create::<Secret>(&place, "own", secret).await;
    let annotations = json!({"bindery.dev/bind": "secret/own", "bindery.dev/env": "HOST=own/hots"});
    create::<Pod>(&place, "web", bound(&annotations)).await;
    let note = until_told(&place, "Pod", "web", "SecretKeyMissing", "no key \"hots\"").await;
    assert!(note.contains("(did you mean \"host\"?); it has: host, port"), "{note}");
    assert!(!note.contains("hunter2"), "{note}");
}

#[tokio::test]
async fn a_pod_that_waits_for_a_config_map_is_told_so() {
    let place = place().await;
    let asking = json!({"bindery.dev/bind": "configmap/app", "bindery.dev/env": "LEVEL=app/level"});
    create::<Pod>(&place, "web", bound(&asking)).await;
    until_told(&place, "Pod", "web", "ConfigMapMissing", "no ConfigMap named \"app\"").await;
    create::<ConfigMap>(&place, "app", json!({"data": {"levels": "info"}})).await;
    let note = until_told(&place, "Pod", "web", "ConfigMapKeyMissing", "no key \"level\"").await;
    assert!(note.contains("(did you mean \"levels\"?); it has: levels"), "{note}");
    let output = bindery(&["who", "configmap/app", "-n", &place.namespace, "-o", "json"]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["holders"][0]["binding"], "configmap/app", "{answer}");
    assert_eq!(
        (&answer["holders"][0]["state"], output.status.code()),
        (&json!("waiting"), Some(1)),
        "{answer}"
    );
}

#[tokio::test]
async fn who_lists_holding_waiting_and_missed_pods() {
    let place = place().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    create::<Pod>(&place, "holds", bound(&json!({"bindery.dev/bind": "b"}))).await;
    until("the pod runs", async || {
        let pod = place.api::<Pod>().get("holds").await.unwrap();
        pod.status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
    })
    .await;
    let output = bindery(&["who", "b", "-n", &place.namespace]).await;
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["BINDING", "POD", "CONTAINER", "HOW", "REVISION", "SINCE", "STATE"], "{table}");
    let held: Vec<_> = rows[1..].iter().map(|row| [row[0], row[1], row[2], row[3], row[4], row[6]]).collect();
    let expected = ["env", "files"].map(|how| ["b", "holds", "app", how, "1", "held"]);
    assert_eq!(held, expected, "{table}");

    create::<Pod>(&place, "missed", sleeping(&json!({"bindery.dev/bind": "b"}))).await;
    create::<Pod>(&place, "waits", bound(&json!({"bindery.dev/bind": "c"}))).await;
    let state_of = async |pod: &str| {
        let output = bindery(&["who", "-n", &place.namespace, "-o", "json"]).await;
        assert_eq!(output.status.code(), Some(1));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let holders = answer["holders"].as_array().unwrap().clone();
        holders.into_iter().find(|holder| holder["pod"] == pod).unwrap_or_default()
    };
    assert_eq!(state_of("missed").await["state"], "missed");
    until("it is on a node", async || state_of("waits").await["state"] == "waiting").await;
    let detail = state_of("waits").await["detail"].clone();
    assert!(detail.as_str().unwrap().contains("no ServiceBinding named \"c\""), "{detail}");

    let output = bindery(&["who", "nobody", "-n", &place.namespace]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("no ServiceBinding named \"nobody\""), "{error}");
}

/// The catalog may not watch Secrets, but a pod that waits for a Secret shows that it is missing. Otherwise the
/// Secret would be restored only at its next check, after about ten minutes.
#[tokio::test]
async fn a_deleted_secret_is_restored_once_a_pod_waits_for_it() {
    let place = place().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    for secret in ["b", "b-env"] {
        place.delete::<Secret>(secret).await;
    }
    create::<Pod>(&place, "waits", bound(&json!({"bindery.dev/bind": "b"}))).await;
    until("the pod runs", async || phase(&place, "waits").await == "Running").await;

    place.delete::<Secret>("b-env").await;
    let mut gated = bound(&json!({"bindery.dev/bind": "b"}));
    gated["spec"]["schedulingGates"] = json!([{"name": "bindery.dev/binding"}]);
    create::<Pod>(&place, "gated", gated).await;
    until("the gate is open", async || phase(&place, "gated").await == "Running").await;
}

async fn phase(place: &Place, pod: &str) -> String {
    let pod = place.api::<Pod>().get(pod).await.unwrap();
    pod.status.and_then(|status| status.phase).unwrap_or_default()
}

/// The webhook's warnings go to the controller that creates the pods, and nobody sees them.
#[tokio::test]
async fn warnings_about_a_pod_and_hidden_variables_become_events_on_its_owner() {
    let place = place().await;
    place.instance("db", json!({})).await;
    for binding in ["b", "c"] {
        place.binding(binding, "db", json!({"bindery.dev/env": "DB_HOST=host"})).await;
        place.binding_is(binding, "InjectedBindResult").await;
    }
    deploy(&place, "web", 1, bound(&json!({"bindery.dev/bind": "b,c"}))).await;
    let note =
        until_told(&place, "Deployment", "web", "VariableHidden", "DB_HOST of Secret c-env by that of b-env")
            .await;
    assert!(note.starts_with("two bindings give one variable, and the one named first wins"), "{note}");

    let mut below = sleeping(&json!({"bindery.dev/bind": "b"}));
    below["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "own", "mountPath": "/var/secrets", "readOnly": true}]);
    below["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
    inject(&below, &InjectSettings::default()).unwrap().apply(&mut below).unwrap();
    deploy(&place, "below", 1, below).await;
    let warning = "container app may not start: /var/secrets above its binding is read-only or a file";
    until_told(&place, "Deployment", "below", "BoundWithWarning", warning).await;
    assert!(told(&place, "Deployment", "web", "BoundWithWarning").await.is_empty());
}

/// Admins use this list when they replace or revoke credentials.
#[tokio::test]
async fn who_lists_pods_by_what_they_use_and_shows_revoked_credentials() {
    let place = place().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    create::<Pod>(&place, "holds", bound(&json!({"bindery.dev/bind": "b"}))).await;
    until("the pod runs", async || phase(&place, "holds").await == "Running").await;
    let states = async |annotations: &Value| {
        place.merge::<Pod>("holds", json!({"metadata": {"annotations": annotations}})).await.unwrap();
        let output = bindery(&["who", "b", "-n", &place.namespace, "-o", "json"]).await;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let state = |holder: &Value| {
            format!("{} {}", holder["how"].as_str().unwrap(), holder["state"].as_str().unwrap())
        };
        answer["holders"].as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    // The documented replacement: the template names another binding, and this pod has not been recreated yet.
    for annotations in [json!({"bindery.dev/bind": "new"}), json!({"bindery.dev/bind": null})] {
        assert_eq!(states(&annotations).await, ["env held", "files held"]);
    }

    // Clocks may differ by ten seconds.
    let started = jiff::Timestamp::now();
    until("the pod is old enough", async || jiff::Timestamp::now().duration_since(started).as_secs() > 10)
        .await;
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceBinding>("b").await;
    assert_eq!(states(&json!({})).await, ["env revoked", "files revoked"]);
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    // The pod's files are refreshed within minutes.
    assert_eq!(states(&json!({})).await, ["env revoked", "files unknown"]);
}
