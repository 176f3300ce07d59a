//! Handlers of all paths, and the limits that they share.

use std::time::Duration;

use super::*;
use crate::admission::{
    codec::{MalformedReview, Request as ReviewRequest},
    decision::{Decision, DenialStatus},
    handler::Handler,
    workloads::PATH as WORKLOADS_PATH,
};

/// P12: a body that never ends must not hold a connection forever, on any path.
#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_given_up() {
    let router = with_another_handler();
    for path in [PATH, "/other"] {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::post(path).body(endless).unwrap();
        let response = tokio::time::timeout(Duration::from_mins(1), router.clone().oneshot(request)).await;
        assert_eq!(response.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT, "{path}");
    }
}

/// P12: routes that other components serve on this port have the same load shedding and limits.
#[tokio::test]
async fn the_limit_of_bodies_is_that_of_all_paths() {
    let router = with_another_handler();
    for (size, expected) in [(3 << 20, StatusCode::OK), (9 << 20, StatusCode::PAYLOAD_TOO_LARGE)] {
        let body = review(&pod()).to_string() + &" ".repeat(size);
        let request = Request::post("/other").body(Body::from(body)).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), expected);
    }
}

/// Refuses the requests of `mallory`, and returns a warning to all other users. Reads the old object and the user.
struct OtherHandler;

impl Handler<Value, Value, Value> for OtherHandler {
    const NAME: &'static str = "other";

    async fn review(
        &self,
        request: &ReviewRequest<Value, Value, Value>,
    ) -> Result<Decision, MalformedReview> {
        let author = &request.user_info["username"];
        if author == "mallory" {
            return Ok(Decision::deny("refused", DenialStatus::Forbidden, "mallory may not".to_owned()));
        }
        let warnings = vec![request.old_object["kind"].to_string(), author.to_string()];
        Ok(Decision::unchanged().with_warnings(warnings))
    }
}

fn with_another_handler() -> axum::Router {
    let (namespaces, metrics) = (Arc::new(Known::default()), Arc::new(Metrics::new()));
    Routes::of_pods(Arc::default(), namespaces, None, metrics).handle("/other", OtherHandler).into_router()
}

/// A validating webhook needs only a handler and a route: it receives the fields that it declares, and its decision
/// becomes the response.
#[tokio::test]
async fn a_handler_of_another_path_reads_what_it_wants_and_answers() {
    let mut review = review(&pod());
    review["request"]["oldObject"] = json!({"kind": "Pod"});
    let asked = async |review: &Value| -> Value {
        let request = Request::post("/other").body(Body::from(review.to_string())).unwrap();
        let response = with_another_handler().oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["response"].take()
    };
    let warnings = json!(["\"Pod\"", "\"system:serviceaccount:kube-system:replicaset-controller\""]);
    assert_eq!(asked(&review).await, json!({"uid": UID, "allowed": true, "warnings": warnings}));
    review["request"]["userInfo"]["username"] = json!("mallory");
    let status = json!({"code": 403, "reason": "Forbidden", "message": "mallory may not"});
    assert_eq!(asked(&review).await, json!({"uid": UID, "allowed": false, "status": status}));
}

#[tokio::test]
async fn a_workload_s_path_warns_and_changes_nothing() {
    let (response, outcome) = answer_at(WORKLOADS_PATH, Known::default(), &review(&pod())).await;
    assert_eq!((response, outcome.as_str()), (json!({"uid": UID, "allowed": true}), "unchanged"));
    let mut review = review(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"bindery.dev/bind": "mydb01-binding"}},
        "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}}
    }));
    review["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let (response, _) = answer_at(WORKLOADS_PATH, Known::default(), &review).await;
    assert!(response["warnings"][0].as_str().unwrap().contains("binds nothing; move it to"), "{response}");
}
