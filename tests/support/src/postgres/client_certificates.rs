//! Logins by client certificate.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{ADMIN, POSTGRES, Postgres};
use crate::certificates::Authority;

impl Postgres {
    /// Requires a client certificate for all logins except the administrator's. Returns the files of the CA that signs
    /// them, certificate and key.
    pub fn want_certificates(&self) -> (PathBuf, PathBuf) {
        self.want(&format!("hostssl all {ADMIN} all scram-sha-256\n"))
    }

    /// Requires a client certificate for all logins, including the administrator's.
    pub fn want_certificates_of_all(&self) -> (PathBuf, PathBuf) {
        self.want("")
    }

    /// Creates a client's key, and a certificate of this CA for this name.
    pub fn client_certificate(
        authority: &(PathBuf, PathBuf),
        name: &str,
        certificate_file: &Path,
        key_file: &Path,
    ) {
        Authority::open(authority).issue(name, &[], certificate_file, key_file);
    }

    fn want(&self, but: &str) -> (PathBuf, PathBuf) {
        let files = (self.path("clients.crt"), self.path("clients.key"));
        Authority::create("clients", &files.0).write_key(&files.1);
        POSTGRES.own(&files.0);
        let hba = format!("local all postgres trust\n{but}hostssl all all all cert\n");
        fs::write(self.path("data/pg_hba.conf"), hba).unwrap();
        self.psql(&format!("ALTER SYSTEM SET ssl_ca_file = '{}'", files.0.display()));
        self.psql("SELECT pg_reload_conf()");
        files
    }
}
