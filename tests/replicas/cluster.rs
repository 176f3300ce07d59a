//! Broker processes on one store, which can be killed.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use rand::RngExt;
use tempfile::TempDir;

use crate::{
    platform::{PASSWORD, PLAN, SERVICE},
    postgres::{ADMIN, Postgres},
};

/// Longer than a broker needs to start, even beside a compiler.
const TIMEOUT: Duration = Duration::from_mins(1);

/// See the module.
pub(crate) struct Cluster {
    folder: TempDir,
    replicas: Vec<Replica>,
}

struct Replica {
    address: SocketAddr,
    operators: SocketAddr,
    process: Mutex<Option<Child>>,
}

impl Cluster {
    /// Starts this many brokers, with databases on the server.
    pub(crate) async fn start(server: &Postgres, replicas: usize, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("password"), PASSWORD).unwrap();
        fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let config = format!(
            "backends: {{main: {{type: postgresql, host: 127.0.0.1, port: {}, user: {ADMIN}, passwordFile: {}, caFile: {}}}}}\n\
             services: [{{id: {SERVICE}, name: cockroachdb, type: cockroachdb, description: d,\n\
                plans: [{{id: {PLAN}, name: default, description: d, backend: main}}]}}]\n\
             auth: {{username: platform, passwordFile: {}}}\n\
             store: \"{store}\"\nstoreKeyFile: {}\n",
            server.port(),
            server.password_file().display(),
            server.ca_file().display(),
            at("password").display(),
            at("key").display(),
        );
        fs::write(at("config"), config).unwrap();
        let replica = |_| Replica { address: free(), operators: free(), process: Mutex::default() };
        let cluster = Self { replicas: (0..replicas).map(replica).collect(), folder };
        for index in 0..replicas {
            cluster.start_replica(index);
            cluster.serves(index).await;
        }
        cluster
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.address).collect()
    }

    /// Kills and restarts one broker after the other, and returns how often.
    pub(crate) async fn kill_until(&self, end: Instant, life: Duration) -> usize {
        let mut kills = 0;
        loop {
            let pause = rand::rng().random_range(life..3 * life);
            if Instant::now() + pause > end {
                return kills;
            }
            tokio::time::sleep(pause).await;
            let index = kills % self.replicas.len();
            self.replicas[index].kill();
            kills += 1;
            self.start_replica(index);
            self.serves(index).await;
        }
    }

    /// The output of `bindery sweep`.
    pub(crate) fn sweep(&self) -> String {
        let mut sweep = Command::new(env!("CARGO_BIN_EXE_bindery"));
        sweep.arg("sweep").arg("--config").arg(self.path("config"));
        let output = sweep.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The logs of all brokers.
    pub(crate) fn logs(&self) -> String {
        let logs = (0..self.replicas.len()).map(|index| fs::read_to_string(self.log(index)).unwrap());
        logs.collect()
    }

    fn start_replica(&self, index: usize) {
        let replica = &self.replicas[index];
        let log = File::options().create(true).append(true).open(self.log(index)).unwrap();
        let mut broker = Command::new(env!("CARGO_BIN_EXE_bindery"));
        broker.arg("broker").arg("--config").arg(self.path("config"));
        broker.args([
            "--listen",
            &replica.address.to_string(),
            "--listen-ops",
            &replica.operators.to_string(),
        ]);
        broker.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        *replica.process.lock().unwrap() = Some(broker.spawn().unwrap());
    }

    /// Waits until a broker accepts requests.
    async fn serves(&self, index: usize) {
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(self.replicas[index].address).is_err() {
            let ended = self.replicas[index].process.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.log(index)).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "broker {index} does not serve: {}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log(&self, index: usize) -> PathBuf {
        self.path(&format!("log-{index}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

impl Replica {
    /// As `kill -9` does.
    fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address without a listener.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
