//! A broker on an account of Alibaba Cloud, and requests of the platform and of applications.

use std::{path::Path, time::Duration};

use bindery_test_support::{
    alibaba::{Alibaba, Key, REGION, Request},
    platform::{Answer, Platform},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

/// The rights that the documentation gives a broker.
pub(crate) const POLICY: &str = include_str!("../../charts/alibabacloud-servicebroker/ram-policy.json");
pub(crate) const MYSQL: (&str, &str) = ("alibaba-cloud-rds-mysqldb", "rds-mysql-t1-small");
pub(crate) const SELF_DEFINE: (&str, &str) = ("alibaba-cloud-rds-mysqldb", "rds-self-define");
pub(crate) const POSTGRESQL: (&str, &str) = ("alibaba-cloud-rds-postgresql", "postgresql-17-basic");
pub(crate) const BUCKET: (&str, &str) = ("alibaba-cloud-oss", "default");

/// An account and a broker with the documented rights on it.
pub(crate) struct Cloud {
    pub(crate) server: Alibaba,
    pub(crate) platform: Platform,
    _secret: NamedTempFile,
}

/// The settings of a backend whose every address is the stand-in.
pub(crate) fn endpoints(server: &Alibaba) -> String {
    let url = server.url();
    format!("endpoints: {{rds: '{url}', ram: '{url}', sts: '{url}', oss: '{url}', metadata: '{url}'}}")
}

/// The configuration of a backend on the account.
pub(crate) fn backend(server: &Alibaba, broker: &Key, secret: &Path, more: &str) -> String {
    format!(
        "backends:\n  cloud: {{type: alibaba, region: {REGION}, {}, accessKeyId: {}, accessKeySecretFile: {}, \
         apiCallsPerSecond: 1000, network: {{vpcId: vpc-1, vswitchId: vsw-1, zoneId: cn-hangzhou-h}}, \
         securityIps: [10.0.0.0/8], {more}}}\nservices: []",
        endpoints(server),
        broker.id,
        secret.display()
    )
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more settings of the backend.
    pub(crate) async fn with(more: &str) -> Self {
        Self::on(Alibaba::start(), more).await
    }

    /// With a real database server behind each instance.
    pub(crate) async fn with_databases() -> Self {
        Self::on(Alibaba::start_with_databases("127.0.0.1"), "").await
    }

    async fn on(server: Alibaba, more: &str) -> Self {
        let broker = server.key("broker", POLICY);
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), &broker.secret).unwrap();
        let platform = Platform::open(&backend(&server, &broker, secret.path(), more)).await;
        Self { server, platform, _secret: secret }
    }

    /// The ids of a plan.
    pub(crate) async fn plan(&self, service: &str, plan: &str) -> (String, String) {
        let (_, catalog) = self.platform.ask("GET", "/v2/catalog", None).await;
        let named = |list: &Value, name: &str| {
            list.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned().unwrap()
        };
        let service = named(&catalog["services"], service);
        let plan = named(&service["plans"], plan);
        (text(&service, "id"), text(&plan, "id"))
    }

    pub(crate) async fn provision(&self, plan: (&str, &str), instance: &str, parameters: Value) -> Answer {
        let (service_id, plan_id) = self.plan(plan.0, plan.1).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "organization_guid": "o", "space_guid": "s",
            "parameters": parameters, "context": {"platform": "kubernetes", "namespace": "shop"}});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.platform.ask("PUT", &path, Some(body)).await
    }

    /// Provisions, and waits for success.
    pub(crate) async fn provisioned(&self, plan: (&str, &str), instance: &str, parameters: Value) {
        let answer = self.provision(plan, instance, parameters).await;
        self.succeeded(answer, instance).await;
    }

    pub(crate) async fn update(&self, plan: (&str, &str), instance: &str, parameters: Value) -> Answer {
        let (service_id, plan_id) = self.plan(plan.0, plan.1).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "parameters": parameters});
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        self.platform.ask("PATCH", &path, Some(body)).await
    }

    pub(crate) async fn deprovision(&self, plan: (&str, &str), instance: &str) -> Answer {
        let (service, plan) = self.plan(plan.0, plan.1).await;
        let ids = format!("accepts_incomplete=true&service_id={service}&plan_id={plan}");
        self.platform.ask("DELETE", &format!("/v2/service_instances/{instance}?{ids}"), None).await
    }

    /// Deprovisions, and waits until the instance is gone.
    pub(crate) async fn deprovisioned(&self, plan: (&str, &str), instance: &str) {
        let answer = self.deprovision(plan, instance).await;
        self.succeeded(answer, instance).await;
    }

    /// Asserts that a request has succeeded, or that its operation does.
    pub(crate) async fn succeeded(&self, answer: Answer, instance: &str) {
        match answer.0 {
            200 | 201 => {}
            202 => assert_eq!(self.ended(instance).await, ("succeeded".to_owned(), String::new())),
            _ => panic!("{answer:?}"),
        }
    }

    /// The state and the description of the last operation. The deletion of an instance that is gone has succeeded.
    pub(crate) async fn last_operation(&self, instance: &str) -> (String, String) {
        let path = format!("/v2/service_instances/{instance}/last_operation");
        let (status, body) = self.platform.ask("GET", &path, None).await;
        let description = body["description"].as_str().unwrap_or_default().to_owned();
        match status {
            410 => ("succeeded".to_owned(), description),
            200 => (text(&body, "state"), description),
            _ => panic!("{status}: {body}"),
        }
    }

    /// The state and the description at the end of the last operation.
    pub(crate) async fn ended(&self, instance: &str) -> (String, String) {
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

    pub(crate) async fn bind(
        &self,
        plan: (&str, &str),
        instance: &str,
        binding: &str,
        parameters: Value,
    ) -> Answer {
        let (service_id, plan_id) = self.plan(plan.0, plan.1).await;
        let body = json!({"service_id": service_id, "plan_id": plan_id, "parameters": parameters,
            "context": {"platform": "kubernetes", "namespace": "shop", "binding_name": binding}});
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        self.platform.ask("PUT", &path, Some(body)).await
    }

    /// Binds, and returns the answer's body.
    pub(crate) async fn bound(
        &self,
        plan: (&str, &str),
        instance: &str,
        binding: &str,
        parameters: Value,
    ) -> Value {
        let (status, body) = self.bind(plan, instance, binding, parameters).await;
        assert!([200, 201].contains(&status), "{status}: {body}");
        body
    }

    pub(crate) async fn unbind(&self, plan: (&str, &str), instance: &str, binding: &str) -> Answer {
        let (service, plan) = self.plan(plan.0, plan.1).await;
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        self.platform.ask("DELETE", &format!("{path}?service_id={service}&plan_id={plan}"), None).await
    }

    /// Unbinds, and asserts success.
    pub(crate) async fn unbound(&self, plan: (&str, &str), instance: &str, binding: &str) {
        let answer = self.unbind(plan, instance, binding).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    /// The status of a request to OSS with the credentials of a binding.
    pub(crate) fn oss(&self, credentials: &Value, method: &'static str, object: &str, content: &str) -> u16 {
        let token = credentials["security_token"].as_str().filter(|token| !token.is_empty());
        let key = Key {
            id: text(credentials, "access_key_id"),
            secret: text(credentials, "secret_access_key"),
            token: token.map(ToOwned::to_owned),
        };
        let target = format!("/{}/{object}", text(credentials, "bucket"));
        self.server.ask(&key, Request::oss(method, &target, content)).0
    }
}

pub(crate) fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}")).to_owned()
}
