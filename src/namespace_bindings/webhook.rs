//! The webhook for new Namespaces. It adds the default for pods of a NamespaceBinding with `defaultForPods` at the
//! creation, so that pods from the same apply are bound. It reads only the Namespace and the NamespaceBindings and
//! never refuses; the reconciler adds a missing default a moment later.

use std::{collections::HashSet, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, pin_mut};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    core::{
        DeserializeGuard,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
    },
    runtime::{
        reflector::{self, Store},
        watcher::{self, Event},
    },
};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info};

use super::{namespace_defaults::metadata_patch, rule::Rule};
use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::{
    k8s::{explain_watch, trim::trimmed, unreadable::Unreadable, watch::events, without_values},
    telemetry::{Metrics, ops::Readiness},
};

/// The path in the webhook configuration.
pub const PATH: &str = "/mutate-namespace";

/// Kubernetes stores no larger Namespace, and limits annotations to 256 KiB.
const LARGEST_BODY: usize = 2 << 20;

/// The name of this part in readiness reports.
const PART: &str = "namespacebindings";

/// The fields of a Namespace that the webhook reads. Other fields take no memory.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "Namespace")]
struct Named {
    #[serde(default)]
    metadata: ObjectMeta,
}

#[derive(Clone)]
struct Webhook {
    rules: Store<NamespaceBinding>,
    metrics: Arc<Metrics>,
}

/// Returns the route for `POST` to [`PATH`], and the watch that the caller must run. The caller also limits load and
/// time. The webhook becomes ready once the watch has listed the NamespaceBindings or learned that it cannot.
pub fn router(
    client: Client,
    metrics: Arc<Metrics>,
    readiness: Readiness,
) -> (Router, impl Future<Output = ()> + Send + use<>) {
    readiness.wait_for(PART, "the NamespaceBindings have not been read yet");
    let (rules, mut writer) = reflector::store();
    let unreadable = Unreadable::without_events(metrics.clone());
    let api: Api<DeserializeGuard<NamespaceBinding>> = Api::all(client);
    let watch = async move {
        let events = events(api, watcher::Config::default(), writer.as_reader(), unreadable);
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let is_read = matches!(event, Event::InitDone);
                    writer.apply_watcher_event(&event);
                    if is_read {
                        readiness.ready(PART);
                    }
                }
                // An installation without NamespaceBindings is complete as well; the watch retries by itself.
                Err(error) => {
                    debug!(error = explain_watch(&error), "NamespaceBindings cannot be watched");
                    readiness.ready(PART);
                }
            }
        }
    };
    (routes(Webhook { rules, metrics }), watch)
}

fn routes(webhook: Webhook) -> Router {
    let router = Router::new().route(PATH, post(mutate));
    router.layer(DefaultBodyLimit::max(LARGEST_BODY)).with_state(webhook)
}

async fn mutate(State(webhook): State<Webhook>, body: Result<Bytes, BytesRejection>) -> Response {
    let began = Instant::now();
    let count = |outcome| webhook.metrics.admission("new-namespace", outcome, began.elapsed());
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            count("malformed");
            return rejection.into_response();
        }
    };
    let review = serde_json::from_slice::<AdmissionReview<Named>>(&trimmed(&body));
    let (outcome, response) = match review.map(TryInto::try_into) {
        Ok(Ok(request)) => webhook.answer(&request),
        Ok(Err(error)) => ("malformed", AdmissionResponse::invalid(error)),
        Err(error) => {
            count("malformed");
            let said =
                format!("the body is not an AdmissionReview: {}\n", without_values(&error.to_string()));
            return (StatusCode::BAD_REQUEST, said).into_response();
        }
    };
    count(outcome);
    Json(response.into_review()).into_response()
}

impl Webhook {
    fn answer(&self, request: &AdmissionRequest<Named>) -> (&'static str, AdmissionResponse) {
        let unchanged = AdmissionResponse::from(request);
        let is_namespace = request.kind.kind == "Namespace" && request.kind.group.is_empty();
        let Some(namespace) = request.object.as_ref().filter(|_| is_namespace) else {
            return ("unchanged", unchanged);
        };
        if request.operation != Operation::Create {
            return ("unchanged", unchanged);
        }
        let rules: Vec<Rule> =
            self.rules.state().iter().filter_map(|object| Rule::read(object).ok()).collect();
        let Some(patch) = patch(&rules, &namespace.metadata) else { return ("unchanged", unchanged) };
        info!(namespace = namespace.metadata.name, "a new namespace gets a default for pods");
        match unchanged.with_patch(patch) {
            Ok(patched) => ("stamped", patched),
            // A patch can always be written as JSON; if not, the reconciler adds the default.
            Err(_) => ("unchanged", AdmissionResponse::from(request)),
        }
    }
}

/// The patch of a new Namespace.
fn patch(rules: &[Rule], metadata: &ObjectMeta) -> Option<json_patch::Patch> {
    let mut selecting: Vec<&Rule> = rules.iter().filter(|rule| rule.selects(metadata)).collect();
    selecting.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    let mut names = HashSet::new();
    selecting.retain(|rule| names.insert(rule.binding_name()));
    let mut bindings: Vec<&str> = selecting
        .into_iter()
        .filter(|rule| rule.object.spec.default_for_pods)
        .map(Rule::binding_name)
        .collect();
    bindings.sort_unstable();
    let before = json!({"metadata": metadata});
    let mut after = before.clone();
    json_patch::merge(&mut after, &json!({"metadata": metadata_patch(metadata, &bindings)?}));
    Some(json_patch::diff(&before, &after))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        contract::pod,
        namespace_bindings::rule::tests::{object, rule},
    };

    fn default_bindings(rules: &[Rule], metadata: &Value) -> Option<Value> {
        let mut namespace = json!({"metadata": metadata});
        let patch = patch(rules, &serde_json::from_value(metadata.clone()).unwrap())?;
        json_patch::patch(&mut namespace, &patch).unwrap();
        Some(namespace)
    }

    #[test]
    fn a_new_namespace_gets_the_default_for_pods() {
        let spec = json!({"defaultForPods": true});
        let rules = [rule("queue", &spec), rule("db", &spec), rule("other", &json!({}))];
        for metadata in [
            json!({"name": "feature-x"}),
            json!({"name": "feature-x", "labels": {"team": "blue"}, "annotations": {"a/b": "c"}}),
        ] {
            let namespace = default_bindings(&rules, &metadata).unwrap();
            assert_eq!(namespace["metadata"]["annotations"][pod::BIND], "db,queue");
            assert_eq!(namespace["metadata"]["labels"]["bindery.dev/inject"], "enabled");
            assert_eq!(namespace["metadata"]["labels"]["team"], metadata["labels"]["team"]);
        }
        assert_eq!(default_bindings(&rules, &json!({"name": "other"})), None);
        let own = json!({"name": "feature-x", "annotations": {pod::BIND: "mine"}});
        assert_eq!(default_bindings(&rules, &own), None);
    }

    fn asked(operation: &str, kind: &str) -> (&'static str, Value) {
        let (rules, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(object("db", &json!({"defaultForPods": true}))));
        let webhook = Webhook { rules, metrics: Arc::default() };
        let resource = json!({"group": "", "version": "v1", "resource": "namespaces"});
        let review: AdmissionReview<Named> = serde_json::from_value(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": kind}, "resource": resource,
                "requestKind": {"group": "", "version": "v1", "kind": kind}, "requestResource": resource,
                "name": "feature-x", "operation": operation, "userInfo": {},
                "object": {"apiVersion": "v1", "kind": kind, "metadata": {"name": "feature-x"}}, "dryRun": false},
        }))
        .unwrap();
        let (outcome, response) = webhook.answer(&review.try_into().unwrap());
        (outcome, json!(response.into_review())["response"].clone())
    }

    #[tokio::test]
    async fn deeply_nested_managed_fields_do_not_prevent_an_answer() {
        let metrics = Arc::new(Metrics::new());
        let router = routes(Webhook { rules: reflector::store().0, metrics: metrics.clone() });
        let deep = format!("{}1{}", "{\"f:a\":".repeat(300), "}".repeat(300));
        let kind = r#"{"group":"","version":"v1","kind":"Namespace"}"#;
        let resource = r#"{"group":"","version":"v1","resource":"namespaces"}"#;
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","kind":{kind},"resource":{resource},"name":"a","operation":"CREATE","userInfo":{{}},"dryRun":false,"object":{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"a","managedFields":[{{"fieldsV1":{deep}}}]}}}}}}}}"#
        );
        for (body, status) in [(body, 200), (r#"{"kind": ["canary"]}"#.to_owned(), 400)] {
            let request = axum::http::Request::post(PATH).body(axum::body::Body::from(body)).unwrap();
            let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
            assert_eq!(response.status(), status);
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("canary"));
        }
        assert!(metrics.encode().unwrap().contains(r#"bindery_admissions_total{outcome="unchanged"} 1"#));
    }

    #[test]
    fn other_namespaces_stay_unchanged_and_none_is_refused() {
        let (outcome, response) = asked("CREATE", "Namespace");
        assert_eq!((outcome, &response["allowed"]), ("stamped", &json!(true)));
        assert_eq!(response["patchType"], "JSONPatch");
        for (operation, kind) in [("UPDATE", "Namespace"), ("CREATE", "Pod"), ("DELETE", "Namespace")] {
            let (outcome, response) = asked(operation, kind);
            assert_eq!((outcome, &response["allowed"]), ("unchanged", &json!(true)));
            assert_eq!(response["patch"], Value::Null);
        }
    }
}
