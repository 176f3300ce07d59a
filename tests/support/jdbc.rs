//! Java applications for tests: a program that connects with a `jdbcURL`, by drivers from Maven Central that `tests/preflight
//! jdbc` puts below the target folder.
#![allow(dead_code, reason = "each suite uses its part")]

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A driver; its archive's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver(&'static str);

/// pgjdbc.
pub(crate) const PGJDBC: Driver = Driver("postgresql");
/// MySQL Connector/J.
pub(crate) const MYSQL: Driver = Driver("mysql-connector-j");
/// MariaDB Connector/J.
pub(crate) const MARIADB: Driver = Driver("mariadb-java-client");

impl Driver {
    /// Connects; answers who is logged in, whether encrypted, and by which driver, or the error.
    pub(crate) fn connect(self, url: &str) -> Result<String, String> {
        self.run(url, &[])
    }

    /// The same in a JVM that trusts this CA and no other.
    pub(crate) fn connect_trusting(self, ca: &Path, url: &str) -> Result<String, String> {
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
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/jdbc/Connect.java");
        let archive = drivers().join(self.0).with_extension("jar");
        assert!(archive.exists(), "{}: run tests/preflight jdbc", archive.display());
        let mut java = Command::new("java");
        // It does not run for long enough to be worth more.
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

fn drivers() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| manifest.join("target"), |target| manifest.join(target))
        .join("jdbc")
}
