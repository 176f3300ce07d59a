//! The life of an instance and its bindings with the repetitions and refusals that the Open Service Broker API names, on any
//! backend. The suite `conformance` has every demand, on a backend in memory.

use serde_json::{Value, json};

use super::{
    Answer,
    plans::{Plan, Plans},
};

const I: &str = "/v2/service_instances/walked";
const OTHER: &str = "/v2/service_instances/other";
const B: &str = "/v2/service_instances/walked/service_bindings/one";
const B2: &str = "/v2/service_instances/walked/service_bindings/two";

/// A plan under examination.
struct Walk<'a> {
    plans: &'a Plans,
    service: String,
    plan: String,
    parameters: Value,
}

impl Plans {
    /// Provisions an instance of the plan, binds it twice, rotates, unbinds and deprovisions, each wrongly, rightly, and again.
    /// `parameters` are those of the instance.
    pub async fn conforms(&self, plan: Plan<'_>, parameters: Value) {
        let (service, plan) = self.plan(plan).await;
        let walk = Walk { plans: self, service, plan, parameters };
        walk.what_is_not_there().await;
        walk.an_instance().await;
        walk.bindings().await;
        walk.the_end().await;
    }
}

impl Walk<'_> {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.plans.platform.ask(method, path, body).await
    }

    /// The status and the error code of an answer that must be this.
    async fn must(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        expected: (u16, Option<&str>),
    ) -> Value {
        let (status, body) = self.ask(method, path, body).await;
        assert_eq!((status, body["error"].as_str()), expected, "{method} {path}: {body}");
        body
    }

    fn instance(&self) -> Value {
        json!({"service_id": self.service, "plan_id": self.plan, "organization_guid": "o", "space_guid": "s",
            "parameters": self.parameters, "context": {"platform": "kubernetes", "namespace": "shop"}})
    }

    fn binding(&self) -> Value {
        json!({"service_id": self.service, "plan_id": self.plan, "bind_resource": {"app_guid": "a"},
            "context": {"platform": "kubernetes", "namespace": "shop", "binding_name": "one"}})
    }

    fn owned(&self, path: &str) -> String {
        format!("{path}?service_id={}&plan_id={}", self.service, self.plan)
    }

    /// Every field that is required, left out in turn.
    async fn refuses_without(&self, path: &str, body: &Value, fields: &[&str]) {
        for field in fields {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(*field);
            let (status, answer) = self.ask("PUT", path, Some(without)).await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer["description"].as_str().unwrap().contains(field), "{answer}");
        }
    }

    async fn what_is_not_there(&self) {
        self.must("GET", I, None, (404, None)).await;
        self.must("GET", B, None, (404, None)).await;
        self.must("DELETE", &polled(&self.owned(I)), None, (410, None)).await;
        self.must("DELETE", &self.owned(B), None, (410, None)).await;
        self.must("PUT", B, Some(self.binding()), (404, None)).await;
    }

    async fn an_instance(&self) {
        let wanted = self.instance();
        self.refuses_without(
            &polled(I),
            &wanted,
            &["service_id", "plan_id", "organization_guid", "space_guid"],
        )
        .await;
        let mut unknown = wanted.clone();
        unknown["plan_id"] = json!("unknown");
        assert_eq!(self.ask("PUT", &polled(I), Some(unknown)).await.0, 400);
        self.must("GET", I, None, (404, None)).await;

        let (status, body) = self.ask("PUT", &polled(I), Some(wanted.clone())).await;
        let is_asynchronous = status == 202;
        assert!(is_asynchronous || status == 201, "{status}: {body}");
        if is_asynchronous {
            self.must("PUT", OTHER, Some(wanted.clone()), (422, Some("AsyncRequired"))).await;
            self.must("GET", OTHER, None, (404, None)).await;
            // The operation may have ended meanwhile.
            let (status, _) = self.ask("PUT", &polled(I), Some(wanted.clone())).await;
            assert!([200, 202].contains(&status), "{status}");
        }
        assert_eq!(self.plans.ended("walked").await.0, "succeeded");
        self.must("PUT", &polled(I), Some(wanted.clone()), (200, None)).await;
        let mut other = wanted;
        other["space_guid"] = json!("elsewhere");
        assert_eq!(self.ask("PUT", &polled(I), Some(other)).await.0, 409);
        let found = self.must("GET", I, None, (200, None)).await;
        assert_eq!((&found["service_id"], &found["plan_id"]), (&json!(self.service), &json!(self.plan)));
    }

    async fn bindings(&self) {
        let wanted = self.binding();
        self.refuses_without(B, &wanted, &["service_id", "plan_id"]).await;
        self.must("GET", B, None, (404, None)).await;
        let made = self.must("PUT", B, Some(wanted.clone()), (201, None)).await;
        assert!(made["credentials"].as_object().is_some_and(|it| !it.is_empty()), "{made}");
        assert_eq!(self.must("PUT", B, Some(wanted.clone()), (200, None)).await, made, "again");
        let mut other = wanted.clone();
        other["bind_resource"] = json!({"app_guid": "another"});
        assert_eq!(self.ask("PUT", B, Some(other)).await.0, 409);
        let found = self.must("GET", B, None, (200, None)).await;
        assert_eq!((&found["credentials"], &found["endpoints"]), (&made["credentials"], &made["endpoints"]));

        let rotation = json!({"predecessor_binding_id": "one"});
        let successor = self.must("PUT", B2, Some(rotation.clone()), (201, None)).await;
        assert_ne!(successor["credentials"], made["credentials"], "a binding has credentials of its own");
        assert_eq!(self.must("PUT", B2, Some(rotation), (200, None)).await, successor, "again");
        assert_eq!(self.ask("DELETE", B, None).await.0, 400, "without service and plan");
        for path in [B, B2] {
            self.must("DELETE", &self.owned(path), None, (200, None)).await;
            self.must("DELETE", &self.owned(path), None, (410, None)).await;
            self.must("GET", path, None, (404, None)).await;
        }
    }

    async fn the_end(&self) {
        assert_eq!(self.ask("DELETE", &polled(I), None).await.0, 400, "without service and plan");
        let unknown = polled(&format!("{I}?service_id={}&plan_id=unknown", self.service));
        assert_eq!(self.ask("DELETE", &unknown, None).await.0, 400);
        let (status, body) = self.ask("DELETE", &polled(&self.owned(I)), None).await;
        match status {
            200 => {}
            202 => assert_eq!(self.plans.ended("walked").await.0, "succeeded"),
            _ => panic!("{status}: {body}"),
        }
        self.must("DELETE", &polled(&self.owned(I)), None, (410, None)).await;
        self.must("GET", I, None, (404, None)).await;
    }
}

/// `path` for a platform that polls.
fn polled(path: &str) -> String {
    let parted = if path.contains('?') { '&' } else { '?' };
    format!("{path}{parted}accepts_incomplete=true")
}
