//! Sessions: a superuser's with locks, applications' that only wait, and those with a binding's URL.

use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Postgres;
use crate::process::{Session, until};

impl Postgres {
    /// Opens a superuser's session, runs these statements, and keeps it open with its locks.
    pub fn hold(&self, sql: &str) -> Held {
        self.hold_in("postgres", sql)
    }

    /// Opens the same session in this database.
    pub fn hold_in(&self, database: &str, sql: &str) -> Held {
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

    /// Opens an application's session with this URL and keeps it open.
    pub fn session(url: &str) -> Session {
        let psql = Command::new("psql")
            .args(["-Xq", url, "-c", "select pg_sleep(600)"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Session(psql)
    }

    /// Opens an application's session with this URL, and verifies the server's certificate.
    pub async fn connect(&self, url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        connect(url, &self.ca_file()).await
    }

    /// Waits until this SQL query returns true.
    pub async fn until(&self, question: &str) {
        self.until_in("postgres", question).await;
    }

    /// Waits until this SQL query returns true in this database.
    pub async fn until_in(&self, database: &str, question: &str) {
        until(question, || self.psql_in(database, question) == ["t"]).await;
    }
}

/// Opens a session with this URL at a server whose certificate is from this CA.
pub async fn connect(url: &str, ca_file: &Path) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
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

/// An open session of the superuser.
pub struct Held {
    input: ChildStdin,
    psql: Child,
}

impl Held {
    /// Ends the session, which releases its locks.
    pub fn release(mut self) {
        drop(self.input);
        self.psql.wait().unwrap();
    }
}
