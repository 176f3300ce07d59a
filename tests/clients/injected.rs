//! Each client connects with the variables and files that a binding injects, and the additions on the page.

use std::{collections::BTreeMap, fs, process::Command, thread};

use bindery::{bindings::variables::variables, osb::Object};
use serde_json::Value;

use crate::{
    client::{Client, MOUNTED_AT, OF_MYSQL, OF_POSTGRESQL, Setting},
    mariadb::{self, MariaDb},
    page::{self, Added},
    platform::{PLAN, Platform, SERVICE},
    postgres::{self, Postgres},
};

/// The name in the servers' certificates.
const HOST: &str = "localhost";
/// The name of the binding on the page.
const BINDING: &str = "mydb01-binding";

/// A broker with one service of this type. The service has an unusual name, because the type is what counts.
async fn platform(kind: &str, server: &str, plan: &str) -> Platform {
    Platform::open(&format!(
        "backends: {{main: {{host: {HOST}, {server}}}}}\n\
         services: [{{id: {SERVICE}, name: any-name, type: {kind}, description: d,\n\
            plans: [{{id: {PLAN}, name: default, description: d, backend: main, database: {{{plan}}}}}]}}]"
    ))
    .await
}

fn settings_of_postgres(server: &Postgres) -> String {
    let (port, password, ca) = (server.port(), server.password_file(), server.ca_file());
    let user = postgres::ADMIN;
    format!(
        "type: postgresql, port: {port}, user: {user}, passwordFile: {}, caFile: {}",
        password.display(),
        ca.display()
    )
}

fn settings_of_mariadb(server: &MariaDb) -> String {
    let (port, password, ca) = (server.port(), server.password_file(), server.ca_file());
    let user = mariadb::ADMIN;
    format!(
        "type: mysql, port: {port}, user: {user}, passwordFile: {}, caFile: {}",
        password.display(),
        ca.display()
    )
}

/// A server that requires TLS.
fn mariadb_over_tls() -> MariaDb {
    let server = MariaDb::start(HOST);
    server.root("SET GLOBAL require_secure_transport = ON");
    server
}

/// A binding, with its keys as files in a folder that replaces the one on the page.
struct Injected {
    service: Value,
    credentials: Value,
    folder: tempfile::TempDir,
}

impl Injected {
    async fn new(platform: &Platform, instance: &str) -> Self {
        let (status, body) = platform.provision(instance).await;
        assert_eq!(status, 201, "{body}");
        let credentials = platform.credentials_named(instance, BINDING).await;
        let folder = tempfile::tempdir().unwrap();
        for (key, value) in credentials.as_object().unwrap() {
            fs::write(folder.path().join(key), value.as_str().unwrap()).unwrap();
        }
        Self { service: platform.service().await, credentials, folder }
    }

    fn user(&self) -> &str {
        self.credentials["username"].as_str().unwrap()
    }

    /// The environment of a container: bindery's variables and the additions on the page.
    fn setting(&self, added: &Added) -> Setting {
        let metadata = |value: &Value| value["metadata"].as_object().cloned();
        let (class, plan) = (metadata(&self.service), metadata(&self.service["plans"][0]));
        let (name, credentials) =
            (self.service["name"].as_str().unwrap(), self.credentials.as_object().unwrap());
        let credentials: Object = credentials.clone();
        let annotation = added.annotation.as_deref();
        let mut env =
            variables(annotation, plan.as_ref(), class.as_ref(), name, &credentials.into()).unwrap();
        env.extend(added.env.iter().cloned());
        let folder = self.folder.path().to_owned();
        let here = |text: &str| {
            let shown = folder.display().to_string();
            text.replace(MOUNTED_AT, &shown).replace("/tmp/trusted", &format!("{shown}/trusted"))
        };
        let env: BTreeMap<_, _> = env.into_iter().map(|(name, value)| (name, here(&value))).collect();
        if let Some(before) = added.before.as_deref().map(here)
            && !folder.join("trusted").exists()
        {
            let output = Command::new("sh").arg("-c").arg(&before).output().unwrap();
            assert!(output.status.success(), "{before}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let exchanged = if env.contains_key("COCKROACH_URL") {
            vec![("DATABASE_URL", "COCKROACH_URL".to_owned())]
        } else {
            Vec::new()
        };
        Setting { env, folder, exchanged }
    }

    /// Connects as the page describes. If the page adds a variable, checks that connecting fails without it.
    fn try_client(&self, client: Client, cell: &str) {
        let added = page::added(cell);
        let mut setting = self.setting(&added);
        if !client.reads_url() {
            setting.exchanged.clear();
        }
        let outcome = client.connect(&setting);
        assert_eq!(outcome.as_deref(), Ok(self.user()), "{}: {cell}", client.name());
        if !added.env.is_empty() {
            let without = Added { env: Vec::new(), ..added };
            let setting = Setting { exchanged: setting.exchanged.clone(), ..self.setting(&without) };
            let outcome = client.connect(&setting);
            assert!(outcome.is_err(), "{} does not need what the page adds: {cell}", client.name());
        }
    }

    /// Connects with all clients of a table, with the additions in this column.
    fn try_all(&self, clients: &[Client], heading: &str, column: usize) {
        let rows = page::table(heading);
        assert_eq!(rows.len(), clients.len(), "the rows below {heading}");
        thread::scope(|scope| {
            for &client in clients {
                let row = rows.iter().find(|row| row[0] == client.name());
                let row = row.unwrap_or_else(|| panic!("the page has no row for {}", client.name()));
                assert_eq!(row[1], client.version(), "the version of {}", client.name());
                scope.spawn(move || self.try_client(client, row[column]));
            }
        });
    }
}

const TABLE_OF_POSTGRESQL: &str = "PostgreSQL and CockroachDB";
const TABLE_OF_MYSQL: &str = "MySQL and MariaDB";

/// The columns of the page's first table. `postgresql` and `cockroachdb` run on PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_clients_connect_with_the_injected_credentials() {
    let server = Postgres::start("127.0.0.1", &[HOST]);
    let settings = settings_of_postgres(&server);
    for (column, kind, plan, keys) in [
        (2, "postgresql", "", 10),
        (3, "postgresql", "sslmode: verify-full", 10),
        (4, "cockroachdb", "", 7),
        (3, "cockroachdb", "sslmode: verify-full", 8),
    ] {
        let platform = platform(kind, &settings, plan).await;
        let injected = Injected::new(&platform, "pg").await;
        assert_eq!(injected.credentials.as_object().unwrap().len(), keys, "{kind}, {plan}");
        injected.try_all(&OF_POSTGRESQL, TABLE_OF_POSTGRESQL, column);
        platform.deprovision("pg").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_clients_connect_with_the_injected_credentials() {
    let server = mariadb_over_tls();
    let settings = settings_of_mariadb(&server);
    for (column, plan) in [(2, ""), (3, "sslmode: verify-full")] {
        let platform = platform("mysql", &settings, plan).await;
        let injected = Injected::new(&platform, "my").await;
        assert_eq!(injected.credentials.as_object().unwrap().len(), 10, "{plan}");
        injected.try_all(&OF_MYSQL, TABLE_OF_MYSQL, column);
        platform.deprovision("my").await;
    }
}

/// The page's template for one binding: every client of PostgreSQL accepts it, and verifies the server.
#[tokio::test(flavor = "multi_thread")]
async fn one_template_makes_all_postgresql_clients_verify_the_server() {
    let server = Postgres::start("127.0.0.1", &[HOST]);
    let platform = platform("postgresql", &settings_of_postgres(&server), "").await;
    let injected = Injected::new(&platform, "template").await;
    let added = Added { annotation: Some(page::template_that_verifies()), ..Added::default() };
    let setting = injected.setting(&added);
    for client in OF_POSTGRESQL {
        assert_eq!(client.connect(&setting).as_deref(), Ok(injected.user()), "{}", client.name());
    }
    // A server of another owner: the same name, but a certificate from another CA.
    let other = Postgres::start("127.0.0.1", &[HOST]);
    fs::copy(other.ca_file(), injected.folder.path().join("ca.crt")).unwrap();
    for client in OF_POSTGRESQL {
        let error = client.connect(&setting).unwrap_err();
        assert!(is_of_tls(&error), "{}: {error}", client.name());
    }
    platform.deprovision("template").await;
}

/// Whether an error concerns certificates, and not passwords, files or the network.
pub(crate) fn is_of_tls(error: &str) -> bool {
    let error = error.to_lowercase();
    let is_of = ["certificate", "certification path", "ssl", "tls", "hostname", "x509"];
    is_of.iter().any(|word| error.contains(word))
        && !error.contains("access denied")
        && !error.contains("password authentication")
        && !error.contains("connection refused")
}
