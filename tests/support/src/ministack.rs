//! AWS for tests: ministack, which enforces policies and runs stacks. `tests/support/aws/ground.py` starts it stricter
//! than it is, and sets the faults. Requests beside bindery's own are sent by curl, which signs them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use serde_json::{Value, json};

use crate::{python_server::PythonServer, target_folder::repository};

/// The region of all tests.
pub const REGION: &str = "us-east-1";
/// The only account.
pub const ACCOUNT: &str = "123456789012";
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

/// A running server.
pub struct Ministack(PythonServer);

impl Ministack {
    /// Starts a server and waits until it listens.
    pub fn start() -> Self {
        let launcher = repository().join("tests/support/aws/ground.py");
        Self(PythonServer::start(&[launcher.to_str().unwrap()]))
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port())
    }

    /// Sets faults; `ground.py` lists them.
    pub fn set(&self, faults: &Value) {
        self.control("POST", &faults.to_string());
    }

    /// The calls since the last reset, as `iam:CreateUser`.
    pub fn calls(&self) -> Vec<String> {
        serde_json::from_str(&self.control("GET", "")).unwrap()
    }

    /// Ends all faults and forgets the calls.
    pub fn reset(&self) {
        self.set(&json!({"delay": 0, "key_lag": 0, "throttle": 0, "unavailable": 0, "fail_creations": 0, "fail_updates": 0, "hang_at": 0,
            "hang_after_work": false, "reset_calls": true}));
    }

    fn control(&self, method: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port())).unwrap();
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
        let body = self.administer(&Request::query("iam", "CreateAccessKey", &[("UserName", user)]));
        let field = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        Key { id: field("AccessKeyId"), secret: field("SecretAccessKey"), session_token: None }
    }

    /// Replaces the statements of a user.
    pub fn allow(&self, user: &str, statements: &Value) {
        let policy = document(statements);
        let put = [("UserName", user), ("PolicyName", "rights"), ("PolicyDocument", &policy)];
        self.administer(&Request::query("iam", "PutUserPolicy", &put));
    }
}

fn document(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}
