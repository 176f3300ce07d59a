//! A private MariaDB for tests: a temporary folder, TLS with a new CA, and an administrator with exactly the grants in
//! `docs/databases.md`. It is stopped when dropped. The version is that of Debian's package, or
//! `BINDERY_TEST_MARIADB=11` selects the one that `tests/preflight mariadb-11` downloads.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    certificates::Authority,
    platform::text,
    process::{Environment, PackageUser, Session, until, wait_until_ready},
    target_folder::in_target,
};

/// The administrator.
pub const ADMIN: &str = "bindery";
/// The administrator's password.
pub const ADMIN_PASSWORD: &str = "the-administrators-password";

/// The statements that `docs/databases.md` tells operators to run.
const GRANTS: &str = r"
    GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO 'bindery'@'%';
    GRANT SELECT (User, Host) ON mysql.user TO 'bindery'@'%';
    GRANT ALL PRIVILEGES ON `cf\_%`.* TO 'bindery'@'%' WITH GRANT OPTION;
    GRANT ALL PRIVILEGES ON `bindery\_%`.* TO 'bindery'@'%';";

const MYSQL: PackageUser = PackageUser { name: "mysql", package: "mariadb-server" };

/// A running server.
pub struct MariaDb {
    folder: TempDir,
    listen: String,
    port: u16,
    is_durable: bool,
    child: Mutex<Option<Child>>,
    environment: Mutex<Environment>,
}

impl MariaDb {
    /// The server that most tests of a suite share. It lives as long as one of them runs.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start("127.0.0.1"));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server whose certificate has this name. It does not wait for the disk.
    pub fn start(name: &str) -> Self {
        Self::start_with("127.0.0.1", name, false)
    }

    /// Starts a server at an address of this machine, such as one that pods reach, whose certificate has this address.
    pub fn start_at(address: &str) -> Self {
        Self::start_with(address, address, false)
    }

    /// Starts a server that waits for the disk, as in production.
    pub fn start_durable(name: &str) -> Self {
        Self::start_with("127.0.0.1", name, true)
    }

    fn start_with(listen: &str, name: &str, is_durable: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-mariadb-").tempdir().unwrap();
        let port = TcpListener::bind((listen, 0)).unwrap().local_addr().unwrap().port();
        let (listen, child) = (listen.to_owned(), Mutex::default());
        let server = Self { folder, listen, port, is_durable, child, environment: Mutex::default() };
        let (certificate, key) = (server.path("server.crt"), server.path("server.key"));
        let authority = Authority::create("tests", &server.ca_file());
        authority.issue("MariaDB", &[name], &certificate, &key);
        let [client_certificate, client_key] = server.client_files();
        authority.issue(ADMIN, &[], &client_certificate, &client_key);
        for path in [server.folder.path(), &server.ca_file(), &certificate, &key] {
            MYSQL.own(path);
        }
        let mut install = server.command("scripts/mariadb-install-db");
        install.arg("--no-defaults");
        if let Some(fetched) = fetched() {
            install.arg(format!("--basedir={}", fetched.display()));
        }
        let output = install
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", server.path("data").display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        server.start_again();
        server.root(&format!(
            "CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{ADMIN_PASSWORD}' REQUIRE SSL;{GRANTS}"
        ));
        fs::write(server.path("admin-password"), format!("{ADMIN_PASSWORD}\n")).unwrap();
        server
    }

    /// Restarts the server on the same port after [`MariaDb::stop`], and waits until it answers.
    pub fn start_again(&self) {
        let at = |option: &str, name: &str| format!("--{option}={}", self.path(name).display());
        let log = fs::File::create(self.path("log")).unwrap();
        let mut server = self.command("bin/mariadbd");
        server.arg("--no-defaults");
        if let Some(fetched) = fetched() {
            server.arg(format!("--basedir={}", fetched.display()));
        }
        let mut child = server
            .args([at("datadir", "data"), at("socket", "socket"), format!("--port={}", self.port)])
            .args([at("ssl-ca", "ca.crt"), at("ssl-cert", "server.crt"), at("ssl-key", "server.key")])
            .args([
                "--skip-name-resolve",
                "--max-connections=200",
                &format!("--bind-address={}", self.listen),
            ])
            // Commits survive a crash of the server, and with `is_durable` a crash of the machine.
            .arg(format!("--innodb-flush-log-at-trx-commit={}", if self.is_durable { 1 } else { 2 }))
            .arg("--innodb-buffer-pool-size=16M")
            .args(["--event-scheduler=ON", "--general-log=ON", &at("general-log-file", "statements")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_until_ready("MariaDB", &mut child, &self.path("log"), || self.is_ready());
        *self.child.lock().unwrap() = Some(child);
    }

    /// Restarts the server with these environment variables.
    pub fn start_again_with(&self, environment: &[(&'static str, &'static str)]) {
        self.stop();
        environment.clone_into(&mut self.environment.lock().unwrap());
        self.start_again();
    }

    /// Stops the server at once, as in a crash; the data is preserved.
    pub fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs statements as root over the local socket. Returns the rows, with columns separated by tabs.
    pub fn root(&self, sql: &str) -> Vec<String> {
        let mut client = self.root_client();
        rows(client.args(["-e", sql])).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs statements as an application that verifies the server's certificate. Returns the rows or the error.
    pub fn query(&self, credentials: &Value, sql: &str) -> Result<Vec<String>, String> {
        rows(self.client(credentials).args(["-e", sql]))
    }

    /// Runs one statement that contains others.
    pub fn define(&self, credentials: &Value, sql: &str) {
        let defined = rows(self.client(credentials).args(["--delimiter=//", "-e", sql]));
        defined.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs statements as an application without TLS.
    pub fn query_plainly(credentials: &Value, sql: &str) -> Result<Vec<String>, String> {
        rows(plain_client(credentials).args(["--skip-ssl", "-e", sql]))
    }

    /// Whether the server refuses the credentials; another error fails the test.
    pub fn is_refused(&self, credentials: &Value) -> bool {
        match self.query(credentials, "SELECT 1") {
            Ok(_) => false,
            // Access denied, or MariaDB's error for a locked account.
            Err(error) => {
                assert!(error.contains("ERROR 1045") || error.contains("ERROR 4151"), "{error}");
                true
            }
        }
    }

    /// Opens an application's session, which lasts until the server ends it.
    pub async fn session(&self, credentials: &Value) -> Session {
        self.session_with(credentials, "SELECT SLEEP(600)").await
    }

    /// Opens an application's session with a slow statement.
    pub async fn session_with(&self, credentials: &Value, sql: &str) -> Session {
        let login = credentials["username"].as_str().unwrap();
        let count = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{login}'");
        let before: u32 = self.root(&count)[0].parse().unwrap();
        let mut client = self.client(credentials);
        client.args(["-e", sql]).stdin(Stdio::null()).stdout(Stdio::null());
        let session = Session(client.stderr(Stdio::null()).spawn().unwrap());
        self.until(&format!("SELECT ({count}) > {before}")).await;
        session
    }

    /// Opens a session of root in a database, which runs these statements and then waits.
    pub async fn hold(&self, database: &str, sql: &str) -> Session {
        let mut client = self.root_client();
        client.args([database, "-e", &format!("{sql}; SELECT SLEEP(600)")]);
        let session = Session(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'";
        self.until(&format!("{waits} AND DB = '{database}'")).await;
        session
    }

    /// Waits until this SQL query returns 1.
    pub async fn until(&self, question: &str) {
        until(question, || self.root(question) == ["1"]).await;
    }

    /// The statements in the server's general log.
    pub fn statements(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("statements")).unwrap()).into_owned()
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The CA of the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// A certificate of the same CA for the administrator, and its key.
    pub fn client_files(&self) -> [PathBuf; 2] {
        ["client.crt", "client.key"].map(|name| self.path(name))
    }

    /// A file with the administrator's password; tests may rewrite it.
    pub fn password_file(&self) -> PathBuf {
        self.path("admin-password")
    }

    /// What still exists of the credentials' database, logins, rights and marks.
    pub fn left_of(&self, credentials: &[&Value]) -> Vec<String> {
        let names: Vec<_> = credentials.iter().map(|each| format!("'{}'", text(each, "username"))).collect();
        let (database, names) = (text(credentials[0], "database"), names.join(", "));
        let mut left = self.root(&format!(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{database}' \
             UNION ALL SELECT User FROM mysql.user WHERE User IN ({names}) \
             UNION ALL SELECT User FROM mysql.db WHERE User IN ({names}) OR REPLACE(Db, '\\\\', '') = '{database}'"
        ));
        left.extend(self.marks("name", database));
        left
    }

    /// The administrator's credentials.
    pub fn administrator(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.port().to_string(), "username": ADMIN, "password": ADMIN_PASSWORD,
            "database": "information_schema"})
    }

    /// A column of the marks of a database or login, in all installations.
    pub fn marks(&self, column: &str, of: &str) -> Vec<String> {
        let schemas = self.root(
            "SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = 'marks' AND TABLE_SCHEMA LIKE 'bindery%'",
        );
        let rows = |schema| {
            self.root(&format!("SELECT {column} FROM {schema}.marks WHERE '{of}' IN (name, database_name)"))
        };
        schemas.iter().flat_map(rows).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root_client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-BN", "-uroot"]);
        client.arg(format!("--socket={}", self.path("socket").display()));
        client
    }

    fn client(&self, credentials: &Value) -> Command {
        let mut client = plain_client(credentials);
        client
            .args([format!("--ssl-ca={}", self.ca_file().display()), "--ssl-verify-server-cert".to_owned()]);
        client
    }

    fn is_ready(&self) -> bool {
        rows(self.root_client().args(["-e", "SELECT 1"])).is_ok()
    }

    /// A program of the server, by its path below the server's folder. MariaDB refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = match fetched() {
            Some(fetched) => fetched.join(program),
            None => Path::new(program).file_name().map(PathBuf::from).unwrap(),
        };
        let mut command = MYSQL.command(&program, &self.environment.lock().unwrap());
        // A starting server deletes the temporary tables of all servers with the same temporary folder.
        command.current_dir(self.folder.path()).env("TMPDIR", self.folder.path());
        command
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the server that `tests/preflight` downloaded, if it is selected.
fn fetched() -> Option<PathBuf> {
    let major = env::var("BINDERY_TEST_MARIADB").ok()?;
    let found = in_target(&format!("servers/mariadb-{major}"));
    assert!(found.join("release").exists(), "MariaDB {major} is missing: tests/preflight mariadb-{major}");
    // The user that runs servers may lack access to the symbolic link.
    Some(found.canonicalize().unwrap())
}

fn plain_client(credentials: &Value) -> Command {
    let text = |key: &str| credentials[key].as_str().unwrap();
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "-BN", "--protocol=tcp"]);
    client.args(["-h", text("host"), "-P", text("port"), "-u", text("username"), text("database")]);
    client.env("MYSQL_PWD", text("password"));
    client
}

fn rows(client: &mut Command) -> Result<Vec<String>, String> {
    let output = client.output().expect("mariadb: apt-get install mariadb-client");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
