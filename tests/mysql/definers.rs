//! Logins that are the definers of views, routines, triggers and events.

use crate::{mariadb::MariaDb, platform::Platform, server::text};

#[tokio::test]
async fn routines_of_a_login_continue_to_work_without_its_binding() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("definer").await;
    let one = platform.credentials("definer", "one").await;
    let two = platform.credentials("definer", "two").await;
    server
        .query(
            &one,
            "CREATE TABLE t (a int, b int); CREATE TABLE ticks (a timestamp(6)); \
             CREATE VIEW v AS SELECT a, b FROM t; \
             CREATE FUNCTION f() RETURNS int READS SQL DATA RETURN (SELECT COUNT(*) FROM t); \
             CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.b = 7; \
             CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO ticks VALUES (NOW(6))",
        )
        .unwrap();
    let session = server.session(&one).await;
    assert_eq!(platform.unbind("definer", "one").await, (200, serde_json::json!({})));
    session.ended().await;
    assert!(server.is_refused(&one));

    server.query(&two, "INSERT INTO t (a) VALUES (1)").unwrap();
    assert_eq!(server.query(&two, "SELECT a, b FROM v; SELECT f()").unwrap(), ["1\t7", "1"]);
    let database = text(&one, "database");
    server.query(&two, "DELETE FROM ticks").unwrap();
    server.until(&format!("SELECT COUNT(*) > 1 FROM {database}.ticks")).await;

    // The login is part of its database, so a sweep must not remove it.
    let report = bindery::broker::sweep(platform.config(), &[], true).await.unwrap();
    assert_eq!(report.leftover, [], "{report}");
    assert!(!report.to_string().contains(text(&one, "username")), "{report}");
    assert_eq!(platform.unbind("definer", "one").await.0, 410);

    assert_eq!(platform.deprovision("definer").await, (200, serde_json::json!({})));
    assert_eq!(server.left_of(&[&one, &two]), Vec::<String>::new());
}

/// The same binding id gets the same login, which may still exist.
#[tokio::test]
async fn a_login_kept_as_definer_can_be_bound_again_and_is_dropped_when_unused() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("kept").await;
    let first = platform.credentials("kept", "b").await;
    server.query(&first, "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t").unwrap();
    assert_eq!(platform.unbind("kept", "b").await.0, 200);
    let second = platform.credentials("kept", "b").await;
    assert_eq!(first["username"], second["username"]);
    assert!(server.is_refused(&first));
    server.query(&second, "DROP VIEW v").unwrap();
    assert_eq!(platform.unbind("kept", "b").await.0, 200);
    let users = format!("SELECT COUNT(*) FROM mysql.user WHERE User = '{}'", text(&first, "username"));
    assert_eq!(server.root(&users), ["0"]);
    assert_eq!(platform.deprovision("kept").await.0, 200);
}

/// A running event of a dropped database is ended, too.
#[tokio::test]
async fn a_running_event_does_not_block_deprovisioning() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("event").await;
    let credentials = platform.credentials("event", "b").await;
    let login = text(&credentials, "username");
    server.query(&credentials, "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO SELECT SLEEP(600)").unwrap();
    let running = format!("SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST WHERE USER = '{login}'");
    server.until(&running).await;
    assert_eq!(platform.deprovision("event").await, (200, serde_json::json!({})));
    assert_eq!(server.root(&running), ["0"]);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}
