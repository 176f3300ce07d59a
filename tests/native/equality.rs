//! Each pod through the API server and through bindery's own injection.

use std::collections::BTreeMap;

use bindery::{
    contract::pod,
    injection::{
        InjectError, InjectSettings, Injection, NamespaceDefaults, inject, inject_defaults, takes_defaults,
    },
};
use serde_json::{Value, json};

use crate::{
    cluster::{Pair, Place},
    table::{Case, Engine, annotations, cases, default_cases, shapes, with_annotations},
};

/// What the webhook would answer.
pub(crate) fn by_bindery(pod: &Value, namespace: Option<&Value>) -> Result<Injection, InjectError> {
    let settings = InjectSettings::default();
    let Some(namespace) = namespace.filter(|_| takes_defaults(pod)) else { return inject(pod, &settings) };
    let labels = BTreeMap::from([("bindery.dev/inject".to_owned(), "enabled".to_owned())]);
    let annotations: BTreeMap<String, String> = serde_json::from_value(namespace.clone()).unwrap();
    NamespaceDefaults::read("shop", &labels, &annotations)
        .map_or_else(|| Ok(Injection::default()), |defaults| inject_defaults(pod, &defaults, &settings))
}

/// The pod without the mark.
fn unmarked(mut pod: Value) -> Value {
    if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(pod::BOUND_BY.0);
        if annotations.is_empty() {
            pod["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    pod
}

/// Holds for every pod: either the API server binds it as bindery does, and does not call the webhook; or it leaves the pod
/// as it is, and calls the webhook. Tells which.
pub(crate) async fn engine_of(
    place: &Place,
    pair: &Pair,
    namespace: Option<&Value>,
    pod: &Value,
) -> Option<Engine> {
    // Some pods are invalid whatever their annotations are.
    let plain = place.plain(pod).await.ok()?;
    let alone = place.create(&pair.alone, pod).await.unwrap_or_else(|error| panic!("{error}\n{pod}"));
    let hooked = place.create(&pair.hooked, pod).await;
    let injection = by_bindery(&plain, namespace);
    match hooked {
        Ok(hooked) => {
            assert_eq!(hooked, alone, "{pod}");
            let injection = injection.unwrap_or_else(|error| panic!("{error}\n{pod}"));
            let mut expected = plain.clone();
            injection.apply(&mut expected).unwrap();
            assert_eq!(unmarked(alone.clone())["spec"], expected["spec"], "{pod}");
            assert_eq!(unmarked(alone.clone())["metadata"], unmarked(expected)["metadata"], "{pod}");
            assert!(injection.warnings.is_empty(), "{:?}\n{pod}", injection.warnings);
            let again = by_bindery(&alone, namespace).unwrap();
            assert!(again.is_empty() && again.warnings.is_empty(), "{again:?}\n{pod}");
            Some(Engine::ApiServer)
        }
        Err(error) => {
            let is_call = error.contains("failed calling webhook") && error.contains("connection refused");
            assert!(is_call, "{error}\n{pod}");
            assert_eq!(unmarked(alone), unmarked(plain), "the pod is left to the webhook: {pod}");
            Some(Engine::Webhook)
        }
    }
}

#[tokio::test]
async fn pods_of_the_common_forms_are_bound_and_the_others_left_to_the_webhook() {
    let place = Place::new("table").await;
    for Case { name, pod, engine } in cases() {
        let actual = engine_of(&place, &place.pair(), None, &pod).await;
        assert_eq!(actual, Some(engine), "{name}: {pod}");
    }
}

/// Every set of annotations on every shape of a pod.
#[tokio::test]
async fn each_pod_has_one_engine_and_the_same_result() {
    let place = Place::new("product").await;
    let mut counts = BTreeMap::new();
    for annotations in annotations() {
        for shape in shapes() {
            let pod = with_annotations(&shape, &annotations);
            *counts.entry(engine_of(&place, &place.pair(), None, &pod).await).or_insert(0) += 1;
        }
    }
    assert!(counts[&Some(Engine::ApiServer)] > 50 && counts[&Some(Engine::Webhook)] > 100, "{counts:?}");
}

#[tokio::test]
async fn defaults_of_a_namespace_are_applied_by_the_api_server() {
    let place = Place::new("defaults").await;
    for (name, namespace, pods) in default_cases() {
        let pair = place.with_defaults(name, &namespace).await;
        for Case { name: of_pod, pod, engine } in pods {
            let actual = engine_of(&place, &pair, Some(&namespace), &pod).await;
            assert_eq!(actual, Some(engine), "{name}, {of_pod}: {pod}");
        }
    }
}

/// A copied manifest has the mark of the pod that it was copied from.
#[tokio::test]
async fn a_mark_that_a_pod_does_not_deserve_is_removed() {
    let place = Place::new("mark").await;
    let namespace = json!({pod::BIND: "db"});
    let pair = place.with_defaults("marked", &namespace).await;
    let (mark, value) = pod::BOUND_BY;
    let odd = json!({mark: value, pod::ENV: "A=db/host"});
    let odd = with_annotations(&shapes()[0], &odd);
    assert_eq!(engine_of(&place, &pair, Some(&namespace), &odd).await, Some(Engine::Webhook));
    let common = with_annotations(&shapes()[0], &json!({mark: "somebody"}));
    assert_eq!(engine_of(&place, &pair, Some(&namespace), &common).await, Some(Engine::ApiServer));
    let bound = place.create(&pair.alone, &common).await.unwrap();
    assert_eq!(bound["metadata"]["annotations"][mark], value);
}

/// Another webhook adds a container after the policy ran; the API server then evaluates the policy again.
#[tokio::test]
async fn what_is_bound_stays_and_a_new_container_is_bound() {
    let place = Place::new("again").await;
    for annotations in
        [json!({pod::BIND: "a,b"}), json!({pod::BIND: "a,secret/s"}), json!({pod::BIND: "a", pod::AS: "env"})]
    {
        let original = with_annotations(&shapes()[0], &annotations);
        let mut bound = place.create(&place.alone, &original).await.unwrap();
        assert_eq!(engine_of(&place, &place.pair(), None, &bound).await, Some(Engine::ApiServer));
        assert_eq!(place.create(&place.alone, &bound).await.unwrap(), bound);
        let added = json!({"name": "added", "image": "i", "envFrom": [{"configMapRef": {"name": "own"}}]});
        bound["spec"]["containers"].as_array_mut().unwrap().push(added);
        assert_eq!(engine_of(&place, &place.pair(), None, &bound).await, Some(Engine::ApiServer));
        let again = place.create(&place.alone, &bound).await.unwrap();
        assert_ne!(again, bound);
    }
}

/// The installation's own lists hold for the API server, too.
#[tokio::test]
async fn excluded_containers_and_namespaces_are_those_of_the_webhook() {
    let place = Place::with_values("excluded", &["--set", "admission.excludeContainers={a'b,side*}"]).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": {pod::BIND: "db"}},
        "spec": {"containers": [{"name": "app", "image": "i"}, {"name": "sidecar", "image": "i"}, {"name": "istio-proxy", "image": "i"}]}});
    let bound = place.create(&place.hooked, &pod).await.unwrap();
    let is_bound = |index: usize| !bound["spec"]["containers"][index]["envFrom"].is_null();
    assert_eq!([is_bound(0), is_bound(1), is_bound(2)], [true, false, true]);
    let left = place.plain(&pod).await.unwrap();
    assert_eq!(left["spec"]["containers"][0]["envFrom"], Value::Null);
}
