//! `examples/aws/prerequisites.yaml`, whose rights all tests of this suite run with: cfn-lint passes the template,
//! parliament the policies, and the broker's records are in its table.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bindery_test_support::ministack::{DEPLOY_ROLE, Ministack, REGION, Request, fields};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cloud::backend;

/// What parliament finds in the policies of the deploy role, and is meant: an action, and the kind of resource that the policy
/// does not have. Templates make no such resource. AWS documents the two of
/// Kinesis for one stream, too; parliament is older.
const MEANT: &[(&str, &str)] = &[
    ("athena:ListTagsForResource", "capacity-reservation/*"),
    ("athena:ListTagsForResource", "datacatalog/*"),
    ("athena:TagResource", "capacity-reservation/*"),
    ("athena:TagResource", "datacatalog/*"),
    ("athena:UntagResource", "capacity-reservation/*"),
    ("athena:UntagResource", "datacatalog/*"),
    // One statement is for the group, another for its network.
    ("ec2:CreateSecurityGroup", "security-group/*"),
    ("es:AddTags", "application/*"),
    ("es:AddTags", "datasource/*"),
    ("es:ListTags", "application/*"),
    ("es:ListTags", "datasource/*"),
    ("es:RemoveTags", "application/*"),
    ("es:RemoveTags", "datasource/*"),
    ("kinesis:StartStreamEncryption", "key/*"),
    ("kinesis:StopStreamEncryption", "key/*"),
    ("kinesis:UpdateShardCount", "*"),
    ("kinesis:UpdateStreamMode", "*"),
    ("lex:CreateBot", "bot-alias/*/*"),
    // A bot of the first version of Lex.
    ("lex:DeleteBot", "*:bot:*:*"),
    ("rds:DeleteDBCluster", "cluster-snapshot:*"),
    ("route53:ChangeTagsForResource", "healthcheck/*"),
];
/// The rule that ends old versions of objects could have objects deleted.
const MEANT_OF_BUCKETS: &str = "s3:PutLifecycleConfiguration";

fn program(name: &str) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("venv/bin").join(name))
}

#[test]
fn cfn_lint_passes_the_template() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/aws/prerequisites.yaml");
    let output = program("cfn-lint").arg(template).output().expect("run tests/preflight aws");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A policy document as IAM returns it.
fn document(answer: &str, field: &str) -> String {
    let text = fields(answer, field).remove(0).replace("&quot;", "\"");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().unwrap();
    let policy: Value = serde_json::from_str(&decoded).unwrap();
    policy.to_string()
}

/// Whether all of a finding is meant.
fn is_meant(finding: &Value) -> bool {
    let is_known = |mismatch: &Value| {
        let (action, format) =
            (mismatch["action"].as_str().unwrap(), mismatch["required_format"].as_str().unwrap());
        MEANT.iter().any(|(meant, kind)| {
            *meant == action && (*kind == format || kind.len() > 1 && format.ends_with(kind))
        })
    };
    match finding["issue"].as_str().unwrap() {
        "RESOURCE_MISMATCH" => finding["detail"].as_array().unwrap().iter().all(is_known),
        "RESOURCE_POLICY_PRIVILEGE_ESCALATION" => {
            finding["detail"].as_str().unwrap().ends_with(MEANT_OF_BUCKETS)
        }
        _ => false,
    }
}

#[test]
fn parliament_passes_the_policies_and_aws_takes_their_length() {
    let server = Ministack::start();
    let granted = server.create_prerequisites();
    let managed = |policy: &String| {
        let version = [("PolicyArn", policy.as_str()), ("VersionId", "v1")];
        document(&server.administer(&Request::query("iam", "GetPolicyVersion", &version)), "Document")
    };
    let inline = [("RoleName", DEPLOY_ROLE), ("PolicyName", "deploy")];
    let inline = server.administer(&Request::query("iam", "GetRolePolicy", &inline));
    let mut policies: Vec<_> =
        granted.policies.iter().map(|policy| (managed(policy), 6_144, false)).collect();
    policies.push((managed(&granted.deploy_policy), 6_144, true));
    policies.push((document(&inline, "PolicyDocument"), 10_240, true));
    for (policy, longest, is_of_deploy_role) in policies {
        assert!(policy.len() <= longest, "{} characters: {policy}", policy.len());
        let mut linter = program("parliament")
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run tests/preflight aws");
        linter.stdin.take().unwrap().write_all(policy.as_bytes()).unwrap();
        let output = linter.wait_with_output().unwrap();
        let findings = String::from_utf8(output.stdout).unwrap();
        let findings = findings.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let unexpected: Vec<_> =
            findings.filter(|finding| !(is_of_deploy_role && is_meant(finding))).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}: {policy}");
    }
}

/// A broker that has had a request, and a sweep, which reads all records and freezes the store meanwhile.
#[test]
fn the_user_of_the_broker_may_use_its_table() {
    let server = Ministack::start();
    let granted = server.create_prerequisites();
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let secret = file("secret", &granted.broker.secret);
    let (password, key) =
        (file("password", "p"), file("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="));
    let config = format!(
        "{}\nauth: {{username: platform, passwordFile: {}}}\nstoreKeyFile: {}\ninstallation: tests\n\
         store: 'dynamodb:{}?region={REGION}&endpoint={}'",
        backend(&server, &granted.broker, &secret, ""),
        password.display(),
        key.display(),
        granted.table,
        server.endpoint(),
    );
    let config = file("bindery.yaml", &config);
    let bindery = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
        command.args(arguments).arg("--config").arg(&config);
        command.env("AWS_ACCESS_KEY_ID", &granted.broker.id);
        command.env("AWS_SECRET_ACCESS_KEY", &granted.broker.secret);
        command
    };
    let listen = |listener: std::net::TcpListener| listener.local_addr().unwrap().to_string();
    let free = || listen(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, ops) = (free(), free());
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut broker = bindery(&["broker", "--listen", &address, "--listen-ops", &ops]);
    let mut broker = broker.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let ask = |path: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--user", "platform:p", "--header", "X-Broker-API-Version: 2.17"]);
        curl.args(["--header", "Content-Type: application/json"]).args(more);
        let output = curl.arg(format!("http://{address}/v2/{path}")).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).ok()
    };
    let deadline = Instant::now() + Duration::from_mins(2);
    let catalog = loop {
        if let Some(catalog) = ask("catalog", &[]) {
            break catalog;
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(Instant::now() < deadline && broker.try_wait().unwrap().is_none(), "{log}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let services = catalog["services"].as_array().unwrap();
    let service = services.iter().find(|service| service["name"] == "dh-sqs").unwrap();
    let body = json!({"service_id": service["id"], "plan_id": service["plans"][0]["id"],
        "organization_guid": "o", "space_guid": "s"});
    let body = body.to_string();
    let put = ["--request", "PUT", "--data", body.as_str()];
    let answer = ask("service_instances/i?accepts_incomplete=true", &put).unwrap();
    assert!(answer["operation"].is_string(), "{answer}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    let sweep = bindery(&["sweep"]).output().unwrap();
    let text = [sweep.stdout, sweep.stderr].concat();
    assert!(sweep.status.success(), "{}", String::from_utf8_lossy(&text));
}
