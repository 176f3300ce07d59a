//! The webhook for objects that have bindery read Secrets: it asks the API server whether the author may get those Secrets,
//! and writes an approval into the object, without which bindery reads none. It is asked when an object is created, and when
//! an update changes what an approval covers or asks for a check. An approval that still fits is kept, so that a user who may
//! edit the rest of the object need not be able to read the Secret.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{ClusterServiceBrokerSpec, UsesSecrets, broker::SecretReference},
    },
    contract::approval::APPROVAL,
    install::secret_approvals::Approvals,
    k8s::explain,
    telemetry::Metrics,
};

/// Where the webhook configuration points to for objects that have bindery read Secrets.
pub const PATH: &str = "/check-secrets";

/// As metrics call it.
const ENTRY: &str = "secrets";

#[derive(Clone)]
struct Webhook {
    client: Client,
    approvals: Approvals,
    metrics: Arc<Metrics>,
}

/// Answers `POST` to [`PATH`]. Load and time are limited by the server that this is merged into.
pub fn router(client: Client, approvals: Approvals, metrics: Arc<Metrics>) -> Router {
    Router::new().route(PATH, post(check)).with_state(Webhook { client, approvals, metrics })
}

/// What is looked at of a review. The rest is skipped without being parsed.
#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    operation: String,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    user_info: UserInfo,
    object: Option<Broker>,
    old_object: Option<Broker>,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    kind: String,
}

/// A ClusterServiceBroker, as far as an approval is about it.
#[derive(Deserialize)]
struct Broker {
    metadata: Metadata,
    spec: ClusterServiceBrokerSpec,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Broker {
    fn approval(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(APPROVAL).map(String::as_str)
    }

    fn read(&self) -> ExternalResourceBroker {
        ExternalResourceBroker::of(
            self.metadata.name.as_deref().unwrap_or_default(),
            &self.spec,
            self.approval(),
        )
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It is none of this webhook's business.
    Unchanged,
    /// The object is to have this approval.
    Approved(String),
    /// The author may not have bindery read the Secret, or that cannot be found out.
    Refused { code: u16, message: String },
}

async fn check(State(webhook): State<Webhook>, body: Bytes) -> Response {
    let began = Instant::now();
    let request = match serde_json::from_slice::<Review>(&body) {
        Ok(review) => review.request,
        Err(error) => {
            webhook.metrics.admission(ENTRY, "malformed", began.elapsed());
            return malformed(&body, &error);
        }
    };
    let verdict = webhook.judge(&request).await;
    let outcome = match &verdict {
        Verdict::Unchanged => "unchanged",
        Verdict::Approved(_) => "approved",
        Verdict::Refused { .. } => "refused",
    };
    webhook.metrics.admission(ENTRY, outcome, began.elapsed());
    axum::Json(answer(&request.uid, request.object.as_ref(), &verdict)).into_response()
}

/// An object that the API server has not compared with its schema yet may be anything.
fn malformed(body: &[u8], error: &serde_json::Error) -> Response {
    #[derive(Deserialize)]
    struct Review {
        request: Identified,
    }
    #[derive(Deserialize)]
    struct Identified {
        uid: String,
    }
    match serde_json::from_slice::<Review>(body) {
        Ok(review) => {
            let message = format!("the object cannot be read: {error}");
            let verdict = Verdict::Refused { code: 422, message };
            axum::Json(answer(&review.request.uid, None, &verdict)).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

impl Webhook {
    async fn judge(&self, request: &Request) -> Verdict {
        let is_broker =
            request.kind.group == "servicecatalog.k8s.io" && request.kind.kind == "ClusterServiceBroker";
        let is_written = matches!(request.operation.as_str(), "CREATE" | "UPDATE")
            && request.sub_resource.as_deref().unwrap_or_default().is_empty();
        let Some(object) = request.object.as_ref().filter(|_| is_broker && is_written) else {
            return Verdict::Unchanged;
        };
        let (wanted, before) = (object.read(), request.old_object.as_ref().map(Broker::read));
        if wanted.secrets().is_empty() {
            return Verdict::Unchanged;
        }
        if let Some(before) = before.filter(|before| before.checked() == wanted.checked()) {
            // A controller that sets a label asks for no check, and must not approve what it does not know.
            if before.approval == wanted.approval {
                return Verdict::Unchanged;
            }
            let approval = before.approval.as_deref().unwrap_or_default();
            match self.approvals.verify(&before.checked(), approval).await {
                Ok(true) => return Verdict::Approved(approval.to_owned()),
                Ok(false) => {}
                Err(error) => return postponed(&error.to_string()),
            }
        }
        self.approve(&wanted, &request.user_info).await
    }

    /// Approves what an object refers to, if its author may get all of it.
    async fn approve(&self, wanted: &impl UsesSecrets, author: &UserInfo) -> Verdict {
        for secret in wanted.secrets() {
            match self.may_get(secret, author).await {
                Ok(true) => {}
                Ok(false) => return refused(secret, author),
                Err(error) => return postponed(&explain(&error)),
            }
        }
        match self.approvals.issue(&wanted.checked()).await {
            Ok(approval) => Verdict::Approved(approval),
            Err(error) => postponed(&error.to_string()),
        }
    }

    async fn may_get(&self, secret: &SecretReference, author: &UserInfo) -> kube::Result<bool> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: author.username.clone(),
                uid: author.uid.clone(),
                groups: author.groups.clone(),
                extra: author.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("get".to_owned()),
                    resource: Some("secrets".to_owned()),
                    namespace: Some(secret.namespace.clone()),
                    name: Some(secret.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

fn refused(secret: &SecretReference, author: &UserInfo) -> Verdict {
    let SecretReference { namespace, name } = secret;
    let author = author.username.as_deref().unwrap_or_default();
    info!(author, namespace, secret = name, "refused a reference to a Secret that its author may not get");
    let message = format!(
        "spec.authInfo names Secret {namespace}/{name}, which user {author:?} may not get; bindery would send its content \
         to spec.url. Ask for the right to get that Secret, name another, or have somebody with the right write the object"
    );
    Verdict::Refused { code: 403, message }
}

/// Not found out is not allowed. The author can try again.
fn postponed(why: &str) -> Verdict {
    warn!(error = why, "cannot check a reference to a Secret");
    let message =
        format!("bindery cannot check now whether you may get the Secret of spec.authInfo: {why}; try again");
    Verdict::Refused { code: 503, message }
}

fn answer(uid: &str, object: Option<&Broker>, verdict: &Verdict) -> Value {
    let mut response = json!({"uid": uid, "allowed": true});
    match verdict {
        Verdict::Unchanged => {}
        Verdict::Approved(approval) => {
            if let Some(patch) = object.and_then(|object| patch(object, approval)) {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(STANDARD.encode(patch.to_string()));
            }
        }
        Verdict::Refused { code, message } => {
            response["allowed"] = json!(false);
            let reason = match code {
                403 => "Forbidden",
                422 => "Invalid",
                _ => "ServiceUnavailable",
            };
            response["status"] = json!({"code": code, "reason": reason, "message": message});
        }
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

/// What gives the object its approval; nothing when it has it.
fn patch(object: &Broker, approval: &str) -> Option<Value> {
    if object.approval() == Some(approval) {
        return None;
    }
    let path = format!("/metadata/annotations/{}", APPROVAL.replace('/', "~1"));
    Some(match &object.metadata.annotations {
        Some(_) => json!([{"op": "add", "path": path, "value": approval}]),
        None => json!([{"op": "add", "path": "/metadata/annotations", "value": {APPROVAL: approval}}]),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{
        extract::Request as HttpRequest,
        http::{Method, StatusCode},
        routing::any,
    };
    use tower::ServiceExt as _;

    use super::*;

    /// An API server that lets `alice` get the Secret `own/token`, and keeps one Secret of bindery's.
    #[derive(Clone, Default)]
    struct Cluster {
        key: Arc<Mutex<Option<Value>>>,
        reviews: Arc<Mutex<Vec<Value>>>,
        is_away: bool,
    }

    async fn serve(State(cluster): State<Cluster>, request: HttpRequest) -> Response {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        if path.ends_with("subjectaccessreviews") {
            if cluster.is_away {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            let asked = &review["spec"];
            let attributes = &asked["resourceAttributes"];
            let allowed = asked["user"] == "alice"
                && [&attributes["verb"], &attributes["resource"]] == ["get", "secrets"]
                && [&attributes["namespace"], &attributes["name"]] == ["own", "token"];
            cluster.reviews.lock().unwrap().push(asked.clone());
            review["status"] = json!({"allowed": allowed});
            return axum::Json(review).into_response();
        }
        let mut key = cluster.key.lock().unwrap();
        if method == Method::POST {
            *key = Some(serde_json::from_slice(&body).unwrap());
        }
        let missing =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": ""});
        match &*key {
            Some(key) => axum::Json(key.clone()).into_response(),
            None => (StatusCode::NOT_FOUND, axum::Json(missing)).into_response(),
        }
    }

    impl Cluster {
        fn client(&self) -> Client {
            Client::new(Router::new().fallback(any(serve)).with_state(self.clone()), "bindery")
        }

        fn approvals(&self) -> Approvals {
            Approvals::new(self.client(), "bindery", "bindery-approvals")
        }

        /// The answer's `response`, and the object as it would be stored.
        async fn asked(&self, user: &str, old: Option<&Value>, new: &Value) -> (Value, Value) {
            let review = json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "request": {
                    "uid": "u", "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
                    "kind": {"group": "servicecatalog.k8s.io", "version": "v1beta1", "kind": "ClusterServiceBroker"},
                    "userInfo": {"username": user, "groups": ["g"], "extra": {"scope": ["s"]}},
                    "object": new, "oldObject": old,
                },
            });
            let router = router(self.client(), self.approvals(), Arc::default());
            let request = HttpRequest::post(PATH).body(axum::body::Body::from(review.to_string())).unwrap();
            let answer = router.oneshot(request).await.unwrap();
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
            let mut stored = new.clone();
            if let Some(patch) = response["patch"].as_str() {
                let patch: json_patch::Patch =
                    serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
                json_patch::patch(&mut stored, &patch).unwrap();
            }
            (response, stored)
        }

        async fn is_approved(&self, stored: &Value) -> bool {
            let broker: Broker = serde_json::from_value(stored.clone()).unwrap();
            let approval = broker.approval().unwrap_or_default().to_owned();
            self.approvals().verify(&broker.read().checked(), &approval).await.unwrap()
        }
    }

    fn broker(url: &str, secret: &str) -> Value {
        let reference = json!({"namespace": "own", "name": secret});
        json!({"metadata": {"name": "b", "annotations": {"a": "b"}},
            "spec": {"url": url, "authInfo": {"bearer": {"secretRef": reference}}}})
    }

    fn with(mut object: Value, pointer: &str, value: Value) -> Value {
        *object.pointer_mut(pointer).unwrap() = value;
        object
    }

    #[tokio::test]
    async fn an_author_who_may_get_the_secret_is_approved_and_another_refused() {
        let cluster = Cluster::default();
        let wanted = broker("https://b", "token");
        let (response, stored) = cluster.asked("alice", None, &wanted).await;
        assert_eq!(response["allowed"], true);
        assert!(cluster.is_approved(&stored).await, "{stored}");
        let asked = cluster.reviews.lock().unwrap().pop().unwrap();
        assert_eq!((&asked["groups"], &asked["extra"]), (&json!(["g"]), &json!({"scope": ["s"]})));
        for (user, wanted) in [("mallory", wanted), ("alice", broker("https://b", "other"))] {
            let (response, _) = cluster.asked(user, None, &wanted).await;
            assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
            let message = response["status"]["message"].as_str().unwrap();
            assert!(message.contains("own/") && message.contains(user), "{message}");
        }
    }

    /// The Secret was somebody else's choice, and the editor would send it elsewhere.
    #[tokio::test]
    async fn who_changes_where_a_secret_goes_must_be_able_to_get_it() {
        let cluster = Cluster::default();
        let (_, stored) = cluster.asked("alice", None, &broker("https://b", "token")).await;
        for (pointer, value) in [
            ("/spec/url", json!("https://mallory")),
            ("/spec", {
                let mut spec = stored["spec"].clone();
                spec["insecureSkipTLSVerify"] = json!(true);
                spec
            }),
            ("/spec", {
                let mut spec = stored["spec"].clone();
                spec["caBundle"] = json!("bXk=");
                spec
            }),
        ] {
            let changed = with(stored.clone(), pointer, value);
            assert!(!cluster.is_approved(&changed).await, "{changed}");
            let (response, _) = cluster.asked("mallory", Some(&stored), &changed).await;
            assert_eq!(response["allowed"], false, "{changed}");
            let (response, changed) = cluster.asked("alice", Some(&stored), &changed).await;
            assert!(response["allowed"] == true && cluster.is_approved(&changed).await, "{changed}");
        }
    }

    #[tokio::test]
    async fn what_is_not_covered_can_be_changed_by_anybody_and_keeps_its_approval() {
        let cluster = Cluster::default();
        let (_, stored) = cluster.asked("alice", None, &broker("https://b", "token")).await;
        let mut relisted = stored.clone();
        relisted["spec"]["relistRequests"] = json!(1);
        let stripped = with(relisted.clone(), "/metadata/annotations", Value::Null);
        let forged = with(relisted.clone(), "/metadata/annotations", json!({APPROVAL: "v1.AAAA"}));
        for changed in [relisted, stripped, forged] {
            let (response, changed) = cluster.asked("mallory", Some(&stored), &changed).await;
            assert_eq!(response["allowed"], true, "{response}");
            assert!(cluster.is_approved(&changed).await, "{changed}");
        }
    }

    /// As after an upgrade, or after a time without the webhook.
    #[tokio::test]
    async fn an_object_without_approval_gets_one_when_its_author_asks() {
        let cluster = Cluster::default();
        let stored = broker("https://b", "token");
        let labelled = with(stored.clone(), "/metadata/annotations", json!({"other": "controller"}));
        let (response, after) = cluster.asked("alice", Some(&stored), &labelled).await;
        assert!(response["allowed"] == true && !cluster.is_approved(&after).await, "nobody asked");
        let asking = with(stored.clone(), "/metadata/annotations", json!({APPROVAL: "check"}));
        let (response, _) = cluster.asked("mallory", Some(&stored), &asking).await;
        assert_eq!(response["allowed"], false);
        let (_, after) = cluster.asked("alice", Some(&stored), &asking).await;
        assert!(cluster.is_approved(&after).await);
    }

    #[tokio::test]
    async fn what_cannot_be_checked_is_refused_and_what_names_no_secret_is_let_through() {
        let away = Cluster { is_away: true, ..Cluster::default() };
        let (response, _) = away.asked("alice", None, &broker("https://b", "token")).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(503)));
        for spec in [json!({"url": "https://b"}), json!({"url": "https://b", "authInfo": {}})] {
            let (response, _) =
                away.asked("x", None, &json!({"metadata": {"name": "b"}, "spec": spec})).await;
            assert_eq!(response, json!({"uid": "u", "allowed": true}));
        }
        let (response, _) = away.asked("x", None, &json!({"metadata": {}, "spec": {"authInfo": {}}})).await;
        let message = response["status"]["message"].as_str().unwrap();
        assert!(response["allowed"] == false && message.contains("url"), "{response}");
    }
}
