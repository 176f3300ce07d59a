//! Drift: servers that differ from the records because administrators dropped something, or restored it for another
//! installation.

use bindery::broker::sweep;
use serde_json::Value;

use crate::{
    mariadb::MariaDb,
    platform::Platform,
    server::{description, text},
};

/// Asserts that the answer is 422 and names the difference.
fn tells((status, body): (u16, Value), words: &[&str]) {
    assert!(status == 422 && words.iter().all(|word| description(&body).contains(word)), "{status} {body}");
}

#[tokio::test]
async fn a_missing_login_is_reported_when_the_bind_is_repeated() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("drift").await.0, 201);
    let credentials = platform.credentials("drift", "gone").await;
    let right = platform.credentials("drift", "right").await;
    let login = text(&credentials, "username");
    server.root(&format!("DROP USER '{login}'@'%'"));

    tells(platform.bind("drift", "gone").await, &[login, "not on the database server", "make it anew"]);
    assert_eq!(platform.bind("drift", "right").await.0, 200);
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(report.contains(&format!("on record, not on the backend: {login} of binding gone")), "{report}");
    assert!(!report.contains(text(&right, "username")), "{report}");
    assert_eq!(platform.unbind("drift", "gone").await.0, 200);
    assert_eq!(platform.deprovision("drift").await.0, 200);
}

#[tokio::test]
async fn a_missing_database_is_reported_and_its_instance_can_be_deleted() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("lost").await.0, 201);
    let credentials = platform.credentials("lost", "b").await;
    let database = text(&credentials, "database");
    server.root(&format!("DROP DATABASE {database}"));

    let told = [database, "not on the database server", "restore it"];
    tells(platform.provision("lost").await, &told);
    tells(platform.bind("lost", "b").await, &told);
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(
        report.contains(&format!("on record, not on the backend: {database} of service instance lost")),
        "{report}"
    );
    assert_eq!(platform.deprovision("lost").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}

/// The state after a restore without the table of marks.
#[tokio::test]
async fn objects_without_their_mark_are_reported_and_never_counted_as_removed() {
    let server = MariaDb::shared();
    let mut platform = Platform::on(&server).await;
    platform.keep_installation().await;
    assert_eq!(platform.provision("unmarked").await.0, 201);
    let credentials = platform.credentials("unmarked", "b").await;
    let (database, login) = (text(&credentials, "database"), text(&credentials, "username"));
    let marks = format!("{}.marks", platform.mark());
    server.root(&format!("CREATE TABLE {marks}_kept AS SELECT * FROM {marks}; DELETE FROM {marks}"));

    let told = [database, "does not carry this installation's mark"];
    tells(platform.provision("unmarked").await, &told);
    let report = sweep(platform.config(), &[], true).await.unwrap().to_string();
    assert!(
        report.contains(&format!("on record, but owned by somebody else on the backend: {database} of")),
        "{report}"
    );
    for ((status, body), what) in
        [(platform.unbind("unmarked", "b").await, login), (platform.deprovision("unmarked").await, login)]
    {
        assert!(status == 500 && description(&body).contains(what), "{body}");
    }
    server.query(&credentials, "SELECT 1").unwrap();

    server.root(&format!("INSERT INTO {marks} SELECT * FROM {marks}_kept; DROP TABLE {marks}_kept"));
    assert_eq!(platform.deprovision("unmarked").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}

/// Only sessions of the database's own bindings are ended: another session with a transaction on a table blocks the
/// drop.
#[tokio::test]
async fn the_error_names_an_administrators_session_that_blocks_the_drop_of_a_database() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("held").await.0, 201);
    let credentials = platform.credentials("held", "b").await;
    server.query(&credentials, "CREATE TABLE t (a INT) ENGINE = InnoDB").unwrap();
    let database = text(&credentials, "database");
    let session = server.hold(database, "BEGIN; SELECT * FROM t").await;
    let id = server
        .root(&format!("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{database}'"))
        .remove(0);

    let (status, body) = platform.deprovision("held").await;
    let named = format!("session {id} of account root");
    assert!(
        status == 500 && description(&body).contains(&named) && description(&body).contains("KILL"),
        "{body}"
    );
    drop(session);
    server.root(&format!("KILL {id}"));
    assert_eq!(platform.deprovision("held").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}
