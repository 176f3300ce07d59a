//! A stand-in for the API server in tests of handlers that check rights to Secrets: it lets `alice` get the Secret
//! `own/token`, and has one Secret of bindery.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request as HttpRequest, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    admission::{Handler, Request, router::Routes},
    install::secret_approvals::Approvals,
};

#[derive(Clone, Default)]
pub(in crate::admission) struct Cluster {
    key: Arc<Mutex<Option<Value>>>,
    /// The `SubjectAccessReview`s that were asked.
    pub(in crate::admission) reviews: Arc<Mutex<Vec<Value>>>,
    is_away: bool,
}

async fn serve(State(cluster): State<Cluster>, request: HttpRequest) -> Response {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
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
    /// The API server cannot check rights now.
    pub(in crate::admission) fn away() -> Self {
        Self { is_away: true, ..Self::default() }
    }

    pub(in crate::admission) fn client(&self) -> Client {
        Client::new(Router::new().fallback(any(serve)).with_state(self.clone()), "bindery")
    }

    pub(in crate::admission) fn approvals(&self) -> Approvals {
        Approvals::new(self.client(), "bindery", "bindery-approvals")
    }
}

/// A user's request to write an object of a kind of the Service Catalog API.
pub(in crate::admission) struct Asking<'a> {
    pub(in crate::admission) kind: &'static str,
    pub(in crate::admission) user: &'a str,
    pub(in crate::admission) old: Option<&'a Value>,
    pub(in crate::admission) new: &'a Value,
}

impl Asking<'_> {
    /// The `response` of the handler's answer, and the object after the patch.
    pub(in crate::admission) async fn of<T, Before, Author, H>(&self, handler: H) -> (Value, Value)
    where
        H: Handler<T, Before, Author>,
        T: Send + Sync + 'static,
        Before: Send + Sync + 'static,
        Author: Send + Sync + 'static,
        Request<T, Before, Author>: DeserializeOwned + Send + Sync,
    {
        let namespace = match &self.new["metadata"]["namespace"] {
            _ if self.kind.starts_with("Cluster") => &Value::Null,
            Value::Null => &json!("own"),
            namespace => namespace,
        };
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": if self.old.is_some() { "UPDATE" } else { "CREATE" },
                "kind": {"group": "servicecatalog.k8s.io", "version": "v1beta1", "kind": self.kind},
                "namespace": namespace,
                "userInfo": {"username": self.user, "groups": ["g"], "extra": {"scope": ["s"]}},
                "object": self.new, "oldObject": self.old,
            },
        });
        let router = Routes::new(Arc::default()).handle("/", handler).into_router();
        let request = HttpRequest::post("/").body(Body::from(review.to_string())).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        let mut stored = self.new.clone();
        if let Some(patch) = response["patch"].as_str() {
            let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
            json_patch::patch(&mut stored, &patch).unwrap();
        }
        (response, stored)
    }
}
