//! The webhook for new Namespaces. It adds the default for pods of a NamespaceBinding with `defaultForPods` at the
//! creation, so that pods from the same apply are bound. It reads only the Namespace and the NamespaceBindings and
//! never refuses; the reconciler adds a missing default a moment later.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, pin_mut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    runtime::{
        reflector::{self, Store},
        watcher::{self, Event},
    },
};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info};

use super::{namespace_defaults::metadata_patch, rule::Rule};
use crate::{
    admission::{Decision, Handler, MalformedReview, Request},
    apis::bindery::namespace_binding::NamespaceBinding,
    k8s::{explain_watch, guarded::Guarded, unreadable::Unreadable, watch::event_stream},
    telemetry::{Metrics, ops::Readiness},
};

/// The path in the webhook configuration.
pub const PATH: &str = "/mutate-namespace";

/// The name of this component in readiness reports.
const COMPONENT: &str = "namespacebindings";

/// The fields of a Namespace that the webhook reads. Other fields take no memory.
#[derive(Deserialize, Clone, Debug)]
pub struct Named {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Gives new Namespaces the defaults for pods of the NamespaceBindings.
pub struct NewNamespaceHandler {
    rules: Store<NamespaceBinding>,
}

impl NewNamespaceHandler {
    /// Returns the handler, and the watch that the caller must run. The webhook becomes ready once the watch has listed the
    /// NamespaceBindings or learned that it cannot.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        readiness.wait_for(COMPONENT, "the NamespaceBindings have not been read yet");
        let (rules, mut writer) = reflector::store();
        let unreadable = Unreadable::without_events(metrics);
        let api: Api<Guarded<NamespaceBinding>> = Api::all(client);
        let watch = async move {
            let events = event_stream(api, watcher::Config::default(), writer.as_reader(), unreadable);
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let is_read = matches!(event, Event::InitDone);
                        writer.apply_watcher_event(&event);
                        if is_read {
                            readiness.ready(COMPONENT);
                        }
                    }
                    // An installation without NamespaceBindings is complete as well; the watch retries by itself.
                    Err(error) => {
                        debug!(error = explain_watch(&error), "NamespaceBindings cannot be watched");
                        readiness.ready(COMPONENT);
                    }
                }
            }
        };
        (Self { rules }, watch)
    }
}

impl Handler<Option<Named>> for NewNamespaceHandler {
    const NAME: &'static str = "new-namespace";

    async fn review(&self, request: &Request<Option<Named>>) -> Result<Decision, MalformedReview> {
        let is_new = request.is_of("", "Namespace") && request.is_creation();
        let Some(namespace) = request.object.as_ref().filter(|_| is_new) else {
            return Ok(Decision::unchanged());
        };
        let rules: Vec<Rule> =
            self.rules.state().iter().filter_map(|object| Rule::read(object).ok()).collect();
        let Some(patch) = patch(&rules, &namespace.metadata) else { return Ok(Decision::unchanged()) };
        info!(namespace = namespace.metadata.name, "a new namespace gets a default for pods");
        Ok(Decision::patch("stamped", patch))
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
        admission::router::Routes,
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

    /// The outcome that was counted, the status and the answer's `response`.
    async fn posted(rules: Store<NamespaceBinding>, body: String) -> (String, u16, Value) {
        let metrics = Arc::new(Metrics::new());
        let router = Routes::new(metrics.clone()).handle(PATH, NewNamespaceHandler { rules }).into_router();
        let request = axum::http::Request::post(PATH).body(axum::body::Body::from(body)).unwrap();
        let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("canary"));
        let text = metrics.encode().unwrap();
        let counted = text.split("bindery_admissions_total{outcome=\"").nth(1).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        (counted.split('"').next().unwrap().to_owned(), status, answer["response"].clone())
    }

    async fn asked(operation: &str, kind: &str) -> (String, Value) {
        let (rules, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(object("db", &json!({"defaultForPods": true}))));
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": kind}, "operation": operation,
                "object": {"apiVersion": "v1", "kind": kind, "metadata": {"name": "feature-x"}}},
        });
        let (outcome, status, response) = posted(rules, review.to_string()).await;
        assert_eq!((status, &response["uid"]), (200, &json!("u")));
        (outcome, response)
    }

    #[tokio::test]
    async fn deeply_nested_managed_fields_do_not_prevent_an_answer() {
        let deep = format!("{}1{}", "{\"f:a\":".repeat(300), "}".repeat(300));
        let kind = r#"{"group":"","version":"v1","kind":"Namespace"}"#;
        let body = |metadata: &str| {
            format!(
                r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","kind":{kind},"operation":"CREATE","object":{{"apiVersion":"v1","kind":"Namespace","metadata":{metadata}}}}}}}"#
            )
        };
        let deep = body(&format!(r#"{{"name":"a","managedFields":[{{"fieldsV1":{deep}}}]}}"#));
        let (outcome, status, _) = posted(reflector::store().0, deep).await;
        assert_eq!((outcome.as_str(), status), ("unchanged", 200));
        for body in [r#"{"kind": ["canary"]}"#.to_owned(), body(r#"{"labels":["canary"]}"#)] {
            let (outcome, status, _) = posted(reflector::store().0, body).await;
            assert_eq!((outcome.as_str(), status), ("malformed", 400));
        }
    }

    #[tokio::test]
    async fn other_namespaces_stay_unchanged_and_none_is_refused() {
        let (outcome, response) = asked("CREATE", "Namespace").await;
        assert_eq!((outcome.as_str(), &response["allowed"]), ("stamped", &json!(true)));
        assert_eq!(response["patchType"], "JSONPatch");
        for (operation, kind) in [("UPDATE", "Namespace"), ("CREATE", "Pod"), ("DELETE", "Namespace")] {
            let (outcome, response) = asked(operation, kind).await;
            assert_eq!((outcome.as_str(), &response["allowed"]), ("unchanged", &json!(true)));
            assert_eq!(response["patch"], Value::Null);
        }
    }
}
