//! A private PostgreSQL for tests: a temporary folder, TLS with a CA made on the spot, passwords by SCRAM, and an
//! administrator who is no superuser. It is stopped when dropped. Shared by the suites.
//!
//! The version is that of Debian's package. `BINDERY_TEST_POSTGRES=18` names another one, and a test may ask for one by
//! itself; `tests/preflight postgresql-18` fetches it.
#![allow(dead_code, reason = "each suite uses its part")]

use std::{
    env, fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The administrator: CREATEROLE and CREATEDB, nothing else.
pub(crate) const ADMIN: &str = "bindery";
/// The administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "the-administrators-password";

/// Longer than anything takes, also beside a compiler.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running server.
pub(crate) struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    listen: String,
    port: u16,
    is_durable: bool,
    child: Mutex<Option<Child>>,
    /// Variables of its environment.
    environment: Mutex<Vec<(&'static str, &'static str)>>,
}

impl Postgres {
    /// The server that most tests of a suite share. It lives as long as one of them runs.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start("127.0.0.1", &["127.0.0.1"]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server on `listen` (an address, or `*`) whose certificate bears `names`. It does not wait for the disk.
    pub(crate) fn start(listen: &str, names: &[&str]) -> Self {
        Self::start_with(binaries(), listen, names, false)
    }

    /// Starts a server of this major version on 127.0.0.1.
    pub(crate) fn version(major: u32) -> Self {
        Self::start_with(fetched(&major.to_string()), "127.0.0.1", &["127.0.0.1"], false)
    }

    /// Starts a server that waits for the disk, as one does that is used.
    pub(crate) fn start_durable(listen: &str, names: &[&str]) -> Self {
        Self::start_with(binaries(), listen, names, true)
    }

    fn start_with(binaries: PathBuf, listen: &str, names: &[&str], is_durable: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-postgres-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (listen, child) = (listen.to_owned(), Mutex::default());
        let server =
            Self { folder, binaries, listen, port, is_durable, child, environment: Mutex::default() };
        make_certificates(server.folder.path(), names);
        own(server.folder.path());
        for file in ["ca.crt", "server.crt", "server.key"] {
            own(&server.path(file));
        }
        server.run("initdb", |initdb| {
            initdb.args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--pgdata=data",
            ])
        });
        fs::write(
            server.path("data/pg_hba.conf"),
            "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\n",
        )
        .unwrap();
        server.start_again();
        server.psql(&format!("CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD '{ADMIN_PASSWORD}'"));
        fs::write(server.path("admin-password"), format!("{ADMIN_PASSWORD}\n")).unwrap();
        server
    }

    /// Starts the server again on the same port after [`Postgres::stop`], and waits until it answers.
    pub(crate) fn start_again(&self) {
        let listen = format!("listen_addresses={}", self.listen);
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let mut postgres = self.command("postgres");
        postgres.args(["-D", "data", "-p", &self.port.to_string()]);
        for setting in [&listen, &sockets] {
            postgres.args(["-c", setting]);
        }
        for setting in [
            "ssl=on",
            "ssl_cert_file=../server.crt",
            "ssl_key_file=../server.key",
            if self.is_durable { "fsync=on" } else { "fsync=off" },
            "max_connections=200",
            // The default since 14.
            "password_encryption=scram-sha-256",
            "max_prepared_transactions=20",
        ] {
            postgres.args(["-c", setting]);
        }
        let log = fs::File::create(self.path("log")).unwrap();
        postgres.stdout(Stdio::null()).stderr(log);
        let mut child = postgres.spawn().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while !self.is_ready() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("PostgreSQL ended with {status}: {}", log());
            }
            assert!(Instant::now() < deadline, "PostgreSQL is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        *self.child.lock().unwrap() = Some(child);
    }

    /// Starts the server again with these variables in its environment.
    pub(crate) fn start_again_with(&self, environment: &[(&'static str, &'static str)]) {
        self.stop();
        environment.clone_into(&mut self.environment.lock().unwrap());
        self.start_again();
    }

    /// Changes a setting that takes a new start.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        self.psql(&format!("ALTER SYSTEM SET {setting} = {value}"));
        self.stop();
        self.start_again();
    }

    /// Stops the server at once; the data stays.
    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // SIGQUIT is PostgreSQL's immediate shutdown: it takes its children along.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// Goes on at the address of another server, which stops, as after an upgrade.
    pub(crate) fn take_place_of(&mut self, other: &Self) {
        other.stop();
        self.stop();
        self.port = other.port;
        self.start_again();
    }

    /// Starts the server anew as a standby that follows nobody.
    pub(crate) fn demote(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // SIGINT is PostgreSQL's fast shutdown, with a checkpoint.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
        let signal = self.path("data/standby.signal");
        fs::write(&signal, "").unwrap();
        own(&signal);
        self.start_again();
    }

    /// Runs statements as the superuser over the local socket; answers the rows, columns parted by `|`.
    pub(crate) fn psql(&self, sql: &str) -> Vec<String> {
        self.psql_in("postgres", sql)
    }

    /// The same, in some database.
    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        psql.arg("-XAtq").args(["-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql]);
        psql.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        let output = psql.output().expect("psql: apt-get install postgresql");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// Begins a superuser's session with these statements and keeps it open, with the locks that they took.
    pub(crate) fn hold(&self, sql: &str) -> Held {
        self.hold_in("postgres", sql)
    }

    /// The same, in some database.
    pub(crate) fn hold_in(&self, database: &str, sql: &str) -> Held {
        let mut psql = Command::new("psql")
            .args(["-Xq", "-U", "postgres", "-d", database])
            .env("PGHOST", self.folder.path())
            .env("PGPORT", self.port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = psql.stdin.take().unwrap();
        writeln!(input, "{sql}").unwrap();
        Held { input, psql }
    }

    /// Opens a session of an application with this URL and keeps it.
    pub(crate) fn session(url: &str) -> Session {
        let psql = Command::new("psql")
            .args(["-Xq", url, "-c", "select pg_sleep(600)"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Session(psql)
    }

    /// Opens a session of an application with this URL, the server's certificate verified.
    pub(crate) async fn connect(&self, url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        connect(url, &self.ca_file()).await
    }

    /// Waits until a question, in SQL, is answered with true.
    pub(crate) async fn until(&self, question: &str) {
        self.until_in("postgres", question).await;
    }

    /// The same, in some database.
    pub(crate) async fn until_in(&self, database: &str, question: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while self.psql_in(database, question) != ["t"] {
            assert!(Instant::now() < deadline, "still not true: {question}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The major version.
    pub(crate) fn major(&self) -> u32 {
        let number: u32 = self.psql("SHOW server_version_num")[0].parse().unwrap();
        number / 10_000
    }

    /// Dumps all roles and databases, and restores them on another server.
    pub(crate) fn dump_into(&self, other: &Self) {
        let local = |program: &str, server: &Self| {
            let mut client = Command::new(program);
            client.args(["-U", "postgres"]).env("PGHOST", server.folder.path());
            client.env("PGPORT", server.port.to_string());
            client
        };
        let dump = local("pg_dumpall", self).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let file = other.path("dump.sql");
        let mut dump = String::from_utf8(dump.stdout).unwrap();
        if self.major() < 16 && other.major() >= 16 {
            // What the pg_dumpall of 16 and later does, since older servers have grantors that newer ones refuse.
            let grant = |line: &str| match line.split_once(" GRANTED BY ") {
                Some((grant, _)) if line.starts_with("GRANT ") => format!("{grant};\n"),
                _ => format!("{line}\n"),
            };
            dump = dump.lines().map(grant).collect();
        }
        fs::write(&file, dump).unwrap();
        // Roles that both servers have are in the dump, too.
        let restored = local("psql", other).args(["-Xq", "-d", "postgres", "-f"]).arg(file).output().unwrap();
        let errors = String::from_utf8_lossy(&restored.stderr);
        let unexpected: Vec<_> = errors
            .lines()
            .filter(|line| line.contains("ERROR") && !line.contains("already exists"))
            .collect();
        assert!(restored.status.success() && unexpected.is_empty(), "{unexpected:?}");
    }

    /// The TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the local socket.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The CA of the server's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// A file with the administrator's password; tests may rewrite it.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.path("admin-password")
    }

    /// From now on logins but the administrator's need a client certificate; answers the files of the authority that signs
    /// them, certificate and key.
    pub(crate) fn want_certificates(&self) -> (PathBuf, PathBuf) {
        self.want(&format!("hostssl all {ADMIN} all scram-sha-256\n"))
    }

    /// The same, and the administrator's login needs one, too.
    pub(crate) fn want_certificates_of_all(&self) -> (PathBuf, PathBuf) {
        self.want("")
    }

    /// Makes a client's key and a certificate for it, of this authority and for this name.
    pub(crate) fn client_certificate(
        (ca, ca_key): &(PathBuf, PathBuf),
        name: &str,
        certificate_file: &Path,
        key_file: &Path,
    ) {
        let ca_key = KeyPair::from_pem(&fs::read_to_string(ca_key).unwrap()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(ca).unwrap(), ca_key).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(certificate_file, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(key_file, key.serialize_pem()).unwrap();
    }

    fn want(&self, but: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "clients");
        let files = (self.path("clients.crt"), self.path("clients.key"));
        fs::write(&files.0, ca.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        own(&files.0);
        let hba = format!("local all postgres trust\n{but}hostssl all all all cert\n");
        fs::write(self.path("data/pg_hba.conf"), hba).unwrap();
        self.psql(&format!("ALTER SYSTEM SET ssl_ca_file = '{}'", files.0.display()));
        self.psql("SELECT pg_reload_conf()");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn is_ready(&self) -> bool {
        let mut is_ready = Command::new("pg_isready");
        is_ready.arg("-q").arg("-h").arg(self.folder.path()).args(["-p", &self.port.to_string()]);
        is_ready.status().unwrap().success()
    }

    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) {
        let mut command = self.command(program);
        let output = arguments(&mut command).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program of the server, in its folder; PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let environment = self.environment.lock().unwrap().clone();
        // A library that is loaded first would make files as root otherwise.
        let mut command = as_nobody(Path::new("env"));
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(self.binaries.join(program));
        command.current_dir(self.folder.path());
        command
    }
}

/// A program that refuses to run as root.
pub(crate) fn as_nobody(program: &Path) -> Command {
    let Some((user, group)) = postgres_user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    command.arg(program);
    command
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Opens a session with this URL at a server that has a certificate of this authority.
pub(crate) async fn connect(
    url: &str,
    ca_file: &Path,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, connection) = tokio_postgres::connect(url, MakeRustlsConnect::new(tls)).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A session of the superuser, kept open.
pub(crate) struct Held {
    input: ChildStdin,
    psql: Child,
}

impl Held {
    /// Ends the session; its locks are released.
    pub(crate) fn release(mut self) {
        drop(self.input);
        self.psql.wait().unwrap();
    }
}

/// A session of an application that only waits.
pub(crate) struct Session(Child);

impl Session {
    /// Waits until the session ends.
    pub(crate) async fn ended(mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the session goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binaries() -> PathBuf {
    match env::var("BINDERY_TEST_POSTGRES") {
        Ok(major) => fetched(&major),
        Err(_) => packaged(),
    }
}

/// What `tests/preflight` fetched.
fn fetched(major: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
    let found = target.join(format!("servers/postgresql-{major}/native/bin"));
    assert!(
        found.join("initdb").exists(),
        "PostgreSQL {major} is missing: tests/preflight postgresql-{major}"
    );
    // The user that servers run as may not be able to follow a link from here.
    found.canonicalize().unwrap()
}

/// Debian keeps each version's programs in a folder of its own.
fn packaged() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    found.max().expect("PostgreSQL is not installed: apt-get install postgresql")
}

/// The user to run as when the test runs as root.
fn postgres_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .expect("user postgres: apt-get install postgresql")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

pub(crate) fn own(path: &Path) {
    if let Some((user, group)) = postgres_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn make_certificates(folder: &Path, names: &[&str]) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(folder.join("ca.crt"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut server = CertificateParams::new(names).unwrap();
    // Not the authority's name, or OpenSSL takes the certificate for a self-signed one.
    server.distinguished_name.push(DnType::CommonName, "PostgreSQL");
    let certificate = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("server.crt"), certificate.pem()).unwrap();
    let key_file = folder.join("server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
