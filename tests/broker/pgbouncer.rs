//! A private `PgBouncer` from Debian's package in front of a server. It is stopped when dropped.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::postgres::{ADMIN, ADMIN_PASSWORD, Postgres, as_nobody, own};

const TIMEOUT: Duration = Duration::from_mins(1);

/// A running pooler.
pub(crate) struct PgBouncer {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts the pooler with these settings in addition to the address.
    pub(crate) fn start(server: &Postgres, settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-pgbouncer-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (users, file) = (folder.path().join("users.txt"), folder.path().join("pgbouncer.ini"));
        fs::write(&users, format!("\"{ADMIN}\" \"{ADMIN_PASSWORD}\"\n")).unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nserver_tls_sslmode = require\n{settings}\n",
            server.port(),
            users.display()
        );
        fs::write(&file, text).unwrap();
        for path in [folder.path(), &users, &file] {
            own(path);
        }
        let mut pgbouncer = as_nobody(Path::new("/usr/sbin/pgbouncer"));
        pgbouncer.arg("--quiet").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pgbouncer.spawn().expect("tests/preflight pgbouncer");
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, child, _folder: folder }
    }

    /// The TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
