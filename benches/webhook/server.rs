//! The servers that are compared, each a process of this program.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use axum::{Json, Router, body::Bytes, extract::DefaultBodyLimit, routing::post};
use bindery::{
    admission::{
        namespaces::{NamespaceReadError, Namespaces},
        pods,
        router::Routes,
    },
    injection::NamespaceDefaults,
    server::{PresentedCertificate, TlsSettings, pki::ServingCertificate, serve_tls},
    telemetry::Metrics,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A server that allows everything.
pub(crate) const ALLOW: &str = "allow";
/// bindery's webhook.
pub(crate) const INJECT: &str = "inject";
/// The name in the servers' certificates.
pub(crate) const NAME: &str = "webhook.example";

const KIND: &str = "BINDERY_BENCH_SERVE";
const FOLDER: &str = "BINDERY_BENCH_FOLDER";
const ADDRESS: &str = "BINDERY_BENCH_ADDRESS";

/// A running server, which ends when dropped.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .env(KIND, kind)
            .env(FOLDER, folder.path())
            .env(ADDRESS, address.to_string())
            .spawn()
            .unwrap();
        Self { process, folder, address }
    }

    /// The CA to trust, once the server has created it.
    pub(crate) fn authority(&self) -> Option<String> {
        fs::read_to_string(self.folder.path().join("ca.crt")).ok()
    }

    /// The server's processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        tasks.map(|task| task_cpu(&task.unwrap().path())).sum()
    }

    /// A value of `proc_pid_status(5)`, in MiB.
    pub(crate) fn memory_mib(&self, figure: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<f64>().unwrap() / 1024.0
    }
}

/// The processor time of a task; kernels count it in nanoseconds.
fn task_cpu(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this process is a server.
pub(crate) fn is_one() -> bool {
    std::env::var_os(KIND).is_some()
}

/// Serves until the process is killed.
pub(crate) fn serve() {
    let variable = |name| std::env::var(name).unwrap();
    let router = if variable(KIND) == INJECT { inject() } else { allow() };
    let certificate = ServingCertificate::generate(&[NAME.to_owned()], Timestamp::now()).unwrap();
    let presented = PresentedCertificate::default();
    presented.present(&certificate.leaf).unwrap();
    let folder = variable(FOLDER);
    let written = Path::new(&folder).join("written");
    fs::write(&written, &certificate.bundle).unwrap();
    fs::rename(&written, Path::new(&folder).join("ca.crt")).unwrap();
    let tls = TlsSettings { certificate: presented, clients: None };
    let address = variable(ADDRESS).parse().unwrap();
    // The same runtime as in `bindery serve`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve_tls(address, router, tls, CancellationToken::new())).unwrap();
}

fn inject() -> Router {
    Routes::of_pods(Arc::default(), Arc::new(NoDefaults), None, Arc::new(Metrics::new())).into_router()
}

struct NoDefaults;

#[async_trait]
impl Namespaces for NoDefaults {
    async fn defaults(&self, _: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        Ok(None)
    }
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
}

/// The work of every webhook: decode the review, and echo its uid in the answer.
fn allow() -> Router {
    let answer = async |body: Bytes| -> Json<Value> {
        let Review { request } = serde_json::from_slice(&body).unwrap();
        let response = json!({"uid": request.uid, "allowed": true});
        Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    };
    Router::new().route(pods::PATH, post(answer)).layer(DefaultBodyLimit::max(8 << 20))
}
