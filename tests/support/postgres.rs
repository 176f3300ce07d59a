//! A private PostgreSQL for tests: Debian's, with TLS by a certificate authority of its own, in a temporary folder, gone
//! with the value. Shared by the suites through `#[path]`.
#![allow(dead_code, reason = "each suite uses its part")]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const INSTALL: &str = "install it: apt-get install -y postgresql-15";
/// Longer than a start may take, also beside a compiler.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server. Logins need TLS and a password; the superuser comes through a socket of its own.
pub struct Postgres {
    folder: TempDir,
    address: String,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl Postgres {
    /// A server that listens on this IP address, at a free port.
    pub fn start(address: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let postgres = Self { folder, address: address.to_owned(), port, server: Mutex::default() };
        postgres.make_files();
        postgres.run();
        postgres
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate authority to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Makes an administrator as bindery wants one: no superuser, but it may make roles and databases. Answers its
    /// password.
    pub fn create_admin(&self, name: &str) -> String {
        let password = "the admin's p@ssword";
        self.query(&format!(
            "create role {name} login createrole createdb password '{}'",
            password.replace('\'', "''")
        ));
        password.to_owned()
    }

    /// Runs SQL as the superuser; answers rows as lines and columns separated by `|`.
    pub fn query(&self, sql: &str) -> String {
        self.query_in("postgres", sql)
    }

    /// [`Postgres::query`] in another database.
    pub fn query_in(&self, database: &str, sql: &str) -> String {
        let output =
            self.psql().args(["-d", database, "-qtA", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The superuser's `psql`.
    pub fn psql(&self) -> Command {
        let mut psql = Command::new("psql");
        psql.arg("--no-psqlrc").args([
            "-h",
            &self.folder.path().display().to_string(),
            "-p",
            &self.port.to_string(),
        ]);
        psql.args(["-U", "postgres"]);
        psql
    }

    /// Opens a session with this URL and keeps it.
    pub fn session(&self, url: &str) -> Session {
        let psql = Command::new("psql")
            .args(["--no-psqlrc", "-qtA", url, "-c", "select pg_sleep(600)"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("psql: {error}; {INSTALL}"));
        Session(psql)
    }

    /// Begins a superuser's session with this SQL and keeps it open, with the locks it took.
    pub fn hold(&self, sql: &str) -> Held {
        let mut psql =
            self.psql().args(["-d", "postgres", "-qtA"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = psql.stdin.take().expect("piped");
        writeln!(input, "{sql}").unwrap();
        Held { input, psql }
    }

    /// Waits until this user has a session.
    pub async fn until_connected(&self, user: &str) {
        self.until(&format!("select count(*) > 0 from pg_stat_activity where usename = '{user}'")).await;
    }

    /// Waits until a query says yes.
    pub async fn until(&self, question: &str) {
        let start = Instant::now();
        while self.query(question) != "t" {
            assert!(start.elapsed() < LIMIT, "still no after {LIMIT:?}: {question}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the server at once; sessions end with it.
    pub fn stop(&self) {
        let Some(mut server) = self.server.lock().unwrap().take() else { return };
        // SIGINT is PostgreSQL's fast shutdown (postgres(1)).
        let _ = Command::new("kill").args(["-INT", &server.id().to_string()]).status();
        let _ = server.wait();
    }

    /// Starts it anew, at the same place with the same data.
    pub fn run(&self) {
        let data = self.folder.path().join("data");
        let mut server = as_postgres(&format!("{PROGRAMS}/postgres"))
            .args(["-D", &data.display().to_string()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !self
            .psql()
            .args(["-d", "postgres", "-c", ""])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < LIMIT, "PostgreSQL does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        *self.server.lock().unwrap() = Some(server);
    }

    /// What the server logged, statements with errors included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn make_files(&self) {
        let folder = self.folder.path();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = [
            self.address.clone(),
            "localhost".to_owned(),
            "cockroachdb-public.default.svc.cluster.local".to_owned(),
        ];
        let mut server = CertificateParams::new(names).unwrap();
        // Not the authority's name, or clients take the certificate for a self-signed one.
        server.distinguished_name.push(DnType::CommonName, "PostgreSQL");
        let certificate = server.signed_by(&key, &ca).unwrap();
        write(&folder.join("ca.crt"), &ca.pem(), 0o644);
        write(&folder.join("server.crt"), &certificate.pem(), 0o644);
        write(&folder.join("server.key"), &key.serialize_pem(), 0o600);
        give_to_postgres(folder);
        give_to_postgres(&folder.join("server.key"));
        let data = folder.join("data");
        let made = as_postgres(&format!("{PROGRAMS}/initdb"))
            .args([
                "-D",
                &data.display().to_string(),
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ])
            .output()
            .unwrap_or_else(|error| panic!("{PROGRAMS}/initdb: {error}; {INSTALL}"));
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        write(
            &data.join("pg_hba.conf"),
            "local all postgres trust\nhostssl all all all scram-sha-256\n",
            0o644,
        );
        let settings = format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{folder}'\nmax_connections = 200\n\
             fsync = off\nssl = on\nssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\n\
             log_statement = 'all'\n",
            self.address,
            self.port,
            folder = folder.display()
        );
        write(&data.join("postgresql.auto.conf"), &settings, 0o644);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A session of the superuser, kept open.
pub struct Held {
    input: ChildStdin,
    psql: Child,
}

impl Held {
    /// Ends the session; its locks are released.
    pub fn release(mut self) {
        drop(self.input);
        self.psql.wait().unwrap();
    }
}

/// A session of a client that only waits.
pub struct Session(Child);

impl Session {
    /// Whether it ends within the time that anything may take.
    pub async fn ended(mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// PostgreSQL refuses to run as root, so root runs it as Debian's user `postgres`.
fn as_postgres(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", program]);
    command
}

fn give_to_postgres(path: &Path) {
    if is_root() {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let entry = users
            .lines()
            .find(|line| line.starts_with("postgres:"))
            .unwrap_or_else(|| panic!("no user postgres; {INSTALL}"));
        let ids: Vec<u32> = entry.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(path, Some(ids[0]), Some(ids[1])).unwrap();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}
