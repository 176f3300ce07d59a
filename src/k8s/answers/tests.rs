//! Answers of an API server with objects that users wrote to block others.

use std::sync::Mutex as Record;

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    response::IntoResponse,
    routing::get,
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::Value;

use super::*;
use crate::apis::servicecatalog::ServiceInstance;

fn client(router: Router) -> Client {
    Client::new(SafeAnswers.layer(router), "default")
}

fn deep(levels: usize) -> String {
    format!("{}1{}", "{\"f:a\":".repeat(levels), "}".repeat(levels))
}

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"shop","managedFields":[{{"manager":"m","fieldsV1":{}}}],"resourceVersion":"1"}},"spec":{{"containers":[]}}}}"#,
        deep(300)
    )
}

fn instance(name: &str, parameters: &str) -> String {
    format!(
        r#"{{"apiVersion":"servicecatalog.k8s.io/v1beta1","kind":"ServiceInstance","metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"clusterServiceClassExternalName":"db","parameters":{parameters}}}}}"#
    )
}

fn list(kind: &str, items: &[String]) -> String {
    format!(
        r#"{{"kind":"{kind}List","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn json_text(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

#[tokio::test]
async fn a_hostile_object_does_not_stop_lists_watches_and_reads_of_others() {
    let pods = get(async |RawQuery(query): RawQuery| {
        let query = query.unwrap_or_default();
        if query.contains("watch=true") {
            let event = |name: &str| format!(r#"{{"type":"ADDED","object":{}}}"#, pod(name));
            return json_text(format!("{}\n{}\n", event("a"), event("b")));
        }
        json_text(list("Pod", &[pod("a"), pod("b")]))
    });
    let instances =
        get(async || json_text(list("ServiceInstance", &[instance("a", &deep(200)), instance("b", "{}")])));
    let router = Router::new()
        .route("/api/v1/namespaces/shop/pods", pods)
        .route("/api/v1/namespaces/shop/pods/a", get(async || json_text(pod("a"))))
        .route("/apis/servicecatalog.k8s.io/v1beta1/serviceinstances", instances);
    let client = client(router);
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    for parameters in [ListParams::default(), ListParams::default().limit(500)] {
        let listed = pods.list(&parameters).await.unwrap();
        assert_eq!(listed.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(pods.list_metadata(&parameters).await.unwrap().items.len(), 2);
    }
    assert_eq!(pods.get("a").await.unwrap().name_any(), "a");
    let events: Vec<WatchEvent<Pod>> =
        pods.watch(&WatchParams::default(), "0").await.unwrap().boxed().try_collect().await.unwrap();
    assert_eq!(events.len(), 2);
    let instances: Api<ServiceInstance> = Api::all(client);
    let listed = instances.list(&ListParams::default()).await.unwrap().items;
    let is_cut = |instance: &ServiceInstance| {
        super::super::trim::is_cut(&Value::from(instance.spec.parameters.clone().unwrap()))
    };
    assert_eq!(listed.iter().map(is_cut).collect::<Vec<_>>(), [true, false]);
}

/// Large objects, in pages of the requested size.
async fn page(State(asked): State<Arc<Record<Vec<usize>>>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let number = |name: &str| -> Option<usize> {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse().ok())
    };
    let (limit, from) = (number("limit=").unwrap(), number("continue=").unwrap_or(0));
    asked.lock().unwrap().push(limit);
    let until = (from + limit).min(40);
    let items: Vec<Value> = (from..until)
        .map(|number| json!({"metadata": {"name": format!("s{number}")}, "stringData": {"a": "x".repeat(1 << 20)}}))
        .collect();
    let next = (until < 40).then(|| until.to_string());
    Json(json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}))
}

#[tokio::test]
async fn large_objects_are_listed_in_small_pages() {
    let asked = Arc::new(Record::new(Vec::new()));
    let router = Router::new().route("/api/v1/secrets", get(page)).with_state(asked.clone());
    let secrets: Api<Secret> = Api::all(client(router));
    let (mut names, mut parameters) = (Vec::new(), ListParams::default().limit(500));
    loop {
        let listed = secrets.list(&parameters).await.unwrap();
        assert!(listed.items.len() <= 4, "{}", listed.items.len());
        names.extend(listed.items.iter().map(ResourceExt::name_any));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => break,
        }
    }
    assert_eq!(names, (0..40).map(|number| format!("s{number}")).collect::<Vec<_>>());
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.get(..4), Some(&[500, 62, 7, 1][..]));
    assert!(asked.len() < 60, "the size that fits is remembered: {asked:?}");
}

#[tokio::test]
async fn texts_of_errors_without_status_are_not_repeated() {
    let html = async || (StatusCode::BAD_GATEWAY, "<html>canary</html>");
    let gone = async || (StatusCode::NOT_FOUND, "404 page not found\n");
    let refused = async || {
        let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        (StatusCode::FORBIDDEN, Json(status))
    };
    let router = Router::new()
        .route("/api/v1/namespaces/a/pods", get(html))
        .route("/api/v1/namespaces/b/pods", get(gone))
        .route("/api/v1/namespaces/c/pods", get(refused));
    let client = client(router);
    let answered = async |namespace: &str| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        match pods.list(&ListParams::default().limit(5)).await.unwrap_err() {
            kube::Error::Api(status) => *status,
            other => panic!("{other}"),
        }
    };
    let bad = answered("a").await;
    assert_eq!((bad.code, bad.message.contains("canary")), (502, false));
    assert!(bad.message.contains("502 Bad Gateway"), "{}", bad.message);
    // Such an answer does not prove that an object is gone.
    let gone = answered("b").await;
    assert_eq!((gone.code, gone.is_not_found()), (404, false));
    assert_eq!(answered("c").await.message, "no");
}
