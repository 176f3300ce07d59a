//! bindery as a user installs it: a PostgreSQL with TLS, an account of AWS, and the chart. All scenarios share one
//! installation.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    aws::Account,
    postgres::{ADMIN, Postgres},
    scenario::run,
    turns::Turns,
};

/// The namespace of the release.
pub(crate) const NAMESPACE: &str = "bindery-e2e";
/// The release's name.
pub(crate) const RELEASE: &str = "e2e";
/// The labels of the release's pods.
const OURS: &str = "app.kubernetes.io/instance=e2e";
/// The namespace that the release's webhook excludes, for the installation without Helm.
pub(crate) const PLAIN_NAMESPACE: &str = "bindery-plain-client";

/// The database server and the release.
pub(crate) struct Installation {
    pub(crate) postgres: Postgres,
    pub(crate) aws: Account,
    pub(crate) turns: Turns,
    _files: TempDir,
}

impl Installation {
    /// The installation, which the first caller creates.
    pub(crate) async fn get() -> &'static Self {
        static INSTALLATION: OnceCell<Installation> = OnceCell::const_new();
        INSTALLATION.get_or_init(Self::make).await
    }

    async fn make() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = std::env::var("NODE_IP").expect("NODE_IP: run this as `tests/run cluster`");
        let postgres = Postgres::start(&address, &[&address]);
        let aws = Account::open(&address);
        let files = TempDir::new().unwrap();
        kubectl(&["create", "namespace", NAMESPACE]).await;
        aws.make_secret(files.path()).await;
        kubectl(&[
            "--namespace",
            NAMESPACE,
            "create",
            "secret",
            "generic",
            "main-admin",
            &format!("--from-file=password={}", postgres.password_file().display()),
            &format!("--from-file=ca.crt={}", postgres.ca_file().display()),
        ])
        .await;
        let values = files.path().join("values.yaml");
        let aws_backend = aws.backend();
        std::fs::write(&values, Self::values(&address, postgres.port(), &aws_backend)).unwrap();
        let chart = repository().join("charts/bindery");
        let (chart, values) = (chart.display().to_string(), values.display().to_string());
        let install = [
            "install",
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &values,
            "--wait",
            "--timeout",
            "3m",
        ];
        let output = run("helm", &install, "").await;
        if !output.success {
            let state = run("kubectl", &["--namespace", NAMESPACE, "describe", "pods"], "").await;
            panic!("helm install failed:\n{}\n{}", output.all(), state.all());
        }
        kubectl(&["wait", "--for=condition=Ready", "clusterservicebroker/bindery", "--timeout=60s"]).await;
        Self { postgres, aws, turns: Turns::new(), _files: files }
    }

    fn values(host: &str, port: u16, aws: &str) -> String {
        format!(
            r"
image: {{repository: docker.io/library/bindery, tag: dev, pullPolicy: Never}}
log: {{format: text, filter: 'bindery=debug,info'}}
admission: {{native: 'off', excludeNamespaces: [{PLAIN_NAMESPACE}]}}
backends:
  main: {{type: postgresql, host: '{host}', port: {port}, user: {ADMIN}, database: postgres, sslmode: verify-full, secretName: main-admin, secretKeys: [password, ca.crt]}}
  {aws}
services:
- id: e2e250b5-73f8-45fd-9a7f-93c8dddc5f00
  name: cockroachdb
  type: cockroachdb
  description: CockroachDB service broker for creating cloud-native SQL databases.
  bindable: true
  plans:
  - {{name: default, description: Default, backend: main}}
  - {{name: verified, description: TLS that is verified, backend: main, database: {{sslmode: verify-full}}}}
- id: 0d2b3a55-9d2c-4b0c-8a64-1f3f7f8b6c11
  name: postgresql
  type: postgresql
  description: PostgreSQL databases.
  bindable: true
  plans: [{{name: seeded, description: With data, backend: main, database: {{templates: {{demo: branch_demo}}}}}}]
broker: {{rotateAdmin: true}}
"
        )
    }

    /// Upgrades the release with these additional values, and waits until it is ready.
    pub(crate) async fn upgrade(&self, values: &[&str]) {
        let options: Vec<_> = values.iter().flat_map(|value| ["--set", value]).collect();
        self.upgrade_by(&options).await;
    }

    /// Upgrades the release with these additional options of Helm, and waits until it is ready.
    pub(crate) async fn upgrade_by(&self, options: &[&str]) {
        let chart = repository().join("charts/bindery").display().to_string();
        let mut arguments =
            vec!["upgrade", RELEASE, &chart, "--namespace", NAMESPACE, "--reuse-values", "--wait"];
        arguments.push("--timeout=3m");
        arguments.extend(options);
        let output = run("helm", &arguments, "").await;
        if !output.success {
            let state = run("kubectl", &["--namespace", NAMESPACE, "describe", "pods"], "").await;
            panic!("helm upgrade failed:\n{}\n{}", output.all(), state.all());
        }
    }

    /// Scales a role's workload, and waits until exactly that many pods run.
    pub(crate) async fn scale(&self, workload: &str, replicas: usize) {
        kubectl(&["--namespace", NAMESPACE, "scale", workload, &format!("--replicas={replicas}")]).await;
        self.settled(workload.rsplit('-').next().expect("a name"), replicas).await;
    }

    /// Waits until that many pods of a role are ready and no other is still terminating.
    pub(crate) async fn settled(&self, role: &str, replicas: usize) {
        ready(&of_role(role), replicas).await;
    }

    /// Whether a pod of a role is ready.
    pub(crate) async fn is_any_ready(&self, role: &str) -> bool {
        self.pods(role).await.iter().any(is_ready)
    }

    /// Kills a role's processes as `kill -9` does. New pods replace the old ones at once, because the kubelet would
    /// restart failed containers only with exponential backoff.
    pub(crate) async fn kill(&self, role: &str) {
        let processes = self.processes(role).await;
        let mut arguments = vec!["-KILL"];
        arguments.extend(processes.iter().map(String::as_str));
        run("kill", &arguments, "").await.expect_success();
        let labels = of_role(role);
        let delete = ["delete", "pods", "--selector", &labels, "--force", "--grace-period=0"];
        kubectl(&[&["--namespace", NAMESPACE], &delete[..]].concat()).await;
    }

    /// The process ids of a role, of which there is at least one.
    async fn processes(&self, role: &str) -> Vec<String> {
        let found = run("pgrep", &["--full", &format!("^/usr/bin/bindery serve --roles={role} ")], "").await;
        let processes: Vec<String> = found.stdout.split_whitespace().map(str::to_owned).collect();
        assert!(!processes.is_empty(), "no process has the role {role}");
        processes
    }

    /// The memory of a role: that of the largest of its processes, which is the active catalog.
    pub(crate) async fn memory(&self, role: &str) -> Memory {
        let processes = self.processes(role).await;
        processes.iter().map(|process| Memory::of(process)).max_by_key(|memory| memory.resident()).unwrap()
    }

    /// The pods of a role.
    pub(crate) async fn pods(&self, role: &str) -> Vec<Pod> {
        pods(&of_role(role)).await
    }

    /// Waits until every pod of bindery is ready and no other exists.
    pub(crate) async fn recovered(&self) {
        let replicas = ["get", "deployments,statefulsets", "--selector", OURS, "--output"];
        let replicas = [&["--namespace", NAMESPACE], &replicas[..], &["jsonpath={.items[*].spec.replicas}"]];
        let replicas = kubectl(&replicas.concat()).await;
        let wanted: usize = replicas.split_whitespace().map(|count| count.parse::<usize>().unwrap()).sum();
        ready(OURS, wanted).await;
    }

    /// The output of `bindery sweep` in the broker's pod.
    pub(crate) async fn sweep(&self) -> String {
        let broker = self.pods("broker").await.first().expect("a broker").name_any();
        kubectl(&["--namespace", NAMESPACE, "exec", &broker, "--", "bindery", "sweep"]).await
    }
}

/// The resident memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What the process wrote.
    pub(crate) anonymous: u64,
    /// What the process read of its program, which the system can read again.
    pub(crate) of_files: u64,
}

impl Memory {
    fn of(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| {
            let value =
                status.lines().find_map(|line| line.strip_prefix(name)).expect("a process has memory");
            value.trim_end_matches("kB").trim().parse().unwrap()
        };
        Self { anonymous: field("RssAnon:"), of_files: field("RssFile:") }
    }

    pub(crate) fn resident(self) -> u64 {
        self.anonymous + self.of_files
    }
}

/// The release's pods with these labels.
async fn pods(labels: &str) -> Vec<Pod> {
    let api: Api<Pod> = Api::namespaced(Client::try_default().await.unwrap(), NAMESPACE);
    api.list(&ListParams::default().labels(labels)).await.unwrap().items
}

/// Waits until that many pods are ready and no other is still terminating.
async fn ready(labels: &str, wanted: usize) {
    for _ in 0..600 {
        let pods = pods(labels).await;
        if pods.len() == wanted && pods.iter().all(is_ready) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("there are not {wanted} ready pods of {labels}");
}

fn of_role(role: &str) -> String {
    format!("{OURS},app.kubernetes.io/component={role}")
}

fn is_ready(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| conditions.iter().any(|is| is.type_ == "Ready" && is.status == "True"))
}

/// The top of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `kubectl`, which must succeed.
pub(crate) async fn kubectl(arguments: &[&str]) -> String {
    run("kubectl", arguments, "").await.expect_success()
}
