//! A broker on an account of AWS, and requests of the platform and of applications.

use std::{ops::Deref, path::Path};

pub(crate) use bindery_test_support::platform::member as text;
use bindery_test_support::{
    ministack::{ACCOUNT, Key, Ministack, REGION, Request, fields},
    platform::{Plans, Platform},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// An account and a broker with the documented rights on it.
pub(crate) struct Cloud {
    pub(crate) server: Ministack,
    plans: Plans,
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

impl Deref for Cloud {
    type Target = Plans;

    fn deref(&self) -> &Plans {
        &self.plans
    }
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
        Self { server, plans: Plans { platform }, broker, _secret: secret }
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
