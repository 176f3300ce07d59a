//! Users who obstruct others or the administrator by all means of a login.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{mariadb::MariaDb, platform::Platform, server::text};

/// Shorter than the time limit of a lock.
const SOON: Duration = Duration::from_secs(45);

async fn soon(what: &str, work: impl Future<Output = (u16, Value)>) {
    let answer = tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("{what} takes too long"));
    assert_eq!(answer.0, 200, "{what}: {answer:?}");
}

/// If the broker used named locks, a login could hold a lock of the same name.
#[tokio::test]
async fn a_login_that_takes_the_brokers_named_lock_is_locked_at_its_expiry() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("locking").await;
    let credentials = platform.credentials_with("locking", "b", json!({"validFor": "2s"})).await;
    let user = text(&credentials, "username");
    let lock = format!("SELECT GET_LOCK('bindery {user}', 600), SLEEP(600)");
    let session = server.session_with(&credentials, &lock).await;
    session.ended().await;
    assert!(server.is_refused(&credentials));
    platform.deprovision("locking").await;
}

#[tokio::test]
async fn events_do_not_prevent_the_drop_of_a_database_or_recreate_it() {
    let server = MariaDb::start("127.0.0.1");
    server.root("SET GLOBAL event_scheduler = ON");
    let platform = Platform::on(&server).await;
    platform.provision("eventful").await;
    let credentials = platform.credentials("eventful", "b").await;
    let database = text(&credentials, "database");
    for sql in [
        "CREATE TABLE t (a int)".to_owned(),
        "CREATE EVENT busy ON SCHEDULE EVERY 1 SECOND DO BEGIN START TRANSACTION; SELECT COUNT(*) INTO @x FROM t; \
         SELECT SLEEP(100000) INTO @x; END"
            .to_owned(),
        format!(
            "CREATE EVENT again ON SCHEDULE EVERY 1 SECOND DO BEGIN WHILE (SELECT COUNT(*) FROM information_schema.SCHEMATA \
             WHERE SCHEMA_NAME = '{database}') > 0 DO DO SLEEP(0.05); END WHILE; CREATE DATABASE {database}; END"
        ),
    ] {
        server.define(&credentials, &sql);
    }
    let running = format!(
        "SELECT COUNT(*) >= 2 FROM information_schema.PROCESSLIST WHERE USER = '{}'",
        text(&credentials, "username")
    );
    server.until(&running).await;
    soon("deprovision", platform.deprovision("eventful")).await;
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}

/// While a table is being created, the server cannot tell which code runs as which user in it.
#[tokio::test]
async fn a_long_statement_of_one_binding_does_not_block_the_unbinding_of_others() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("long").await;
    let (one, two) = (platform.credentials("long", "one").await, platform.credentials("long", "two").await);
    let session = server.session_with(&two, "CREATE TABLE x AS SELECT SLEEP(600)").await;
    let running = format!(
        "SELECT COUNT(*) = 1 FROM information_schema.PROCESSLIST WHERE USER = '{}' AND STATE = 'User sleep'",
        text(&two, "username")
    );
    server.until(&running).await;
    soon("unbind", platform.unbind("long", "one")).await;
    assert!(server.is_refused(&one));
    soon("deprovision", platform.deprovision("long")).await;
    session.ended().await;
    assert_eq!(server.left_of(&[&one, &two]), Vec::<String>::new());
}

#[tokio::test]
async fn a_prepared_transaction_is_reported_with_the_remedy() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    platform.provision("prepared").await;
    let credentials = platform.credentials("prepared", "b").await;
    let sql = "CREATE TABLE t (a int); XA START 'q'; INSERT INTO t VALUES (1); XA END 'q'; XA PREPARE 'q'";
    server.query(&credentials, sql).unwrap();
    let (status, body) = platform.deprovision("prepared").await;
    assert!(
        status == 500 && body["description"].as_str().unwrap().contains("XA ROLLBACK"),
        "{status} {body}"
    );
    server.root("XA ROLLBACK 'q'");
    soon("deprovision", platform.deprovision("prepared")).await;
}
