//! A private RabbitMQ for tests: a temporary folder, TLS with a new CA, and an administrator. It is stopped when dropped.
//! Applications are programs with the client pika.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    certificates::Authority,
    process::wait_until_ready,
    target_folder::{in_target, repository},
};

/// The administrator of the server, who is not the master user of an instance.
const ROOT: &str = "root";
const ROOT_PASSWORD: &str = "the-administrators-password";
/// Where Debian's package has the program. The wrapper on the PATH runs only as one user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A running server.
pub struct RabbitMq {
    folder: TempDir,
    amqp: u16,
    management: u16,
    /// The name server of Erlang, which the server would otherwise start for good.
    epmd: Child,
    server: Mutex<Option<Child>>,
    environment: Vec<(&'static str, String)>,
}

impl RabbitMq {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-rabbitmq-").tempdir().unwrap();
        let [amqp, management, distribution, names] = free_ports();
        let at = |name: &str| folder.path().join(name);
        let authority = Authority::create("tests", &at("ca.crt"));
        authority.issue("RabbitMQ", &["127.0.0.1"], &at("server.crt"), &at("server.key"));
        let tls = |of: &str| {
            ["cacertfile = ca.crt", "certfile = server.crt", "keyfile = server.key"].map(|file| {
                let (key, file) = file.split_once(" = ").unwrap();
                format!("{of}.{key} = {}\n", at(file).display())
            })
        };
        let settings = format!(
            "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{amqp}\nmanagement.ssl.ip = 127.0.0.1\n\
             management.ssl.port = {management}\ndefault_user = {ROOT}\ndefault_pass = {ROOT_PASSWORD}\n\
             log.file = false\nlog.console = true\n{}{}",
            tls("ssl_options").concat(),
            tls("management.ssl").concat(),
        );
        fs::write(at("rabbitmq.conf"), settings).unwrap();
        fs::write(at("plugins"), "[rabbitmq_management].").unwrap();
        fs::write(at("none.conf"), "").unwrap();
        let path = |name: &str| at(name).display().to_string();
        let environment = vec![
            ("HOME", path("")),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", names.to_string()),
            ("RABBITMQ_NODENAME", format!("tests-{amqp}@localhost")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_CONF_ENV_FILE", path("none.conf")),
        ];
        let epmd = Command::new("epmd")
            .envs(environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd; run tests/preflight rabbitmq");
        let server = Self { folder, amqp, management, epmd, server: Mutex::default(), environment };
        server.start_again();
        server
    }

    /// Restarts the server on the same ports after [`RabbitMq::stop`], and waits until it answers.
    pub fn start_again(&self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut child = Command::new(PROGRAM)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // The program is a script: the server is a process of the same group.
            .process_group(0)
            .spawn()
            .expect("rabbitmq-server; run tests/preflight rabbitmq");
        let is_ready = || self.ask("GET", "/api/whoami", None).0 == 200;
        wait_until_ready("RabbitMQ", &mut child, &self.path("log"), is_ready);
        *self.server.lock().unwrap() = Some(child);
    }

    /// Stops the server at once; the data is preserved.
    pub fn stop(&self) {
        if let Some(mut child) = self.server.lock().unwrap().take() {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = child.wait();
        }
    }

    /// The file with the CA's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// What the emulator of AWS needs to know.
    pub fn as_message_broker(&self) -> Value {
        json!({"amqp": format!("amqps://127.0.0.1:{}", self.amqp), "management": self.url(""), "user": ROOT,
            "password": ROOT_PASSWORD})
    }

    /// Sends a request of the administrator. Returns the status and the body.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "10", "--write-out", "\n%{http_code}", "--request", method]);
        curl.arg("--cacert").arg(self.ca_file()).args(["--user", &format!("{ROOT}:{ROOT_PASSWORD}")]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data", &body.to_string()]);
        }
        let output = curl.arg(self.url(path)).output().expect("curl");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// Lets an application act with a binding's credentials: `declare QUEUE`, `send QUEUE TEXT` or `receive QUEUE`. Returns
    /// what it prints, or its error.
    pub fn act(&self, credentials: &Value, action: &[&str]) -> Result<String, String> {
        let output = self.application(credentials, action).output().unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Opens an application's connection, which lasts until the server closes it.
    pub fn hold(&self, credentials: &Value) -> Held {
        let mut child = self.application(credentials, &["hold", "-"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "connected");
        Held { child, output }
    }

    fn application(&self, credentials: &Value, action: &[&str]) -> Command {
        let mut python = Command::new(in_target("venv/bin/python"));
        python.arg(repository().join("tests/support/aws/amqp.py"));
        python.arg(credentials["uri"].as_str().unwrap()).arg(self.ca_file()).args(action);
        python
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.management)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.stop();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

/// An open connection.
pub struct Held {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Waits until the server closes the connection. Returns the server's reason.
    pub fn closed(mut self) -> String {
        let mut reason = String::new();
        self.output.read_line(&mut reason).unwrap();
        assert!(self.child.wait().unwrap().success());
        reason
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
