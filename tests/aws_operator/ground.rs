//! The cluster, the account, one operator for all tests, and a namespace for each test.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bindery::{
    apis::aws_operator::Kind,
    cloud::aws::{Account, AccountSettings, AssumedRole, Credentials, KeyId, stacks::Stack},
    k8s,
    operators::aws::{AccountList, DeletionPolicy, OperatorSettings, StackEvents},
    telemetry::Metrics,
};
use bindery_test_support::{
    command::run_blocking,
    ministack::{ACCOUNT, Key, Ministack, REGION, Request},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt, api::PostParams};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    runtime::Runtime,
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// The cluster's name in the names of stacks.
pub(crate) const CLUSTER: &str = "demos";
/// The time limit of every wait.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(100);

/// The operator has its own runtime, because each test's runtime ends with the test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// Locked while a test changes how all of AWS behaves.
pub(crate) static SERVER: LazyLock<Ministack> = LazyLock::new(Ministack::start);
static OPERATOR: LazyLock<Mutex<Option<JoinHandle<()>>>> = LazyLock::new(|| Mutex::new(None));
/// Held by tests that stop the operator or set faults, and shared by all others.
static ALONE: LazyLock<tokio::sync::RwLock<()>> = LazyLock::new(|| tokio::sync::RwLock::new(()));

/// Another account, and the role in it for the operator.
pub(crate) const OTHER_ACCOUNT: &str = "444455556666";
/// A team with a role of its own in the first account, which may make queues only.
pub(crate) const TEAM: &str = "payments";
/// The bucket for long templates.
pub(crate) const BUCKET: &str = "bindery-operator";
const ROLE: &str = "operator-role";

/// A namespace, and access to the cluster and to the account.
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) account: Account,
    _together: Option<tokio::sync::RwLockReadGuard<'static, ()>>,
    _alone: Option<tokio::sync::RwLockWriteGuard<'static, ()>>,
}

/// A user with exactly the rights in the examples, and the file with its secret.
static USER: LazyLock<(Key, NamedTempFile)> = LazyLock::new(|| {
    let policy = example("policy.json").replace("ACCOUNT", ACCOUNT).replace("CLUSTER", CLUSTER);
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    let roles = [role(OTHER_ACCOUNT), role(ACCOUNT)];
    let assume = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles});
    let templates = json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": format!("arn:aws:s3:::{BUCKET}/bindery-templates/*")});
    policy["Statement"].as_array_mut().unwrap().extend([assume, templates]);
    let key = SERVER.user("operator", &policy["Statement"]);
    let everything = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    make_role(OTHER_ACCOUNT, &everything);
    let queues = format!("arn:aws:cloudformation:*:{ACCOUNT}:stack/{CLUSTER}-sqsqueue-*");
    make_role(
        ACCOUNT,
        &json!([{"Effect": "Allow", "Action": ["sqs:*", "cloudformation:DescribeStacks"], "Resource": "*"},
            {"Effect": "Allow", "Action": "cloudformation:*", "Resource": queues}]),
    );
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.secret).unwrap();
    (key, file)
});

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/{ROLE}")
}

/// Makes the role with these statements, as the root of its account.
fn make_role(account: &str, statements: &Value) {
    let root = Key { id: account.to_owned(), ..Key::root() };
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:user/operator")}}]});
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let (name, trust, policy) = (("RoleName", ROLE), trust.to_string(), policy.to_string());
    for (action, parameters) in [
        ("CreateRole", vec![name, ("AssumeRolePolicyDocument", trust.as_str())]),
        ("PutRolePolicy", vec![name, ("PolicyName", "rights"), ("PolicyDocument", policy.as_str())]),
    ] {
        let (status, body) = SERVER.ask(&root, &Request::query("iam", action, &parameters));
        assert_eq!(status, 200, "{body}");
    }
}

/// How many objects the test of scale makes. The full size has the operator's default pace.
pub(crate) fn scale() -> Option<usize> {
    std::env::var("BINDERY_SOAK_OBJECTS").ok().map(|count| count.parse().unwrap())
}

pub(crate) fn account() -> Account {
    account_with(None)
}

fn account_with(role: Option<AssumedRole>) -> Account {
    let (key, file) = &*USER;
    let per_second = if scale().is_some() { 5 } else { 1000 };
    Account::new(AccountSettings {
        role,
        region: Some(REGION.to_owned()),
        endpoint: Some(SERVER.endpoint()),
        credentials: Credentials::AccessKey {
            id: KeyId::Given(key.id.clone()),
            secret_file: file.path().to_owned(),
        },
        requests_per_second: std::num::NonZeroU32::new(per_second),
    })
}

pub(crate) async fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "these tests need a cluster: tests/cluster/with-cluster cargo test --test aws_operator"
    );
    k8s::client().await.unwrap()
}

/// The account that the operator's role belongs to.
pub(crate) fn account_of(number: &str) -> Account {
    account_with(Some(AssumedRole { arn: role(number), external_id: None }))
}

/// The accounts of the installation.
pub(crate) fn accounts() -> AccountList {
    AccountList {
        own: account(),
        by_number: BTreeMap::from([(OTHER_ACCOUNT.to_owned(), account_of(OTHER_ACCOUNT))]),
        by_team: BTreeMap::from([(TEAM.to_owned(), account_of(ACCOUNT))]),
    }
}

fn start(drift_interval: Option<Duration>, events: StackEvents) -> JoinHandle<()> {
    RUNTIME.spawn(async move {
        let settings = OperatorSettings {
            cluster: CLUSTER.to_owned(),
            accounts: accounts(),
            kinds: Kind::ALL.to_vec(),
            namespace: None,
            default_namespace: None,
            deletion_policy: DeletionPolicy::Delete,
            may_create_principals: false,
            drift_interval,
            bucket: Some(BUCKET.to_owned()),
            events,
            poll: if scale().is_some() { Duration::from_secs(5) } else { Duration::from_millis(300) },
        };
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let ended = bindery::operators::aws::run(client().await, settings, metrics, stop).await;
        panic!("the operator ended: {ended:?}");
    })
}

/// Starts the operator unless it runs.
pub(crate) async fn ensure_operator() {
    let mut running = OPERATOR.lock().await;
    if running.is_none() {
        *running = Some(start(None, StackEvents::Poll));
    }
}

/// Starts an operator that checks for drift. The caller kills it.
pub(crate) async fn start_with_drift(interval: Duration) {
    *OPERATOR.lock().await = Some(start(Some(interval), StackEvents::Poll));
}

/// Starts an operator that receives the events of stacks. The caller kills it.
pub(crate) async fn start_with_push() {
    *OPERATOR.lock().await = Some(start(None, StackEvents::Push));
}

/// Kills the operator at any point.
pub(crate) async fn kill_operator() {
    if let Some(running) = OPERATOR.lock().await.take() {
        running.abort();
        let _ = running.await;
    }
}

impl Place {
    /// Beside other tests.
    pub(crate) async fn new() -> Self {
        Self::annotated(&json!({})).await
    }

    /// In a namespace with these annotations.
    pub(crate) async fn annotated(annotations: &Value) -> Self {
        let together = ALONE.read().await;
        Self::made(annotations, Some(together), None).await
    }

    /// Without other tests, for those that stop the operator or set faults of AWS.
    pub(crate) async fn alone() -> Self {
        Self::alone_with(&json!({})).await
    }

    /// Alone, in a namespace with these annotations.
    pub(crate) async fn alone_with(annotations: &Value) -> Self {
        let alone = ALONE.write().await;
        Self::made(annotations, None, Some(alone)).await
    }

    async fn made(
        annotations: &Value,
        together: Option<tokio::sync::RwLockReadGuard<'static, ()>>,
        alone: Option<tokio::sync::RwLockWriteGuard<'static, ()>>,
    ) -> Self {
        ensure_operator().await;
        let body: Namespace =
            serde_json::from_value(json!({"metadata": {"generateName": "aws-", "annotations": annotations}}))
                .unwrap();
        let namespaces = Api::<Namespace>::all(client().await);
        let namespace = namespaces.create(&PostParams::default(), &body).await.unwrap().name_any();
        let place = Self { namespace, account: account(), _together: together, _alone: alone };
        // The operator creates its definitions itself.
        until("the kinds are served", async || place.kubectl(&["get", "sqsqueues", "-A"], "").is_ok()).await;
        place
    }

    /// Runs kubectl in the namespace. Returns its output, or what it said about a failure.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let arguments = [&["--namespace", self.namespace.as_str()], arguments].concat();
        let said = run_blocking("kubectl", &arguments, input);
        if said.success { Ok(said.stdout) } else { Err(said.stderr) }
    }

    /// Applies an object of `service-operator.aws`.
    pub(crate) fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.try_apply(kind, name, spec).unwrap();
    }

    pub(crate) fn try_apply(&self, kind: &str, name: &str, spec: &Value) -> Result<String, String> {
        let object = json!({"apiVersion": "service-operator.aws/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        self.kubectl(&["apply", "-f", "-"], &object.to_string())
    }

    pub(crate) fn annotate(&self, kind: &str, name: &str, annotation: &str) {
        self.kubectl(&["annotate", "--overwrite", kind, name, annotation], "").unwrap();
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.kubectl(&["get", kind, name, "-o", "json"], "");
        found.ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// Waits until the object's stack is in this state. Returns the object.
    pub(crate) async fn is(&self, kind: &str, name: &str, status: &str) -> Value {
        let mut seen = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            seen = self.get(kind, name).unwrap_or_default();
            if seen["status"]["resourceStatus"] == status {
                return seen;
            }
            sleep(LOOK).await;
        }
        panic!("{kind} {name} is not {status} but {seen:#}");
    }

    /// Waits until the object is gone.
    pub(crate) async fn gone(&self, kind: &str, name: &str) {
        until(&format!("no {kind} {name}"), async || self.get(kind, name).is_none()).await;
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", "--wait=false", kind, name], "").unwrap();
    }

    /// The ExternalResources of the namespace's stacks.
    pub(crate) fn records(&self) -> Vec<Value> {
        let all = self.kubectl(&["get", "extres", "-l", "bindery.dev/stack", "-o", "json"], "").unwrap();
        let mut all: Value = serde_json::from_str(&all).unwrap();
        let mut records = std::mem::take(all["items"].as_array_mut().unwrap());
        records.retain(|record| record["spec"]["namespace"] == *self.namespace);
        records
    }

    /// The messages of the namespace's events with this reason.
    pub(crate) fn told(&self, reason: &str) -> Vec<String> {
        let events = self.kubectl(&["get", "events", "-o", "json"], "").unwrap();
        let events: Value = serde_json::from_str(&events).unwrap();
        let of_reason = events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == reason);
        of_reason.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The name of an object's stack.
    pub(crate) fn stack_name(&self, kind: &str, name: &str) -> String {
        format!("{CLUSTER}-{kind}-{name}-{}", self.namespace)
    }

    pub(crate) async fn stack(&self, kind: &str, name: &str) -> Option<Stack> {
        let name = self.stack_name(kind, name);
        let mut found = None;
        // The emulator may close an idle connection while the request is on its way.
        until("CloudFormation answers", async || {
            found = self.account.stack(&name).await.ok();
            found.is_some()
        })
        .await;
        found.flatten()
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    bindery_test_support::cluster::until(PATIENCE, what, holds).await;
}

/// A file of the examples.
pub(crate) fn example(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/aws-service-operator").join(file);
    std::fs::read_to_string(path).unwrap()
}
