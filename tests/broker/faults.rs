//! Unusable servers: the answer contains the cause and the remedy, and the same request succeeds after the repair.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bindery::{broker::Broker, telemetry::Metrics};

use crate::{
    platform::Platform,
    postgres::{ADMIN, ADMIN_PASSWORD, Postgres},
    server::connect,
};

fn description(body: &serde_json::Value) -> &str {
    body["description"].as_str().unwrap()
}

#[tokio::test]
async fn a_wrong_password_and_a_stopped_server_are_reported_and_the_broker_recovers() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    std::fs::write(server.password_file(), "wrong").unwrap();
    let platform = Platform::on(&server).await;
    let (status, body) = platform.provision("i").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("cannot be used at present"), "{body}");
    assert!(
        !description(&body).contains("127.0.0.1") && !description(&body).contains("passwordFile"),
        "{body}"
    );
    let told = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(told.contains("backend main (127.0.0.1:") && told.contains("passwordFile"), "{told}");

    std::fs::write(server.password_file(), ADMIN_PASSWORD).unwrap();
    assert_eq!(platform.provision("i").await.0, 201, "an interrupted create goes on");
    let credentials = platform.credentials("i", "b").await;

    server.stop();
    let (status, body) = platform.bind("i", "c").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("cannot be used at present"), "{body}");
    let told = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(told.contains("cannot be reached") && told.contains("network"), "{told}");
    assert_eq!(
        platform.bind("i", "b").await.1["credentials"],
        credentials,
        "what is recorded needs no server"
    );
    assert_eq!(platform.unbind("i", "b").await.0, 500);

    server.start_again();
    assert_eq!(platform.bind("i", "c").await.0, 201);
    assert_eq!(platform.unbind("i", "b").await.0, 200);
    assert_eq!(platform.deprovision("i").await.0, 200);
    assert_eq!(server.psql("SELECT datname FROM pg_database WHERE datname LIKE 'cf%'"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_second_broker_cannot_open_the_store() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    let open = || Broker::open(platform.config().clone(), Arc::new(Metrics::new()));
    let error = open().await.err().unwrap().to_string();
    assert!(error.contains("is in use by another broker"), "{error}");
    platform.broker.drain().await;
    open().await.unwrap();
}

#[tokio::test]
async fn missing_rights_are_named() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::on(&server).await;
    let engine = platform.broker.check_servers().await.remove(0).result.unwrap();
    assert!(
        engine.starts_with("PostgreSQL ") && engine.ends_with(" (standing in for CockroachDB)"),
        "{engine}"
    );
    server.psql(&format!("ALTER ROLE {ADMIN} NOCREATEDB"));
    let error = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(error.contains("administrator bindery lacks CREATEDB;"), "{error}");
    let (status, body) = platform.provision("i").await;
    assert_eq!(status, 500);
    let told = description(&body);
    assert!(told.contains("cannot create the database: permission denied"), "{body}");
    assert!(
        !told.contains("SQLSTATE") && !told.contains("backend main") && !told.contains("CREATE DATABASE \""),
        "{body}"
    );
    assert_eq!(platform.deprovision("i").await.0, 200);
    assert_eq!(server.psql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'cf%'"), Vec::<String>::new());
}

/// The modes in libpq's documentation, "Protection Provided in Different Modes".
#[tokio::test]
async fn sslmodes_check_what_libpq_checks() {
    let server = Postgres::shared();
    let strange = Postgres::start("127.0.0.1", &["other.example"]);
    let (right, wrong) = (server.ca_file().display().to_string(), strange.ca_file().display().to_string());
    let works = async |server: &Postgres, tls: String| {
        let platform = Platform::with(server, "127.0.0.1", &tls).await;
        platform.broker.check_servers().await.remove(0).result
    };
    works(&server, format!("sslmode: verify-full, caFile: {right}")).await.unwrap();
    works(&server, "sslmode: require".to_owned()).await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let error =
            works(&server, format!("sslmode: {mode}, caFile: {wrong}")).await.unwrap_err().to_string();
        assert!(error.contains("caFile"), "{mode}: {error}");
    }
    works(&strange, format!("sslmode: verify-ca, caFile: {wrong}")).await.unwrap();
    works(&strange, format!("sslmode: require, caFile: {wrong}")).await.unwrap();
    works(&strange, format!("sslmode: verify-full, caFile: {wrong}")).await.unwrap_err();
    works(&server, "sslmode: disable".to_owned()).await.unwrap_err();
}

/// After a restart of the server the broker's sessions are dead; users must not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_every_operation_leaves_nothing_behind() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::postgresql(&server, "").await;
    assert_eq!(platform.provision("i").await.0, 201);
    let kept = platform.credentials("i", "kept").await;
    let done = AtomicUsize::new(0);
    let worker = async |worker: usize| {
        let access = ["owner", "readwrite", "readonly"][worker];
        for round in 0..15 {
            let binding = format!("{worker}-{round}");
            // Some requests fail; the platform then deletes the binding.
            let _ = platform.bind_with("i", &binding, serde_json::json!({"access": access})).await;
            while ![200, 410].contains(&platform.unbind("i", &binding).await.0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let restart = async {
        for after in [3, 15, 30] {
            while done.load(Ordering::Relaxed) < after {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::task::block_in_place(|| {
                server.stop();
                server.start_again();
            });
        }
    };
    tokio::join!(worker(0), worker(1), worker(2), restart);
    let logins = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^[a-p]{32}$'");
    assert_eq!(logins, [kept["username"].as_str().unwrap()]);
    connect(&server, &kept).await.unwrap();
    assert_eq!(platform.deprovision("i").await.0, 200);
    let left = "SELECT rolname FROM pg_roles WHERE rolname ~ '^(cf_|[a-p]{32}$)' \
        UNION SELECT datname FROM pg_database WHERE datname LIKE 'cf%'";
    assert_eq!(server.psql(left), Vec::<String>::new());
}

#[tokio::test]
async fn the_administrator_may_use_a_client_certificate_and_renew_it() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ca = server.want_certificates_of_all();
    let issue = |name: &str| Postgres::client_certificate(&ca, name, &at("admin.crt"), &at("admin.key"));
    issue("somebody");
    let files = format!("certFile: {}, keyFile: {}", at("admin.crt").display(), at("admin.key").display());
    let platform = Platform::postgresql_with(&server, &files, "").await;
    let check = async || platform.broker.check_servers().await.remove(0).result;
    let error = check().await.unwrap_err().to_string();
    assert!(error.contains("certificate authentication failed") && error.contains("certFile"), "{error}");
    // The file is read again for each connection.
    issue(ADMIN);
    check().await.unwrap();
    assert_eq!(platform.provision("i").await.0, 201);
    assert_eq!(platform.deprovision("i").await.0, 200);
}
