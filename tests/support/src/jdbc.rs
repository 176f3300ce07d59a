//! Java applications for tests: a program that connects with a `jdbcURL`, by drivers from Maven Central that
//! `tests/preflight jdbc` puts below the target folder.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::target_folder::in_target;

/// A driver, by the name of its archive.
#[derive(Clone, Copy, Debug)]
pub struct Driver(&'static str);

/// pgjdbc.
pub const PGJDBC: Driver = Driver("postgresql");
/// MySQL Connector/J.
pub const MYSQL: Driver = Driver("mysql-connector-j");
/// MariaDB Connector/J.
pub const MARIADB: Driver = Driver("mariadb-java-client");

impl Driver {
    /// Connects. Returns the user, whether the connection is encrypted, and the driver; or the error.
    pub fn connect(self, url: &str) -> Result<String, String> {
        self.run(url, &[])
    }

    /// Connects in a JVM that trusts only this CA.
    pub fn connect_trusting(self, ca: &Path, url: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("trusted");
        let mut keytool = Command::new("keytool");
        keytool.args(["-importcert", "-noprompt", "-alias", "ca", "-storepass", "changeit", "-file"]);
        let output = keytool.arg(ca).arg("-keystore").arg(&store).output().expect("run tests/preflight jdbc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let store = format!("-Djavax.net.ssl.trustStore={}", store.display());
        self.run(url, &[&store, "-Djavax.net.ssl.trustStorePassword=changeit"])
    }

    fn run(self, url: &str, options: &[&str]) -> Result<String, String> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/jdbc/Connect.java");
        let archive = in_target("jdbc").join(self.0).with_extension("jar");
        assert!(archive.exists(), "{}: run tests/preflight jdbc", archive.display());
        let mut java = Command::new("java");
        // The program runs too briefly for more optimization.
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]).args(options);
        java.arg("--class-path").arg(archive).arg(program);
        java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut java = java.spawn().expect("run tests/preflight jdbc");
        java.stdin.take().unwrap().write_all(url.as_bytes()).unwrap();
        let output = java.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}
