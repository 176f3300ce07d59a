//! Calls the webhook through its router, as the API server does.

mod defaults;
mod gates;
mod handlers;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use axum::{
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    namespace_defaults::PATH as DEFAULTS_PATH,
    namespaces::{NamespaceReadError, Namespaces},
    pods::PATH,
    router::Routes,
};
use crate::injection::{InjectSettings, NamespaceDefaults, inject};
use crate::telemetry::Metrics;

const UID: &str = "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4";

/// Annotated Namespaces by name, all labelled. Reading the Namespace `unread` fails.
#[derive(Clone, Default)]
struct Known(BTreeMap<String, BTreeMap<String, String>>);

#[async_trait]
impl Namespaces for Known {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        if namespace == "unread" {
            let reason = "namespaces \"unread\" is forbidden".to_owned();
            let remedy = "let bindery get, list and watch namespaces";
            return Err(NamespaceReadError { namespace: namespace.to_owned(), reason, remedy });
        }
        let (label, enabled) = crate::contract::namespace::INJECT;
        let labels = BTreeMap::from([(label.to_owned(), enabled.to_owned())]);
        let read = |annotations| NamespaceDefaults::read(namespace, &labels, annotations);
        Ok(self.0.get(namespace).and_then(read))
    }
}

/// Posts a body. Returns the status, the body and the counted outcome.
async fn post(body: impl Into<Body>) -> (StatusCode, Bytes, String) {
    post_to(PATH, Known::default(), body).await
}

async fn post_to(path: &str, known: Known, body: impl Into<Body>) -> (StatusCode, Bytes, String) {
    let metrics = Arc::new(Metrics::new());
    let request =
        Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap();
    let router = Routes::of_pods(Arc::default(), Arc::new(known), None, metrics.clone()).into_router();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let metrics = metrics.encode().unwrap();
    let counted: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("bindery_admissions_total")).collect();
    let [counted] = counted[..] else { panic!("counted {counted:?}") };
    let outcome = counted
        .strip_prefix("bindery_admissions_total{outcome=\"")
        .and_then(|line| line.strip_suffix("\"} 1"));
    (status, body, outcome.unwrap().to_owned())
}

/// Posts a review. Returns its response and the counted outcome.
async fn answer(review: &Value) -> (Value, String) {
    answer_at(PATH, Known::default(), review).await
}

async fn answer_at(path: &str, known: Known, review: &Value) -> (Value, String) {
    let (status, body, outcome) = post_to(path, known, review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    // P8: the response always echoes the uid.
    assert_eq!(answer["response"]["uid"], UID);
    (answer["response"].clone(), outcome)
}

fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"}
        }
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-5d4f8-",
            "creationTimestamp": null,
            "annotations": {"bindery.dev/bind": "mydb01-binding"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f8", "futureField": 1}],
            "futureMetadata": {"a": 1}
        },
        "spec": {"containers": [{"name": "app", "futureField": [null, 1.50, "x"]}], "futureSpec": true},
        "futureTop": "kept"
    })
}

fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

/// P7: fields that this version of bindery does not know are preserved.
#[tokio::test]
async fn a_pod_is_patched_to_what_the_command_line_makes_of_it() {
    let (response, outcome) = answer(&review(&pod())).await;
    assert_eq!((response["allowed"].clone(), outcome.as_str()), (json!(true), "injected"));
    let mut expected = pod();
    inject(&expected, &InjectSettings::default()).unwrap().apply(&mut expected).unwrap();
    assert_eq!(patched(&pod(), &response), expected);
    assert_eq!(expected["metadata"], pod()["metadata"]);
    assert_eq!(
        expected["spec"]["containers"][0]["futureField"],
        pod()["spec"]["containers"][0]["futureField"]
    );
}

/// P21: the author of a pod is a controller, not the person behind it. RBAC on ServiceBindings decides who may bind.
#[tokio::test]
async fn the_answer_does_not_depend_on_who_asks() {
    let mut other = review(&pod());
    other["request"]["userInfo"] = json!({"username": "mallory", "groups": ["system:masters"]});
    assert_eq!(answer(&other).await, answer(&review(&pod())).await);
}

/// P3: a pod of a controller has no name yet, and may have no namespace.
#[tokio::test]
async fn a_pod_gets_the_same_whether_it_has_a_name_and_a_namespace_or_not() {
    let (nameless, _) = answer(&review(&pod())).await;
    let mut named = pod();
    named["metadata"]["name"] = json!("web-5d4f8-x7k2p");
    named["metadata"]["namespace"] = json!("shop");
    let (named, _) = answer(&review(&named)).await;
    assert_eq!(named["patch"], nameless["patch"]);
}

/// P4: the webhook has no side effects that a dry run would have to skip.
#[tokio::test]
async fn a_dry_run_gets_the_same_answer() {
    let mut dry = review(&pod());
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(answer(&dry).await, answer(&review(&pod())).await);
}

/// P1: the API server calls the webhook again after other webhooks.
#[tokio::test]
async fn the_answer_to_its_own_output_has_no_patch() {
    let (response, _) = answer(&review(&pod())).await;
    let (response, outcome) = answer(&review(&patched(&pod(), &response))).await;
    assert_eq!(response, json!({"uid": UID, "allowed": true}));
    assert_eq!(outcome, "unchanged");
}

#[tokio::test]
async fn warnings_reach_the_user() {
    let mut pod = pod();
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "own", "mountPath": "/var/secrets/mydb01-binding"}]);
    let (response, outcome) = answer(&review(&pod)).await;
    assert_eq!(outcome, "injected");
    assert_eq!(
        response["warnings"],
        json!([
            "container app: /var/secrets/mydb01-binding is mounted by the pod itself; its binding is not mounted"
        ])
    );
}

#[tokio::test]
async fn an_annotation_that_cannot_be_understood_refuses_the_pod_and_says_what_to_do() {
    let mut pod = pod();
    pod["metadata"]["annotations"]["bindery.dev/as"] = json!("volume");
    let (response, outcome) = answer(&review(&pod)).await;
    assert_eq!(
        response,
        json!({
            "uid": UID,
            "allowed": false,
            "status": {
                "code": 422,
                "reason": "Invalid",
                "message": "metadata.annotations[bindery.dev/as]: `volume` is unknown; write `env`, `files` or `env,files`"
            }
        })
    );
    assert_eq!(outcome, "refused");
}

#[tokio::test]
async fn a_pod_that_kubernetes_could_not_read_is_refused_as_a_bad_request() {
    let mut pod = pod();
    pod["spec"]["containers"] = json!({"name": "app"});
    let (response, outcome) = answer(&review(&pod)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(400)));
    assert_eq!(response["status"]["message"], "spec.containers: must be a list");
    assert_eq!(outcome, "refused");
}

/// P5: most fields of an existing pod are immutable; P6: a subresource is not a pod.
#[tokio::test]
async fn all_but_the_creation_of_a_pod_passes_untouched() {
    let with = |field: &str, value: Value| {
        let mut review = review(&pod());
        review["request"][field] = value;
        review
    };
    let deletion = {
        let mut review = with("operation", json!("DELETE"));
        review["request"]["object"] = Value::Null;
        review
    };
    for review in [
        with("operation", json!("UPDATE")),
        with("kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
        with("kind", json!({"group": "example.com", "version": "v1", "kind": "Pod"})),
        with("subResource", json!("ephemeralcontainers")),
        deletion,
    ] {
        let expected = (json!({"uid": UID, "allowed": true}), "unchanged".to_owned());
        assert_eq!(answer(&review).await, expected, "{review}");
    }
}

#[tokio::test]
async fn an_annotation_on_a_workload_instead_of_its_template_is_pointed_out() {
    let mut review = review(&json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"bindery.dev/bind": "mydb01-binding"}},
        "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}}
    }));
    review["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let warning = "bindery.dev/bind in metadata.annotations binds nothing; move it to spec.template.metadata.annotations";
    let (response, outcome) = answer(&review).await;
    assert_eq!(response, json!({"uid": UID, "allowed": true, "warnings": [warning]}));
    assert_eq!(outcome, "unchanged");
    let with = |field: &str, value: &str| {
        let mut other = review.clone();
        other["request"][field] = json!(value);
        other
    };
    assert_eq!(answer(&with("operation", "UPDATE")).await.0["warnings"], json!([warning]));
    for other in [with("subResource", "status"), with("operation", "DELETE")] {
        assert_eq!(answer(&other).await.0, json!({"uid": UID, "allowed": true}));
    }
}

#[tokio::test]
async fn a_body_that_is_no_review_is_a_bad_request() {
    let with = |path: &str, value: Value| {
        let mut review = review(&pod());
        *review.pointer_mut(path).unwrap() = value;
        review.to_string()
    };
    for (body, expected) in [
        (String::new(), "the body is not an AdmissionReview"),
        ("not JSON".to_owned(), "the body is not an AdmissionReview"),
        ("[]".to_owned(), "the body is not an AdmissionReview"),
        (with("/request/operation", json!(5)), "the body is not an AdmissionReview"),
        (
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "apiVersion is `admission.k8s.io/v1beta1`; set",
        ),
        (with("/kind", json!("Pod")), "kind is `Pod`; only"),
        (with("/request", Value::Null), "request is missing; "),
        (with("/request/uid", json!("")), "request.uid is empty; "),
        (with("/request/object", Value::Null), "request.object is missing; "),
    ] {
        let (status, answer, outcome) = post(body.clone()).await;
        assert_eq!((status, outcome.as_str()), (StatusCode::BAD_REQUEST, "malformed"), "{body}");
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(answer.starts_with(expected), "{answer}");
    }
}

/// P25: axum's default limit of 2 MiB is below the API server's.
#[tokio::test]
async fn objects_as_large_as_kubernetes_allows_are_read_and_endless_ones_are_not() {
    let mut pod = pod();
    pod["metadata"]["annotations"]["large"] = json!("x".repeat(3 << 20));
    let (_, outcome) = answer(&review(&pod)).await;
    assert_eq!(outcome, "injected");
    let (status, _, outcome) = post(vec![b' '; 9 << 20]).await;
    assert_eq!((status, outcome.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "malformed"));
}

/// P12: an oversized pod must not use memory that other requests need, and is refused like any other invalid pod.
#[tokio::test]
async fn a_pod_of_endless_values_is_refused() {
    let mut large = pod();
    large["spec"]["containers"][0]["volumeMounts"] = vec![json!({"name": "A"}); 200_000].into();
    let (response, outcome) = answer(&review(&large)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("spec: the pod has too many values to be bound; leave some out"),
        "{message}"
    );
    assert_eq!(outcome, "refused");
    // Workloads are not bound, whatever their size.
    let mut workload = review(&large);
    workload["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!(answer(&workload).await.0, json!({"uid": UID, "allowed": true}));
}
