//! An account of AWS with what examples/aws/prerequisites.yaml creates, on an emulator that pods reach.

use std::path::Path;

use bindery_test_support::ministack::{Key, Ministack, Prerequisites, REGION, Request, fields};
use serde_json::{Value, json};

use crate::installation::{NAMESPACE, kubectl};

/// The Secret with the key that the broker calls with.
const SECRET: &str = "aws-key";

/// The account.
pub(crate) struct Account {
    server: Ministack,
    granted: Prerequisites,
}

impl Account {
    pub(crate) fn open(address: &str) -> Self {
        let server = Ministack::start_at(address);
        let granted = server.create_prerequisites();
        Self { server, granted }
    }

    pub(crate) async fn make_secret(&self, folder: &Path) {
        let file = folder.join("secretAccessKey");
        std::fs::write(&file, &self.granted.broker.secret).unwrap();
        let (id, secret) = (
            format!("--from-literal=accessKeyId={}", self.granted.broker.id),
            format!("--from-file={}", file.display()),
        );
        kubectl(&["--namespace", NAMESPACE, "create", "secret", "generic", SECRET, &id, &secret]).await;
    }

    /// The chart's value for the backend.
    pub(crate) fn backend(&self) -> String {
        let (endpoint, role) = (self.server.endpoint(), &self.granted.deploy_role);
        format!(
            "aws: {{type: aws, region: {REGION}, endpoint: '{endpoint}', secretName: {SECRET}, \
             secretKeys: [accessKeyId, secretAccessKey], cloudformationRoleArn: '{role}', services: {{dh-sqs: {{}}}}}}"
        )
    }

    /// Makes a queue of nobody's instance. Returns its URL.
    pub(crate) fn make_queue(&self, name: &str) -> String {
        let create = Request::json("sqs", "AmazonSQS.CreateQueue", &json!({"QueueName": name}));
        let answer: Value = serde_json::from_str(&self.server.administer(&create)).unwrap();
        answer["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// The address of AWS, as pods reach it.
    pub(crate) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// A key of a new user with these rights.
    pub(crate) fn user(&self, name: &str, statements: &Value) -> Key {
        self.server.user(name, statements)
    }

    /// Sends a request as the account's root, which must succeed.
    pub(crate) fn administer(&self, request: &Request) -> String {
        self.server.administer(request)
    }

    /// The stacks and users that bindery has on the account.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let stacks = self.server.administer(&Request::query("cloudformation", "DescribeStacks", &[]));
        let path = [("PathPrefix", "/bindery/")];
        let users = self.server.administer(&Request::query("iam", "ListUsers", &path));
        let mut left = [fields(&stacks, "StackName"), fields(&users, "UserName")].concat();
        left.retain(|name| name != "prerequisites");
        left
    }
}
