//! AWS for tests: ministack, which enforces policies and runs stacks. `tests/support/aws/ground.py` starts it stricter
//! than it is, and sets the faults. Requests beside bindery's own are sent by curl, which signs them.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{python_server::PythonServer, target_folder::repository};

/// The region of all tests.
pub const REGION: &str = "us-east-1";
/// The only account.
pub const ACCOUNT: &str = "123456789012";
/// The user of the broker in `examples/aws/prerequisites.yaml`.
pub const BROKER_USER: &str = "aws-servicebroker";
/// The name of the role under which CloudFormation works.
pub const DEPLOY_ROLE: &str = "aws-servicebroker-cfn-deploy-role";

/// An access key, or the temporary credentials of a session.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub session_token: Option<String>,
}

impl Key {
    /// The account's root, to whom everything is allowed.
    pub fn root() -> Self {
        Self { id: "test".to_owned(), secret: "test".to_owned(), session_token: None }
    }

    /// The key in a binding's credentials.
    pub fn of(credentials: &Value) -> Self {
        let text = |name: &str| credentials[name].as_str().map(ToOwned::to_owned);
        Self {
            id: text("AWS_ACCESS_KEY_ID").unwrap(),
            secret: text("AWS_SECRET_ACCESS_KEY").unwrap(),
            session_token: text("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()),
        }
    }
}

/// A request to a service of AWS.
pub struct Request {
    service: &'static str,
    url: Option<String>,
    headers: Vec<String>,
    method: &'static str,
    body: String,
}

impl Request {
    /// A request in the JSON protocol, such as `AmazonSQS.SendMessage`.
    pub fn json(service: &'static str, target: &str, body: &Value) -> Self {
        let headers =
            vec![format!("X-Amz-Target: {target}"), "Content-Type: application/x-amz-json-1.0".to_owned()];
        Self { service, url: None, headers, method: "POST", body: body.to_string() }
    }

    /// A request in the query protocol.
    pub fn query(service: &'static str, action: &str, parameters: &[(&str, &str)]) -> Self {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let pairs: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = format!("Action={action}&Version={}&{}", version(service), pairs.join("&"));
        let headers = vec!["Content-Type: application/x-www-form-urlencoded".to_owned()];
        Self { service, url: None, headers, method: "POST", body }
    }

    /// A request for a path, as S3 has them.
    pub fn path(service: &'static str, method: &'static str, path: &str, body: &str) -> Self {
        let (url, body) = (Some(path.to_owned()), body.to_owned());
        Self { service, url, headers: Vec::new(), method, body }
    }
}

fn version(service: &str) -> &'static str {
    match service {
        "iam" => "2010-05-08",
        "sts" => "2011-06-15",
        "sns" => "2010-03-31",
        _ => "2010-05-15",
    }
}

/// What bindery needs on an account.
pub struct Prerequisites {
    /// The key that the broker calls with.
    pub broker: Key,
    /// The ARN of the role under which CloudFormation works.
    pub deploy_role: String,
    /// The policy that this role has beside its own.
    pub deploy_policy: String,
    /// The policies of the broker.
    pub policies: Vec<String>,
    /// The table of the broker's records.
    pub table: String,
}

/// A running server.
pub struct Ministack {
    server: PythonServer,
    host: String,
}

impl Ministack {
    /// Starts a server and waits until it listens.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// Starts a server at an address of this machine, such as one that pods reach.
    pub fn start_at(host: &str) -> Self {
        let launcher = repository().join("tests/support/aws/ground.py");
        Self { server: PythonServer::start(&[launcher.to_str().unwrap(), host]), host: host.to_owned() }
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.host, self.server.port())
    }

    /// Sets faults; `ground.py` lists them.
    pub fn set(&self, faults: &Value) {
        self.control("POST", &faults.to_string());
    }

    /// The calls since the last reset, as `iam:CreateUser`.
    pub fn calls(&self) -> Vec<String> {
        serde_json::from_value(self.state()["calls"].take()).unwrap()
    }

    /// Whether the call `hang_at` has come, and has had its effect if it is to.
    pub fn is_hanging(&self) -> bool {
        self.state()["hanging"] == true
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.control("GET", "")).unwrap()
    }

    /// Ends all faults and forgets the calls.
    pub fn reset(&self) {
        self.set(&json!({"delay": 0, "key_lag": 0, "throttle": 0, "unavailable": 0, "fail_creations": 0, "fail_updates": 0, "hang_at": 0,
            "hang_after_work": false, "reset_calls": true}));
    }

    fn control(&self, method: &str, body: &str) -> String {
        let mut stream = TcpStream::connect((self.host.as_str(), self.server.port())).unwrap();
        let head = format!(
            "{method} /_ground HTTP/1.1\r\nHost: ground\r\nConnection: close\r\nContent-Length: {}",
            body.len()
        );
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200"), "{answer}");
        body.to_owned()
    }

    /// Sends a request with a key. Returns the status and the body.
    pub fn ask(&self, key: &Key, request: &Request) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]);
        curl.args(["--aws-sigv4", &format!("aws:amz:{REGION}:{}", request.service)]);
        curl.args(["--user", &format!("{}:{}", key.id, key.secret), "--request", request.method]);
        for header in &request.headers {
            curl.args(["--header", header]);
        }
        if let Some(token) = &key.session_token {
            curl.args(["--header", &format!("X-Amz-Security-Token: {token}")]);
        }
        if request.method != "GET" {
            curl.args(["--data-binary", &request.body]);
        }
        curl.arg(format!("{}{}", self.endpoint(), request.url.as_deref().unwrap_or("/")));
        let output = curl.output().expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// Sends a request as root, which must succeed.
    pub fn administer(&self, request: &Request) -> String {
        let (status, body) = self.ask(&Key::root(), request);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Creates a stack as root, and waits until it is complete. Returns its outputs.
    pub fn create_stack(&self, name: &str, template: &str) -> BTreeMap<String, String> {
        let named = ("StackName", name);
        let capability = ("Capabilities.member.1", "CAPABILITY_NAMED_IAM");
        let create = [named, capability, ("TemplateBody", template)];
        self.administer(&Request::query("cloudformation", "CreateStack", &create));
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let stack = self.administer(&Request::query("cloudformation", "DescribeStacks", &[named]));
            if fields(&stack, "StackStatus") == ["CREATE_COMPLETE"] {
                return fields(&stack, "OutputKey").into_iter().zip(fields(&stack, "OutputValue")).collect();
            }
            assert!(Instant::now() < deadline, "{stack}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Creates what bindery needs on the account, from `examples/aws/prerequisites.yaml`.
    pub fn create_prerequisites(&self) -> Prerequisites {
        let template = repository().join("examples/aws/prerequisites.yaml");
        let outputs = self.create_stack("prerequisites", &std::fs::read_to_string(template).unwrap());
        let output = |name: &str| outputs[name].clone();
        Prerequisites {
            broker: self.access_key(&output("BrokerUserName")),
            deploy_role: output("DeployRoleARN"),
            deploy_policy: output("NetworkedServicesPolicyARN"),
            policies: ["BrokerPolicyARN", "RecordsPolicyARN"].map(output).into(),
            table: output("TableName"),
        }
    }

    /// Gives the deploy role exactly these statements. Returns its ARN.
    pub fn deploy_role(&self, statements: &Value) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "cloudformation.amazonaws.com"}}]});
        let (trust, name) = (trust.to_string(), ("RoleName", DEPLOY_ROLE));
        let create = Request::query("iam", "CreateRole", &[name, ("AssumeRolePolicyDocument", &trust)]);
        let (status, body) = self.ask(&Key::root(), &create);
        assert!(status == 200 || body.contains("EntityAlreadyExists"), "{body}");
        let policy = document(statements);
        let put = [name, ("PolicyName", "deploy"), ("PolicyDocument", &policy)];
        self.administer(&Request::query("iam", "PutRolePolicy", &put));
        format!("arn:aws:iam::{ACCOUNT}:role/{DEPLOY_ROLE}")
    }

    /// Gives a user of this name exactly these statements. Returns a key of the user.
    pub fn user(&self, user: &str, statements: &Value) -> Key {
        self.administer(&Request::query("iam", "CreateUser", &[("UserName", user)]));
        self.allow(user, statements);
        self.access_key(user)
    }

    fn access_key(&self, user: &str) -> Key {
        let body = self.administer(&Request::query("iam", "CreateAccessKey", &[("UserName", user)]));
        let field = |name: &str| fields(&body, name).remove(0);
        Key { id: field("AccessKeyId"), secret: field("SecretAccessKey"), session_token: None }
    }

    /// Replaces the statements that a user has beside attached policies.
    pub fn allow(&self, user: &str, statements: &Value) {
        let policy = document(statements);
        let put = [("UserName", user), ("PolicyName", "rights"), ("PolicyDocument", &policy)];
        self.administer(&Request::query("iam", "PutUserPolicy", &put));
    }
}

/// The contents of all elements of this name.
pub fn fields(xml: &str, name: &str) -> Vec<String> {
    let start = format!("<{name}>");
    xml.split(&start).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

fn document(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}
