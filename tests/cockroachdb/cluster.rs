//! The cluster under test, and direct access to it without bindery.

use std::{
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, Once},
};

use tempfile::TempDir;
use tokio_postgres::{Client, Error, error::SqlState};

use crate::{
    platform::{Platform, SERVICE},
    postgres::{self, ADMIN, ADMIN_PASSWORD, Postgres},
    real::{self, CockroachDb},
    stand_in::{SYSTEM, StandIn},
};

/// `stand-in` or `real`; if it is unset, a real CockroachDB is used if there is one.
const CHOICE: &str = "BINDERY_TEST_COCKROACH";

/// The cluster under test.
pub(crate) struct Cluster {
    kind: Kind,
    host: String,
    port: u16,
    ca_file: PathBuf,
    folder: TempDir,
}

enum Kind {
    StandIn(StandIn, Arc<Postgres>),
    Real(Arc<CockroachDb>),
}

impl Cluster {
    /// Opens the cluster of a test, with an administrator as in docs/broker.md.
    pub(crate) async fn open() -> Self {
        let wants_real = match std::env::var(CHOICE).as_deref() {
            Ok("stand-in") => false,
            Ok("real") => true,
            _ => real::is_there(),
        };
        if wants_real {
            return Self::real().await;
        }
        say_once(
            "CockroachDB was NOT tested here: this ran on the stand-in for it, a PostgreSQL behind a list of statements",
        );
        Self::stand_in_before(Postgres::shared())
    }

    /// Opens the stand-in, even if there is a real CockroachDB: for tests of the stand-in itself, and for faults.
    pub(crate) fn stand_in_before(server: Arc<Postgres>) -> Self {
        equip(&server);
        let stand_in = StandIn::before(server.sockets(), server.port());
        let (port, ca_file) = (stand_in.port(), stand_in.ca_file());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), ADMIN_PASSWORD).unwrap();
        Self { kind: Kind::StandIn(stand_in, server), host: "127.0.0.1".to_owned(), port, ca_file, folder }
    }

    async fn real() -> Self {
        let cluster = CockroachDb::shared();
        say_once(&format!("this runs on the CockroachDB at {}", cluster.url.host_str().unwrap()));
        let (host, port) = (cluster.url.host_str().unwrap().to_owned(), cluster.url.port().unwrap_or(26257));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), ADMIN_PASSWORD).unwrap();
        let ca_file = cluster.ca_file.clone();
        let cluster = Self { kind: Kind::Real(cluster), host, port, ca_file, folder };
        for sql in [
            format!("CREATE USER IF NOT EXISTS {ADMIN} WITH CREATEDB CREATEROLE CREATELOGIN"),
            format!("ALTER USER {ADMIN} WITH PASSWORD '{ADMIN_PASSWORD}'"),
            format!("GRANT SYSTEM CANCELQUERY, VIEWACTIVITY TO {ADMIN}"),
        ] {
            cluster.root("defaultdb").await.batch_execute(&sql).await.unwrap();
        }
        cluster
    }

    /// The stand-in of [`Cluster::stand_in_before`].
    pub(crate) fn stand_in(&self) -> &StandIn {
        match &self.kind {
            Kind::StandIn(stand_in, _) => stand_in,
            Kind::Real(_) => panic!("this is a real CockroachDB"),
        }
    }

    /// A broker for this cluster with its own store.
    pub(crate) async fn platform(&self) -> Platform {
        let (host, port) = (&self.host, self.port);
        Platform::open(&format!(
            "backends: {{main: {{type: postgresql, host: {host}, port: {port}, user: {ADMIN}, passwordFile: {},\n\
                sslmode: verify-full, caFile: {}}}}}\n\
             services: [{{id: {SERVICE}, name: cockroachdb, type: cockroachdb, description: d,\n\
                plans: [{{name: default, description: d, backend: main}}]}}]",
            self.folder.path().join("password").display(),
            self.ca_file.display(),
        ))
        .await
    }

    /// Opens a session with this URL, and verifies the server's certificate.
    async fn connect(&self, url: &str) -> Result<Client, Error> {
        postgres::connect(url, &self.ca_file).await
    }

    /// Opens a session of bindery's administrator.
    pub(crate) async fn administrator(&self, database: &str) -> Client {
        let (host, port) = (&self.host, self.port);
        let url = format!("postgres://{ADMIN}:{ADMIN_PASSWORD}@{host}:{port}/{database}?sslmode=require");
        self.connect(&url).await.unwrap()
    }

    /// Opens a session of a user with all privileges, on a real cluster.
    async fn root(&self, database: &str) -> Client {
        let Kind::Real(cluster) = &self.kind else { unreachable!("the stand-in has psql") };
        let mut url = cluster.url.clone();
        url.set_path(database);
        url.set_query(Some("sslmode=require"));
        self.connect(url.as_str()).await.unwrap()
    }

    /// The texts that a query returns to a user with all privileges. PostgreSQL and CockroachDB must both support the
    /// query.
    pub(crate) async fn texts(&self, database: &str, sql: &str) -> Vec<String> {
        match &self.kind {
            Kind::StandIn(_, server) => server.psql_in(database, sql),
            Kind::Real(_) => {
                let rows = self.root(database).await.query(sql, &[]).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// What still exists of the credentials' database, owner role and logins.
    pub(crate) async fn left_of(&self, credentials: &[&serde_json::Value]) -> Vec<String> {
        let named = |key: &str| -> Vec<_> {
            credentials.iter().map(|each| format!("'{}'", each[key].as_str().unwrap())).collect()
        };
        let (databases, logins) = (named("database").join(", "), named("username").join(", "));
        let sql = format!(
            "SELECT datname::text FROM pg_catalog.pg_database WHERE datname::text IN ({databases}) UNION ALL \
             SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname::text IN ({logins}) \
             OR substr(rolname::text, 1, 35) IN ({databases})"
        );
        self.texts("postgres", &sql).await
    }
}

/// Grants the administrator what docs/broker.md requires on CockroachDB, in the notation of the stand-in.
fn equip(server: &Postgres) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    for privilege in ["CREATELOGIN", "CANCELQUERY", "VIEWACTIVITY"] {
        let role = format!("{SYSTEM}{privilege}");
        if server.psql(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{role}'")).is_empty() {
            server.psql(&format!("CREATE ROLE \"{role}\" ROLE {ADMIN}"));
        }
    }
}

/// Opens a session with a binding's `uri`, and verifies the server's certificate.
pub(crate) async fn connect(cluster: &Cluster, credentials: &serde_json::Value) -> Result<Client, Error> {
    cluster.connect(credentials["uri"].as_str().unwrap()).await
}

/// Whether the server refuses the credentials; an unavailable server does not count.
pub(crate) async fn is_refused(cluster: &Cluster, credentials: &serde_json::Value) -> bool {
    match connect(cluster, credentials).await {
        Ok(_) => false,
        Err(error) => [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(error.code().unwrap_or_else(|| panic!("{error:?}"))),
    }
}

/// The SQLSTATE of a refusal.
pub(crate) fn code(result: Result<impl Sized, Error>) -> String {
    result.err().expect("a refusal").code().expect("a SQLSTATE").code().to_owned()
}

fn say_once(text: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| say(text));
}

/// Prints to the terminal; the test harness would capture `eprintln`.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "note: {text}").unwrap();
}
