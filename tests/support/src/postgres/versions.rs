//! Servers of other versions, and changes of a server: an upgrade, a dump and restore, a standby without a primary.

use std::{env, fs, path::PathBuf, process::Command};

use super::{POSTGRES, Postgres};
use crate::target_folder::in_target;

impl Postgres {
    /// The major version.
    pub fn major(&self) -> u32 {
        let number: u32 = self.psql("SHOW server_version_num")[0].parse().unwrap();
        number / 10_000
    }

    /// Dumps all roles and databases, and restores them on another server.
    pub fn dump_into(&self, other: &Self) {
        let local = |program: &str, server: &Self| {
            let mut client = Command::new(program);
            client.args(["-U", "postgres"]).env("PGHOST", server.sockets());
            client.env("PGPORT", server.port().to_string());
            client
        };
        let dump = local("pg_dumpall", self).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let file = other.path("dump.sql");
        let mut dump = String::from_utf8(dump.stdout).unwrap();
        if self.major() < 16 && other.major() >= 16 {
            // pg_dumpall of version 16 and later does the same, since older servers have grantors that newer ones
            // refuse.
            let grant = |line: &str| match line.split_once(" GRANTED BY ") {
                Some((grant, _)) if line.starts_with("GRANT ") => format!("{grant};\n"),
                _ => format!("{line}\n"),
            };
            dump = dump.lines().map(grant).collect();
        }
        fs::write(&file, dump).unwrap();
        // The dump contains roles that both servers have.
        let restored = local("psql", other).args(["-Xq", "-d", "postgres", "-f"]).arg(file).output().unwrap();
        let errors = String::from_utf8_lossy(&restored.stderr);
        let unexpected: Vec<_> = errors
            .lines()
            .filter(|line| line.contains("ERROR") && !line.contains("already exists"))
            .collect();
        assert!(restored.status.success() && unexpected.is_empty(), "{unexpected:?}");
    }

    /// Replaces another server at its address, and stops that server, as in an upgrade.
    pub fn take_place_of(&mut self, other: &Self) {
        other.stop();
        self.stop();
        self.port = other.port;
        self.start_again();
    }

    /// Restarts the server as a standby without a primary.
    pub fn demote(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // SIGINT is PostgreSQL's fast shutdown, with a checkpoint.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
        let signal = self.path("data/standby.signal");
        fs::write(&signal, "").unwrap();
        POSTGRES.own(&signal);
        self.start_again();
    }
}

pub(super) fn binaries() -> PathBuf {
    match env::var("BINDERY_TEST_POSTGRES") {
        Ok(major) => fetched(&major),
        Err(_) => packaged(),
    }
}

/// The programs that `tests/preflight` downloaded.
pub(super) fn fetched(major: &str) -> PathBuf {
    let found = in_target(&format!("servers/postgresql-{major}/native/bin"));
    assert!(
        found.join("initdb").exists(),
        "PostgreSQL {major} is missing: tests/preflight postgresql-{major}"
    );
    // The user that runs servers may lack access to the symbolic link.
    found.canonicalize().unwrap()
}

/// The programs of Debian's package, which has a separate folder for each version.
fn packaged() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    found.max().expect("PostgreSQL is not installed: apt-get install postgresql")
}
