//! Requests of a platform that name a plan of the catalog, and operations that it waits for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Answer, Platform};

/// A service and a plan of it, by their names in the catalog.
pub type Plan<'a> = (&'a str, &'a str);

/// A platform whose broker offers several plans.
pub struct Plans {
    /// The platform.
    pub platform: Platform,
}

impl Plans {
    /// The ids of a plan.
    pub async fn plan(&self, (service, plan): Plan<'_>) -> (String, String) {
        let (_, catalog) = self.platform.ask("GET", "/v2/catalog", None).await;
        let named = |list: &Value, name: &str| {
            list.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned().unwrap()
        };
        let service = named(&catalog["services"], service);
        let plan = named(&service["plans"], plan);
        (member(&service, "id"), member(&plan, "id"))
    }

    pub async fn provision(&self, plan: Plan<'_>, instance: &str, parameters: Value) -> Answer {
        let (service_id, plan_id) = self.plan(plan).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "organization_guid": "o", "space_guid": "s",
            "parameters": parameters, "context": {"platform": "kubernetes", "namespace": "shop"}});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.platform.ask("PUT", &path, Some(body)).await
    }

    /// Provisions, and waits for success.
    pub async fn provisioned(&self, plan: Plan<'_>, instance: &str, parameters: Value) {
        let answer = self.provision(plan, instance, parameters).await;
        self.succeeded(answer, instance).await;
    }

    pub async fn update(&self, plan: Plan<'_>, instance: &str, parameters: Value) -> Answer {
        let (service_id, plan_id) = self.plan(plan).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "parameters": parameters});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.platform.ask("PATCH", &path, Some(body)).await
    }

    pub async fn deprovision(&self, plan: Plan<'_>, instance: &str) -> Answer {
        let (service, plan) = self.plan(plan).await;
        let ids = format!("accepts_incomplete=true&service_id={service}&plan_id={plan}");
        self.platform.ask("DELETE", &format!("/v2/service_instances/{instance}?{ids}"), None).await
    }

    /// Deprovisions, and waits until the instance is gone.
    pub async fn deprovisioned(&self, plan: Plan<'_>, instance: &str) {
        let answer = self.deprovision(plan, instance).await;
        self.succeeded(answer, instance).await;
    }

    /// Asserts that a request has succeeded, or that its operation does.
    pub async fn succeeded(&self, answer: Answer, instance: &str) {
        match answer.0 {
            200 | 201 => {}
            202 => assert_eq!(self.ended(instance).await, ("succeeded".to_owned(), String::new())),
            _ => panic!("{answer:?}"),
        }
    }

    /// The state and the description of the last operation. The deletion of an instance that is gone has succeeded.
    pub async fn last_operation(&self, instance: &str) -> (String, String) {
        let path = format!("/v2/service_instances/{instance}/last_operation");
        let (status, body) = self.platform.ask("GET", &path, None).await;
        let description = body["description"].as_str().unwrap_or_default().to_owned();
        match status {
            410 => ("succeeded".to_owned(), description),
            200 => (member(&body, "state"), description),
            _ => panic!("{status}: {body}"),
        }
    }

    /// The state and, unless it is success, the description at the end of the last operation.
    pub async fn ended(&self, instance: &str) -> (String, String) {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let (state, description) = self.last_operation(instance).await;
            if state != "in progress" {
                let description = if state == "succeeded" { String::new() } else { description };
                return (state, description);
            }
            assert!(Instant::now() < deadline, "still at: {description}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn bind(&self, plan: Plan<'_>, instance: &str, binding: &str, parameters: Value) -> Answer {
        let (service_id, plan_id) = self.plan(plan).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "parameters": parameters,
            "context": {"platform": "kubernetes", "namespace": "shop", "binding_name": binding}});
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        self.platform.ask("PUT", &path, Some(body)).await
    }

    /// Binds, and returns the answer's body.
    pub async fn bound(&self, plan: Plan<'_>, instance: &str, binding: &str, parameters: Value) -> Value {
        let (status, body) = self.bind(plan, instance, binding, parameters).await;
        assert!([200, 201].contains(&status), "{status}: {body}");
        body
    }

    pub async fn unbind(&self, plan: Plan<'_>, instance: &str, binding: &str) -> Answer {
        let (service, plan) = self.plan(plan).await;
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        self.platform.ask("DELETE", &format!("{path}?service_id={service}&plan_id={plan}"), None).await
    }

    /// Unbinds, and asserts success.
    pub async fn unbound(&self, plan: Plan<'_>, instance: &str, binding: &str) {
        let answer = self.unbind(plan, instance, binding).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }
}

/// A member that is a text.
pub fn member(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}")).to_owned()
}
