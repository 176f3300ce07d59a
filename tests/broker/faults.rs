//! Servers that cannot be used: the answer says why and what to do, and the same request works once it is mended.

use std::sync::Arc;

use bindery::{broker::Broker, telemetry::Metrics};

use crate::{
    platform::Platform,
    postgres::{ADMIN, ADMIN_PASSWORD, Postgres},
};

fn description(body: &serde_json::Value) -> &str {
    body["description"].as_str().unwrap()
}

#[tokio::test]
async fn a_wrong_password_and_a_stopped_server_are_told_and_mended() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    std::fs::write(server.password_file(), "wrong").unwrap();
    let platform = Platform::on(&server).await;
    let (status, body) = platform.provision("i").await;
    assert_eq!(status, 500);
    assert!(
        description(&body).contains("server main (127.0.0.1:") && description(&body).contains("passwordFile"),
        "{body}"
    );
    assert!(platform.broker.check_servers().await[0].result.is_err());

    std::fs::write(server.password_file(), ADMIN_PASSWORD).unwrap();
    assert_eq!(platform.provision("i").await.0, 201, "an interrupted create goes on");
    let credentials = platform.credentials("i", "b").await;

    server.stop();
    let (status, body) = platform.bind("i", "c").await;
    assert_eq!(status, 500);
    assert!(
        description(&body).contains("cannot be reached") && description(&body).contains("network"),
        "{body}"
    );
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
async fn a_second_broker_is_kept_off_the_store() {
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
    assert!(
        description(&body).contains("SQLSTATE 42501") && !description(&body).contains("CREATE DATABASE \""),
        "{body}"
    );
    assert_eq!(platform.deprovision("i").await.0, 200);
    assert_eq!(server.psql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'cf%'"), Vec::<String>::new());
}

/// libpq, "Protection Provided in Different Modes".
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
