//! The cluster, the account, one operator for all tests, and a namespace for each test.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, LazyLock},
    time::Duration,
};

use bindery::{
    apis::aws_operator::Kind,
    cloud::aws::{Account, AccountSettings, Credentials, KeyId, stacks::Stack},
    k8s,
    operators::aws::{DeletionPolicy, OperatorSettings},
    telemetry::Metrics,
};
use bindery_test_support::ministack::{ACCOUNT, Key, Ministack, REGION};
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
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let key = SERVER.user("operator", &policy["Statement"]);
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.secret).unwrap();
    (key, file)
});

fn account() -> Account {
    let (key, file) = &*USER;
    Account::new(AccountSettings {
        region: Some(REGION.to_owned()),
        endpoint: Some(SERVER.endpoint()),
        credentials: Credentials::AccessKey {
            id: KeyId::Given(key.id.clone()),
            secret_file: file.path().to_owned(),
        },
        requests_per_second: std::num::NonZeroU32::new(1000),
        ..AccountSettings::default()
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

fn start() -> JoinHandle<()> {
    RUNTIME.spawn(async {
        let settings = OperatorSettings {
            cluster: CLUSTER.to_owned(),
            account: account(),
            accounts: std::collections::BTreeMap::new(),
            kinds: Kind::ALL.to_vec(),
            namespace: None,
            default_namespace: None,
            deletion_policy: DeletionPolicy::Delete,
            may_create_principals: false,
            poll: Duration::from_millis(300),
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
        *running = Some(start());
    }
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
        let together = ALONE.read().await;
        Self::made(Some(together), None).await
    }

    /// Without other tests, for those that stop the operator or set faults of AWS.
    pub(crate) async fn alone() -> Self {
        let alone = ALONE.write().await;
        Self::made(None, Some(alone)).await
    }

    async fn made(
        together: Option<tokio::sync::RwLockReadGuard<'static, ()>>,
        alone: Option<tokio::sync::RwLockWriteGuard<'static, ()>>,
    ) -> Self {
        ensure_operator().await;
        let body: Namespace = serde_json::from_value(json!({"metadata": {"generateName": "aws-"}})).unwrap();
        let namespaces = Api::<Namespace>::all(client().await);
        let namespace = namespaces.create(&PostParams::default(), &body).await.unwrap().name_any();
        let place = Self { namespace, account: account(), _together: together, _alone: alone };
        // The operator creates its definitions itself.
        until("the kinds are served", async || place.kubectl(&["get", "sqsqueues", "-A"], "").is_ok()).await;
        place
    }

    /// Runs kubectl in the namespace. Returns its output, or what it said about a failure.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut process = Command::new("kubectl")
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let [out, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if output.status.success() { Ok(out) } else { Err(beside) }
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

    /// The name of an object's stack.
    pub(crate) fn stack_name(&self, kind: &str, name: &str) -> String {
        format!("{CLUSTER}-{kind}-{name}-{}", self.namespace)
    }

    pub(crate) async fn stack(&self, kind: &str, name: &str) -> Option<Stack> {
        self.account.stack(&self.stack_name(kind, name)).await.unwrap()
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(LOOK).await;
    }
}

/// A file of the examples.
pub(crate) fn example(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/aws-service-operator").join(file);
    std::fs::read_to_string(path).unwrap()
}
