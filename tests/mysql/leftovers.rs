//! Sweeps, incomplete objects, and objects that bindery must not touch.

use bindery::broker::{restore, sweep};
use serde_json::json;

use crate::{
    mariadb::MariaDb,
    platform::{Platform, held},
    server::{description, text},
};

#[tokio::test]
async fn a_sweep_removes_only_leftovers_of_this_installation() {
    let server = MariaDb::shared();
    let (platform, neighbour) = (Platform::on(&server).await, Platform::on(&server).await);
    for (platform, instance) in [(&platform, "kept"), (&platform, "lost"), (&neighbour, "foreign")] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let kept = platform.credentials("kept", "b").await;
    let lost = platform.credentials("lost", "b").await;
    let foreign = neighbour.credentials("foreign", "b").await;
    let report = sweep(platform.config(), &[], false).await.unwrap();
    assert_eq!(report.leftover, [], "{report}");
    platform.forget("lost");

    let report = sweep(platform.config(), &[], true).await.unwrap().to_string();
    for (kind, key) in [("database", "database"), ("login", "username")] {
        assert!(report.contains(&format!("removed: {kind} {}", text(&lost, key))), "{report}");
        assert!(report.contains(&format!("foreign, left alone: {kind} {}", text(&foreign, key))), "{report}");
        assert!(!report.contains(text(&kept, key)), "{report}");
    }
    assert!(report.ends_with("2 removed"), "{report}");
    assert_eq!(server.left_of(&[&lost]), Vec::<String>::new());
    server.query(&kept, "SELECT 1").unwrap();
    server.query(&foreign, "SELECT 1").unwrap();
    assert_eq!(platform.deprovision("kept").await.0, 200);
    assert_eq!(neighbour.deprovision("foreign").await.0, 200);
}

/// Two installations with the same instance id need the same database: the second one gets an error, and removes
/// nothing.
#[tokio::test]
async fn objects_of_another_installation_are_not_changed() {
    let server = MariaDb::shared();
    let (first, second) = (Platform::on(&server).await, Platform::on(&server).await);
    assert_eq!(first.provision("wanted").await.0, 201);
    let credentials = first.credentials("wanted", "b").await;
    let (status, body) = second.provision("wanted").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("does not carry this installation's mark"), "{body}");
    assert_eq!(second.deprovision("wanted").await.0, 200);
    server.query(&credentials, "SELECT 1").unwrap();
    assert_eq!(first.deprovision("wanted").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}

#[tokio::test]
async fn a_login_that_bindery_did_not_create_is_not_changed() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("occupied").await;
    let login = text(&platform.credentials("occupied", "b").await, "username").to_owned();
    assert_eq!(platform.unbind("occupied", "b").await.0, 200);
    server.root(&format!("CREATE USER '{login}'@'%' IDENTIFIED BY 'theirs'"));
    let (status, body) = platform.bind("occupied", "b").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains(&format!("login {login} exists")), "{body}");
    assert_eq!(platform.unbind("occupied", "b").await.0, 200);
    assert_eq!(platform.deprovision("occupied").await.0, 200);
    // The login was not dropped, or this would fail.
    server.root(&format!("DROP USER '{login}'@'%'"));
}

/// Any remains of an earlier attempt, and anything that an administrator removed manually.
#[tokio::test]
async fn incomplete_objects_are_completed_and_removed() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("half").await;
    let credentials = platform.credentials("half", "b").await;
    let (database, login) = (text(&credentials, "database"), text(&credentials, "username"));

    // The login is marked, but was never created.
    server.root(&format!("DROP USER '{login}'@'%'"));
    platform.forget_binding("b");
    let again = platform.credentials("half", "b").await;
    server.query(&again, "SELECT 1").unwrap();
    // The login was created, but has no rights.
    server.root(&format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{login}'@'%'"));
    platform.forget_binding("b");
    let again = platform.credentials("half", "b").await;
    server.query(&again, "CREATE TABLE t (a int)").unwrap();
    // An administrator dropped the login.
    server.root(&format!("DROP USER '{login}'@'%'"));
    assert_eq!(platform.unbind("half", "b").await, (200, json!({})));
    let other = platform.credentials("half", "other").await;
    server.root(&format!("DROP DATABASE {database}"));
    let (status, body) = platform.bind("half", "more").await;
    assert_eq!(status, 500);
    assert!(
        description(&body).contains(&format!("database {database} of this installation is missing")),
        "{body}"
    );
    assert_eq!(platform.deprovision("half").await, (200, json!({})));
    assert_eq!(server.left_of(&[&credentials, &other]), Vec::<String>::new());
}

#[tokio::test]
async fn a_retained_database_stays_without_an_owner() {
    let server = MariaDb::shared();
    let platform = Platform::mysql(&server, "{reclaimPolicy: {allowed: [delete, retain]}}").await;
    let parameters = json!({"reclaimPolicy": "retain"});
    assert_eq!(platform.provision_with("retained", parameters.clone()).await.0, 201);
    let one = platform.credentials("retained", "one").await;
    let two = platform.credentials("retained", "two").await;
    server.query(&one, "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1)").unwrap();
    server.query(&two, "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.b = 7").unwrap();
    assert_eq!(platform.deprovision("retained").await, (200, json!({})));
    assert!(server.is_refused(&one) && server.is_refused(&two));
    let database = text(&one, "database");
    server.root(&format!("INSERT INTO {database}.t (a) VALUES (2)"));
    assert_eq!(server.root(&format!("SELECT * FROM {database}.t")), ["1\t1", "2\t7"]);

    let report = sweep(platform.config(), &[], true).await.unwrap();
    assert_eq!(report.leftover, [], "{report}");
    assert!(report.to_string().contains(&format!("foreign, left alone: database {database}")), "{report}");
    let (status, body) = platform.provision_with("retained", parameters).await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("does not carry this installation's mark"), "{body}");
    assert_eq!(platform.deprovision("retained").await.0, 200);
    assert_eq!(server.root(&format!("SELECT COUNT(*) FROM {database}.t")), ["2"]);
    server.root(&format!("DROP DATABASE {database}; DROP USER '{}'@'%'", text(&two, "username")));
}

/// Store and installation are lost: the installation that has the table of marks owns everything in it.
/// `docs/databases.md` explains the procedure.
#[tokio::test]
async fn renaming_the_table_of_marks_transfers_everything_to_another_installation() {
    let server = MariaDb::shared();
    let (mut former, mut new) = (Platform::on(&server).await, Platform::on(&server).await);
    for platform in [&mut former, &mut new] {
        platform.keep_installation().await;
    }
    former.provision("handed-over").await;
    let before = former.credentials("handed-over", "b").await;
    former.broker.drain().await;
    new.broker.drain().await;
    let held = [held("handed-over", &["b"])];
    assert_eq!(restore(new.config(), &held).await.unwrap().restored, Vec::<String>::new());

    std::fs::remove_file(new.store().join("broker.db")).unwrap();
    let [from, to] = [&former, &new].map(Platform::mark);
    let rename = format!("CREATE DATABASE IF NOT EXISTS {to}; RENAME TABLE {from}.marks TO {to}.marks");
    server.query(&server.administrator(), &rename).unwrap();
    let report = restore(new.config(), &held).await.unwrap();
    assert_eq!((report.restored.len(), report.missing.len()), (2, 0), "{report}");
    new.restart().await;
    server.query(&before, "SELECT 1").unwrap();
    assert_eq!(new.unbind("handed-over", "b").await.0, 200);
    assert_eq!(new.deprovision("handed-over").await.0, 200);
    assert_eq!(sweep(new.config(), &[], false).await.unwrap().leftover, []);
    assert_eq!(server.left_of(&[&before]), Vec::<String>::new());
}
