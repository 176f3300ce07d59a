//! A private PostgreSQL for tests: a temporary folder, TLS with a new CA, passwords by SCRAM, and an administrator who
//! is not a superuser. It is stopped when dropped. Shared by the suites. The version is that of Debian's package.
//! `BINDERY_TEST_POSTGRES=18` selects another one, and so may a single test; `tests/preflight postgresql-18` downloads
//! it.

mod client_certificates;
mod sessions;
mod versions;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
};

use tempfile::TempDir;

pub use self::sessions::{Held, connect};
use self::versions::{binaries, fetched};
use crate::{
    certificates::Authority,
    process::{Environment, PackageUser, until, wait_until_ready},
};

/// The administrator: CREATEROLE and CREATEDB, nothing else.
pub const ADMIN: &str = "bindery";
/// The administrator's password.
pub const ADMIN_PASSWORD: &str = "the-administrators-password";

const POSTGRES: PackageUser = PackageUser { name: "postgres", package: "postgresql" };

/// A running server.
pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    listen: String,
    port: u16,
    is_durable: bool,
    child: Mutex<Option<Child>>,
    environment: Mutex<Environment>,
}

impl Postgres {
    /// The server that most tests of a suite share. It lives as long as one of them runs.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start("127.0.0.1", &["127.0.0.1"]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server on `listen` (an address, or `*`) whose certificate has these names. It does not wait for the
    /// disk.
    pub fn start(listen: &str, names: &[&str]) -> Self {
        Self::start_with(binaries(), listen, names, false)
    }

    /// Starts a server of this major version on 127.0.0.1.
    pub fn version(major: u32) -> Self {
        Self::start_with(fetched(&major.to_string()), "127.0.0.1", &["127.0.0.1"], false)
    }

    /// Starts a server that waits for the disk, as in production.
    pub fn start_durable(listen: &str, names: &[&str]) -> Self {
        Self::start_with(binaries(), listen, names, true)
    }

    fn start_with(binaries: PathBuf, listen: &str, names: &[&str], is_durable: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-postgres-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (listen, child) = (listen.to_owned(), Mutex::default());
        let server =
            Self { folder, binaries, listen, port, is_durable, child, environment: Mutex::default() };
        let (certificate, key) = (server.path("server.crt"), server.path("server.key"));
        Authority::create("tests", &server.ca_file()).issue("PostgreSQL", names, &certificate, &key);
        for path in [server.folder.path(), &server.ca_file(), &certificate, &key] {
            POSTGRES.own(path);
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

    /// Restarts the server on the same port after [`Postgres::stop`], and waits until it answers.
    pub fn start_again(&self) {
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
            // The default since version 14.
            "password_encryption=scram-sha-256",
            "max_prepared_transactions=20",
        ] {
            postgres.args(["-c", setting]);
        }
        let log = fs::File::create(self.path("log")).unwrap();
        postgres.stdout(Stdio::null()).stderr(log);
        let mut child = postgres.spawn().unwrap();
        wait_until_ready("PostgreSQL", &mut child, &self.path("log"), || self.is_ready());
        *self.child.lock().unwrap() = Some(child);
    }

    /// Restarts the server with these environment variables.
    pub fn start_again_with(&self, environment: &[(&'static str, &'static str)]) {
        self.stop();
        environment.clone_into(&mut self.environment.lock().unwrap());
        self.start_again();
    }

    /// Changes a setting that requires a restart.
    pub fn set(&self, setting: &str, value: &str) {
        self.psql(&format!("ALTER SYSTEM SET {setting} = {value}"));
        self.stop();
        self.start_again();
    }

    /// Stops the server at once; the data is preserved.
    pub fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // SIGQUIT is PostgreSQL's immediate shutdown, which also ends its child processes.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// Runs statements as the superuser over the local socket. Returns the rows, with columns separated by `|`.
    pub fn psql(&self, sql: &str) -> Vec<String> {
        self.psql_in("postgres", sql)
    }

    /// Runs statements as the superuser in this database.
    pub fn psql_in(&self, database: &str, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        psql.arg("-XAtq").args(["-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql]);
        psql.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        let output = psql.output().expect("psql: apt-get install postgresql");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the local socket.
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The CA of the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// A file with the administrator's password; tests may rewrite it.
    pub fn password_file(&self) -> PathBuf {
        self.path("admin-password")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How often the server has logged this text since its start.
    pub fn times_logged(&self, text: &str) -> usize {
        fs::read_to_string(self.path("log")).unwrap().matches(text).count()
    }

    /// Waits until the server has logged this text more than this number of times.
    pub async fn logs_more(&self, text: &str, times: usize) {
        until(text, || self.times_logged(text) > times).await;
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

    /// A program of the server, run in its folder. PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let mut command = POSTGRES.command(&self.binaries.join(program), &self.environment.lock().unwrap());
        command.current_dir(self.folder.path());
        command
    }
}

/// A program that refuses to run as root, such as a pooler.
pub fn as_nobody(program: &Path) -> Command {
    POSTGRES.command(program, &Environment::new())
}

/// Gives a file or folder to the user of [`as_nobody`].
pub fn own(path: &Path) {
    POSTGRES.own(path);
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
