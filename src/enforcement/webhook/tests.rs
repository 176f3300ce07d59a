use kube::runtime::{reflector, watcher::Event};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::router::Routes,
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    telemetry::Metrics,
};

const RANDOM: &str = "kq3vz9xw7bm2tj5hx8";

fn policy(name: &str, spec: &Value) -> CredentialPolicy {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// A policy with this mode of the rule.
fn of_mode(mode: &str) -> Value {
    json!({"rules": {"noRandomValues": {"mode": mode, "configMaps": true}}})
}

/// The outcome that was counted, and the answer's `response`.
async fn posted(policies: &[CredentialPolicy], request: Value) -> (String, Value) {
    let held = Arc::new(HeldPolicies::fixed(policies, &[]));
    answered(held, request).await
}

async fn answered(held: Arc<HeldPolicies>, request: Value) -> (String, Value) {
    let metrics = Arc::new(Metrics::new());
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let router = Routes::new(metrics.clone()).handle(PATH, PolicyHandler::new(client, held)).into_router();
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let request = axum::http::Request::post(PATH).body(axum::body::Body::from(review.to_string())).unwrap();
    let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    assert!(!String::from_utf8_lossy(&body).contains(RANDOM), "an answer never quotes a credential");
    let text = metrics.encode().unwrap();
    let counted = text.split("bindery_admissions_total{outcome=\"").nth(1).unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    (counted.split('"').next().unwrap().to_owned(), answer["response"].clone())
}

fn request(kind: (&str, &str), object: Value) -> Value {
    let mut request = json!({"uid": "u", "operation": "CREATE", "namespace": "shop",
        "kind": {"group": kind.0, "version": "v1", "kind": kind.1}});
    request["object"] = object;
    request
}

fn pod(container: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {}});
    pod["spec"]["containers"] = json!([container]);
    pod
}

fn random_pod() -> Value {
    pod(&json!({"name": "app", "env": [{"name": "SIGNING_KEY", "value": RANDOM}]}))
}

fn deployment(pod: Value) -> Value {
    let mut object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {}});
    object["spec"]["template"] = pod;
    object
}

#[rstest]
#[case("Enforce", "refused", false)]
#[case("Warn", "warned", true)]
#[case("Audit", "recorded", true)]
#[tokio::test]
async fn the_mode_decides(#[case] mode: &str, #[case] outcome: &str, #[case] allowed: bool) {
    let policies = [policy("p", &of_mode(mode))];
    for request in [
        request(("", "Pod"), random_pod()),
        request(("apps", "Deployment"), deployment(random_pod())),
        request(
            ("", "ConfigMap"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"API_TOKEN": RANDOM}}),
        ),
    ] {
        let (counted, response) = posted(&policies, request).await;
        assert_eq!((counted.as_str(), &response["allowed"]), (outcome, &json!(allowed)), "{response}");
        let text = match mode {
            "Enforce" => &response["status"]["message"],
            "Warn" => &response["warnings"][0],
            _ => &response["auditAnnotations"]["violation"],
        };
        assert!(
            text.as_str().unwrap().contains("[noRandomValues] what is named like a credential"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_refusal_says_which_policy_which_place_and_what_to_do() {
    let spec = json!({"rules": {"noRandomValues": {"mode": "Enforce", "message": "Ask\n#platform"}}});
    let (_, response) = posted(&[policy("strict", &spec)], request(("", "Pod"), random_pod())).await;
    assert_eq!(
        response["status"],
        json!({"code": 403, "reason": "Forbidden", "message": "CredentialPolicy 'strict' denied request: [noRandomValues] \
            Ask #platform: spec.containers[app].env[SIGNING_KEY]: the value of a variable, SIGNING_KEY, has a random value"})
    );
}

#[tokio::test]
async fn other_objects_stay_unchanged() {
    let policies = [policy("p", &of_mode("Enforce"))];
    for object in [
        pod(&json!({"name": "app", "env": [{"name": "SIGNING_KEY", "value": "the-name-of-a-key"}]})),
        pod(&json!({"name": "app", "env": [{"name": "BUILD", "value": RANDOM}]})),
    ] {
        let (counted, response) = posted(&policies, request(("", "Pod"), object)).await;
        assert_eq!((counted.as_str(), &response["allowed"]), ("unchanged", &json!(true)));
    }
    let mut other = request(("", "Pod"), random_pod());
    other["namespace"] = json!("kube-system");
    assert_eq!(posted(&policies, other).await.0, "unchanged");
    assert_eq!(posted(&[], request(("", "Pod"), random_pod())).await.0, "unchanged");
}

#[tokio::test]
async fn of_a_debugged_pod_only_the_new_containers_are_judged() {
    let policies = [policy("p", &of_mode("Enforce"))];
    let debug = |pod: Value| {
        let mut request = request(("", "Pod"), pod);
        request["operation"] = json!("UPDATE");
        request["subResource"] = json!("ephemeralcontainers");
        request
    };
    assert_eq!(
        posted(&policies, debug(random_pod())).await.0,
        "unchanged",
        "the pod is older than the policy"
    );
    let mut pod = pod(&json!({"name": "app"}));
    pod["spec"]["ephemeralContainers"] = random_pod()["spec"]["containers"].clone();
    assert_eq!(posted(&policies, debug(pod)).await.0, "refused");
}

#[tokio::test]
async fn a_config_map_that_is_older_than_the_policy_keeps_its_data() {
    let policies = [policy("p", &of_mode("Enforce"))];
    let object = |label: &str, data: Value| {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"a": label}}});
        object["data"] = data;
        object
    };
    let update = |after: Value| {
        let mut request = request(("", "ConfigMap"), after);
        request["operation"] = json!("UPDATE");
        request["oldObject"] = object("1", json!({"API_TOKEN": RANDOM}));
        request
    };
    assert_eq!(posted(&policies, update(object("2", json!({"API_TOKEN": RANDOM})))).await.0, "unchanged");
    assert_eq!(
        posted(&policies, update(object("2", json!({"API_TOKEN": RANDOM, "a": "b"})))).await.0,
        "refused"
    );
}

#[tokio::test]
async fn an_exception_counts() {
    let exception: CredentialPolicyException = serde_json::from_value(json!({"metadata": {"name": "e"}, "spec": {
        "policy": "p", "namespaces": ["shop"], "reason": "r", "owner": "o", "expiresAt": "2999-01-01T00:00:00Z"}}))
    .unwrap();
    let held = HeldPolicies::fixed(&[policy("p", &of_mode("Enforce"))], &[exception]);
    assert_eq!(answered(Arc::new(held), request(("", "Pod"), random_pod())).await.0, "unchanged");
}

/// An object must not become exempt by its size.
#[tokio::test]
async fn an_object_with_too_many_values_violates_the_rule() {
    let many = pod(&json!({"name": "app", "args": vec!["a"; 60_000]}));
    let (counted, response) = posted(&[policy("p", &of_mode("Enforce"))], request(("", "Pod"), many)).await;
    assert_eq!(counted, "refused");
    assert!(response["status"]["message"].as_str().unwrap().contains("split it"), "{response}");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": vec!["a"; 60_000]});
    let request = request(("", "ConfigMap"), map);
    let of_config_maps = [policy("p", &of_mode("Enforce"))];
    assert_eq!(posted(&of_config_maps, request.clone()).await.0, "refused");
    let of_pods = [policy("p", &json!({"rules": {"noRandomValues": {"mode": "Enforce"}}}))];
    assert_eq!(posted(&of_pods, request).await.0, "unchanged");
}

/// The labels of a Namespace that cannot be read decide nothing, and nothing waits for them.
#[tokio::test]
async fn without_the_namespace_the_user_is_told_that_nothing_was_judged() {
    let spec = json!({"rules": {"noRandomValues": {"mode": "Enforce"}},
        "scope": {"namespaceSelector": {"matchLabels": {"team": "a"}}}});
    let (counted, response) = posted(&[policy("p", &spec)], request(("", "Pod"), random_pod())).await;
    assert_eq!((counted.as_str(), &response["allowed"]), ("postponed", &json!(true)));
    for text in [&response["warnings"][0], &response["auditAnnotations"]["violation"]] {
        assert!(text.as_str().unwrap().contains("Namespace shop cannot be read"), "{response}");
    }
}

impl HeldPolicies {
    /// Policies that no watch changes.
    fn fixed(policies: &[CredentialPolicy], exceptions: &[CredentialPolicyException]) -> Self {
        let (of_policies, mut policy_writer) = reflector::store();
        let (of_exceptions, mut exception_writer) = reflector::store();
        for policy in policies {
            policy_writer.apply_watcher_event(&Event::Apply(policy.clone()));
        }
        for exception in exceptions {
            exception_writer.apply_watcher_event(&Event::Apply(exception.clone()));
        }
        let held = Self::of(of_policies, of_exceptions, Vec::new());
        held.refresh();
        held
    }
}
