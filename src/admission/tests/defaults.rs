//! The webhook for pods without binding annotations of their own. P1, P3 and so on are the rows of docs/pitfalls.md.

use super::*;

/// A Namespace `shop` with these annotations and bindery's label.
fn shop(annotations: &[(&str, &str)]) -> Known {
    let annotations =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Known(BTreeMap::from([("shop".to_owned(), annotations)]))
}

fn bound() -> Known {
    shop(&[("bindery.dev/bind", "mydb01-binding")])
}

/// A pod of the Namespace `shop` as a controller creates it: without a name and a namespace (P3).
fn silent_pod() -> Value {
    let mut pod = pod();
    pod["metadata"].as_object_mut().unwrap().remove("annotations");
    pod
}

async fn by_namespace(known: Known, review: &Value) -> (Value, String) {
    answer_at(DEFAULTS_PATH, known, review).await
}

fn nothing_to_do() -> (Value, String) {
    (json!({"uid": UID, "allowed": true}), "unchanged".to_owned())
}

#[tokio::test]
async fn namespace_defaults_inject_like_pod_annotations() {
    let (response, outcome) = by_namespace(bound(), &review(&silent_pod())).await;
    assert_eq!((response["allowed"].clone(), outcome.as_str()), (json!(true), "injected"));
    let (expected, _) = answer(&review(&pod())).await;
    let result = patched(&silent_pod(), &response);
    assert_eq!(result["spec"], patched(&pod(), &expected)["spec"]);
    assert_eq!(result["metadata"], silent_pod()["metadata"]);
}

/// P4: a dry run gets the same answer.
#[tokio::test]
async fn a_dry_run_gets_the_same_answer_from_the_namespace() {
    let mut dry = review(&silent_pod());
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(by_namespace(bound(), &dry).await, by_namespace(bound(), &review(&silent_pod())).await);
}

/// P1: the API server calls the webhook again after other webhooks, and the pod still has no annotations of its own.
#[tokio::test]
async fn a_second_call_adds_no_patch() {
    let (response, _) = by_namespace(bound(), &review(&silent_pod())).await;
    let result = patched(&silent_pod(), &response);
    assert_eq!(by_namespace(bound(), &review(&result)).await, nothing_to_do());
}

/// The other webhook reviews pods with annotations; this one does not even read their Namespace.
#[tokio::test]
async fn a_pod_that_says_what_it_is_bound_to_is_left_to_the_other_entry() {
    for bind in [json!("own"), json!(""), json!("a,,b")] {
        let mut pod = pod();
        pod["metadata"]["annotations"]["bindery.dev/bind"] = bind;
        let mut review = review(&pod);
        review["request"]["namespace"] = json!("unread");
        assert_eq!(by_namespace(bound(), &review).await, nothing_to_do());
    }
}

/// The webhook for annotated pods never applies Namespace defaults.
#[tokio::test]
async fn the_other_entry_does_not_look_at_the_namespace() {
    assert_eq!(answer_at(PATH, bound(), &review(&silent_pod())).await, nothing_to_do());
}

#[tokio::test]
async fn a_namespace_that_says_nothing_leaves_its_pods_alone() {
    for known in [Known::default(), shop(&[]), shop(&[("bindery.dev/bind", "")])] {
        assert_eq!(by_namespace(known, &review(&silent_pod())).await, nothing_to_do());
    }
}

/// P3: the namespace in the object may be empty or differ.
#[tokio::test]
async fn the_namespace_is_the_request_s() {
    let mut pod = silent_pod();
    pod["metadata"]["namespace"] = json!("elsewhere");
    let (_, outcome) = by_namespace(bound(), &review(&pod)).await;
    assert_eq!(outcome, "injected");
    let mut review = review(&silent_pod());
    review["request"]["namespace"] = json!("elsewhere");
    assert_eq!(by_namespace(bound(), &review).await, nothing_to_do());
}

#[tokio::test]
async fn a_mistake_of_the_namespace_refuses_the_pod_and_says_whose_it_is() {
    let known = shop(&[("bindery.dev/bind", "mydb01-binding"), ("bindery.dev/as", "volume")]);
    let (response, outcome) = by_namespace(known, &review(&silent_pod())).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
    assert_eq!(
        response["status"]["message"],
        "metadata.annotations[bindery.dev/as] of Namespace shop: `volume` is unknown; write `env`, `files` or `env,files`"
    );
    assert_eq!(outcome, "refused");
}

/// P9: a pod that may need credentials must not start without them.
#[tokio::test]
async fn a_pod_whose_namespace_cannot_be_read_is_postponed() {
    let mut review = review(&silent_pod());
    review["request"]["namespace"] = json!("unread");
    let (response, outcome) = by_namespace(bound(), &review).await;
    assert_eq!(
        response,
        json!({
            "uid": UID,
            "allowed": false,
            "status": {
                "code": 503,
                "reason": "ServiceUnavailable",
                "message": "Namespace unread cannot be read: namespaces \"unread\" is forbidden; let bindery get, list \
                            and watch namespaces"
            }
        })
    );
    assert_eq!(outcome, "postponed");
}

/// The Namespace is read from the API server with bindery's permissions.
#[tokio::test]
async fn a_review_without_a_namespace_or_with_a_path_for_one_is_malformed() {
    for namespace in [json!(null), json!(""), json!("shop/pods"), json!(".."), json!("shop?watch=1")] {
        let mut review = review(&silent_pod());
        review["request"]["namespace"] = namespace;
        let (status, body, outcome) = post_to(DEFAULTS_PATH, bound(), review.to_string()).await;
        assert_eq!((status, outcome.as_str()), (StatusCode::BAD_REQUEST, "malformed"));
        assert!(body.starts_with(b"request.namespace is missing or no name; "), "{body:?}");
    }
}
