//! A real CockroachDB: the one that `BINDERY_TEST_COCKROACH_URL` names, or one that `cockroach` on the PATH starts. The
//! URL is that of a member of `admin` with a password, and its `sslrootcert` is the file of the cluster's CA:
//! `postgresql://user:password@host:26257/defaultdb?sslrootcert=/path/ca.crt`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use url::Url;

const URL: &str = "BINDERY_TEST_COCKROACH_URL";
const TIMEOUT: Duration = Duration::from_mins(1);

/// Whether there is a real CockroachDB to test with.
pub(crate) fn is_there() -> bool {
    let starts = || {
        Command::new("cockroach").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    std::env::var_os(URL).is_some() || starts()
}

/// A cluster that runs as long as the suite.
pub(crate) struct CockroachDb {
    pub(crate) url: Url,
    pub(crate) ca_file: PathBuf,
    started: Option<(Child, TempDir)>,
}

impl CockroachDb {
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<CockroachDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(std::env::var(URL).map_or_else(|_| Self::start(), |url| Self::at(&url)));
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    fn at(url: &str) -> Self {
        let url: Url = url.parse().unwrap();
        let ca_file = url.query_pairs().find(|(key, _)| key == "sslrootcert");
        let ca_file = ca_file.unwrap_or_else(|| panic!("{URL} names no sslrootcert")).1.into_owned().into();
        Self { url, ca_file, started: None }
    }

    /// Starts a cluster, as in CockroachDB's pages cockroach-cert and cockroach-start-single-node.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certs, key) = (folder.path().join("certs"), folder.path().join("ca.key"));
        let certs_dir = format!("--certs-dir={}", certs.display());
        let ca_key = format!("--ca-key={}", key.display());
        for of in [&["create-ca"][..], &["create-node", "127.0.0.1", "localhost"], &["create-client", "root"]]
        {
            run(Command::new("cockroach").arg("cert").args(of).args([&certs_dir, &ca_key]));
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new("cockroach")
            .args(["start-single-node", "--store=type=mem,size=640MiB", "--http-addr=127.0.0.1:0"])
            .args([&certs_dir, &format!("--listen-addr={address}")])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sql = |sql: &str| {
            let mut command = Command::new("cockroach");
            command.args(["sql", &certs_dir, &format!("--host={address}"), "--execute", sql]);
            command
        };
        let deadline = Instant::now() + TIMEOUT;
        while !sql("SELECT 1").output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "CockroachDB is not ready");
            std::thread::sleep(Duration::from_millis(200));
        }
        run(&mut sql("CREATE USER suite WITH PASSWORD 'the-suites-password'"));
        run(&mut sql("GRANT admin TO suite"));
        let url = format!("postgresql://suite:the-suites-password@{address}/defaultdb").parse().unwrap();
        Self { url, ca_file: certs.join(Path::new("ca.crt")), started: Some((child, folder)) }
    }
}

impl Drop for CockroachDb {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
