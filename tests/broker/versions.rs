//! Servers on which the broker can create nothing.

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
};

/// Asserts the message of the check at the start; users get less detail.
async fn is_told(platform: &Platform, what: &str) {
    let said = platform.checked().await.unwrap_err();
    assert!(said.contains(what), "{said}");
    let (status, body) = platform.provision("i").await;
    assert!(status == 500 && !body["description"].as_str().unwrap().contains(what), "{status} {body}");
}

/// Before PostgreSQL 15 the schema `public` belongs to the superuser.
#[tokio::test]
async fn versions_before_15_are_refused() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    match server.major() {
        ..15 => is_told(&platform, "is too old; use PostgreSQL 15 or later").await,
        15.. => assert!(platform.checked().await.is_ok()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_recognized() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::on(&server).await;
    platform.checked().await.unwrap();
    tokio::task::block_in_place(|| server.demote());
    is_told(&platform, "is a standby").await;
}

/// An administrator of the server may have frozen the database; a database's owner cannot stop bindery that way.
#[tokio::test]
async fn a_read_only_server_stays_read_only() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::on(&server).await;
    server.psql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.psql("SELECT pg_reload_conf()");
    server.until("SELECT current_setting('default_transaction_read_only') = 'on'").await;
    is_told(&platform, "default_transaction_read_only is on").await;
    let unfrozen = format!("ALTER ROLE {ADMIN} SET default_transaction_read_only = off");
    server.psql(&format!("BEGIN READ WRITE; {unfrozen}; COMMIT"));
    assert_eq!(platform.provision("j").await.0, 201);
}
