//! A broker on an account of AWS, and requests of the platform and of applications.

use std::{path::Path, time::Duration};

use bindery_test_support::{
    ministack::{ACCOUNT, Key, Ministack, REGION, Request, fields},
    platform::{Answer, Platform},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

/// An account and a broker with the documented rights on it.
pub(crate) struct Cloud {
    pub(crate) server: Ministack,
    pub(crate) platform: Platform,
    /// The key that the broker calls with.
    pub(crate) broker: Key,
    _secret: NamedTempFile,
}

/// The configuration of a backend on the account.
pub(crate) fn backend(server: &Ministack, broker: &Key, secret: &Path, more: &str) -> String {
    let (endpoint, id) = (server.endpoint(), &broker.id);
    format!(
        "backends:\n  aws: {{type: aws, region: {REGION}, endpoint: '{endpoint}', accessKeyId: {id}, \
         secretAccessKeyFile: {}, apiCallsPerSecond: 1000, \
         aws_cloudformation_role_arn: 'arn:aws:iam::{ACCOUNT}:role/aws-servicebroker-cfn-deploy-role', {more}}}\n\
         services: []",
        secret.display()
    )
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more settings of the backend.
    pub(crate) async fn with(more: &str) -> Self {
        let server = Ministack::start();
        let broker = server.create_prerequisites().broker;
        Self::on(server, broker, more).await
    }

    /// On an account, with the key of the broker.
    pub(crate) async fn on(server: Ministack, broker: Key, more: &str) -> Self {
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), &broker.secret).unwrap();
        let platform = Platform::open(&backend(&server, &broker, secret.path(), more)).await;
        Self { server, platform, broker, _secret: secret }
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
        assert_eq!(answer.0, 202, "{answer:?}");
        assert_eq!(self.ended(instance).await, ("succeeded".to_owned(), String::new()));
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
        assert_eq!(answer.0, 202, "{answer:?}");
        assert_eq!(self.ended(instance).await, ("succeeded".to_owned(), String::new()));
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
            "context": {"platform": "kubernetes", "namespace": "shop"}});
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
        assert!([200, 201].contains(&status), "{body}");
        body
    }

    pub(crate) async fn unbind(&self, plan: (&str, &str), instance: &str, binding: &str) -> Answer {
        let (service, plan) = self.plan(plan.0, plan.1).await;
        let path = format!("/v2/service_instances/{instance}/service_bindings/{binding}");
        self.platform.ask("DELETE", &format!("{path}?service_id={service}&plan_id={plan}"), None).await
    }

    /// The status of sending a message to a queue with these credentials.
    pub(crate) fn sends(&self, credentials: &Value, queue: &str) -> u16 {
        self.status(credentials, &send_message(queue))
    }

    /// The status of receiving a message.
    pub(crate) fn receives(&self, credentials: &Value, queue: &str) -> u16 {
        self.status(
            credentials,
            &Request::json("sqs", "AmazonSQS.ReceiveMessage", &json!({"QueueUrl": queue})),
        )
    }

    pub(crate) fn status(&self, credentials: &Value, request: &Request) -> u16 {
        self.server.ask(&Key::of(credentials), request).0
    }

    /// Asserts that AWS refuses the request to these credentials; each service has its own code for that.
    pub(crate) fn refuses(&self, credentials: &Value, request: &Request) {
        let (status, body) = self.server.ask(&Key::of(credentials), request);
        let codes = [
            "AccessDenied",
            "AuthorizationError",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "UnrecognizedClient",
        ];
        assert!(
            [400, 403].contains(&status) && codes.iter().any(|code| body.contains(code)),
            "{status}: {body}"
        );
    }

    /// What bindery has on the account: names of stacks, users and roles.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers(&self.server)
    }
}

/// The names of stacks, and of users and roles below bindery's path.
pub(crate) fn leftovers(server: &Ministack) -> Vec<String> {
    let ask = |service, action, field: &str| {
        let path: &[(&str, &str)] = if service == "iam" { &[("PathPrefix", "/bindery/")] } else { &[] };
        fields(&server.administer(&Request::query(service, action, path)), field)
    };
    let mut stacks = ask("cloudformation", "DescribeStacks", "StackName");
    stacks.retain(|name| name.starts_with("AWSServiceBroker-"));
    let (users, roles) = (ask("iam", "ListUsers", "UserName"), ask("iam", "ListRoles", "RoleName"));
    [stacks, users, roles].concat()
}

pub(crate) fn send_message(queue: &str) -> Request {
    Request::json("sqs", "AmazonSQS.SendMessage", &json!({"QueueUrl": queue, "MessageBody": "hello"}))
}

pub(crate) fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}")).to_owned()
}
