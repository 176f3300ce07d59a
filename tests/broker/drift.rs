//! Drift: servers that differ from the records because administrators dropped or locked something, or restored it with
//! another owner.

use bindery::broker::sweep;
use serde_json::{Value, json};

use crate::{
    platform::{Platform, text},
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

/// Asserts that the answer is 422 and names the difference.
fn tells((status, body): (u16, Value), words: &[&str]) {
    let description = body["description"].as_str().unwrap_or_default();
    assert!(status == 422 && words.iter().all(|word| description.contains(word)), "{status} {body}");
}

#[tokio::test]
async fn a_missing_or_locked_login_is_reported_when_the_bind_is_repeated() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("drift").await.0, 201);
    let [gone, locked, right] = [
        platform.credentials("drift", "gone").await,
        platform.credentials("drift", "locked").await,
        platform.credentials("drift", "right").await,
    ];
    let database = text(&gone, "database");
    let [gone, locked] = [text(&gone, "username"), text(&locked, "username")];
    // The role's default privileges are in its database.
    server.psql_in(database, &format!("DROP OWNED BY \"{gone}\""));
    server.psql(&format!("DROP OWNED BY \"{gone}\"; DROP ROLE \"{gone}\"; ALTER ROLE \"{locked}\" NOLOGIN"));

    tells(platform.bind("drift", "gone").await, &[gone, "not on the database server", "make it anew"]);
    tells(platform.bind("drift", "locked").await, &[locked, "is locked", "NOLOGIN"]);
    assert_eq!(platform.bind("drift", "right").await.0, 200);
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    let of = "of binding gone of service instance drift on backend main";
    assert!(report.contains(&format!("on record, not on the backend: {gone} {of}")), "{report}");
    assert!(!report.contains(text(&right, "username")) && report.ends_with("nothing left over"), "{report}");

    // Unbinding succeeds, because nobody can log in with the login.
    assert_eq!(platform.unbind("drift", "gone").await.0, 200);
    let again = platform.credentials("drift", "gone").await;
    connect(&server, &again).await.unwrap();
    assert_eq!(platform.deprovision("drift").await.0, 200);
}

#[tokio::test]
async fn a_missing_database_is_reported_and_its_instance_can_be_deleted() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "extensions: [hstore]").await;
    assert_eq!(platform.provision("lost").await.0, 201);
    let credentials = platform.credentials("lost", "b").await;
    let database = text(&credentials, "database");
    server.psql(&format!("DROP DATABASE \"{database}\""));

    let told = [database, "not on the database server", "restore it"];
    tells(platform.provision("lost").await, &told);
    tells(platform.bind("lost", "b").await, &told);
    tells(platform.update("lost", json!({"extensions": ["hstore"]})).await, &told);
    let (status, body) = platform.bind("lost", "another").await;
    assert!(status >= 400 && body["description"].as_str().unwrap().contains("provision it again"), "{body}");
    let report = sweep(platform.config(), &[], true).await.unwrap().to_string();
    assert!(
        report.contains(&format!("on record, not on the backend: {database} of service instance lost")),
        "{report}"
    );
    assert_eq!(platform.deprovision("lost").await.0, 200);
    assert!(is_refused(&server, &credentials).await);
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(report.ends_with("nothing left over") && !report.contains(database), "{report}");
}

/// The state after a restore by another role, which then owns the data.
#[tokio::test]
async fn a_database_that_changed_owner_is_reported_and_never_dropped() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("theirs").await.0, 201);
    let credentials = platform.credentials("theirs", "b").await;
    connect(&server, &credentials).await.unwrap().batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let database = text(&credentials, "database");
    server.psql("CREATE ROLE dba");
    server.psql_in(database, &format!("REASSIGN OWNED BY \"{database}_owner\" TO dba"));

    let told = [database, "belongs to role dba", "ALTER DATABASE"];
    tells(platform.provision("theirs").await, &told);
    tells(platform.bind("theirs", "b").await, &told);
    let (status, body) = platform.bind("theirs", "another").await;
    assert!(status >= 400 && body["description"].as_str().unwrap().contains("dba"), "{body}");
    let report = sweep(platform.config(), &[], true).await.unwrap().to_string();
    assert!(
        report.contains(&format!("on record, but owned by somebody else on the backend: {database} of")),
        "{report}"
    );

    let (status, body) = platform.deprovision("theirs").await;
    let description = body["description"].as_str().unwrap();
    assert!(status == 500 && description.contains(database) && description.contains("dba"), "{body}");
    assert_eq!(server.psql_in(database, "SELECT count(*) FROM t"), ["0"]);
    assert!(is_refused(&server, &credentials).await, "its logins are locked out first");

    // One of the remedies: the administrator renames the database.
    server.until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{database}'")).await;
    server.psql(&format!("ALTER DATABASE \"{database}\" RENAME TO kept_of_theirs"));
    assert_eq!(platform.deprovision("theirs").await.0, 200);
    assert_eq!(server.psql_in("kept_of_theirs", "SELECT count(*) FROM t"), ["0"]);
    server.psql("DROP DATABASE kept_of_theirs");
    server.psql("DROP ROLE dba");
}

/// The administrator renamed the database, and in one case also changed its owner: the data is preserved.
#[tokio::test]
async fn data_that_an_administrator_moved_elsewhere_outlives_its_instance() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    for (instance, to) in [("renamed", None), ("given", Some("keeper"))] {
        assert_eq!(platform.provision(instance).await.0, 201);
        let credentials = platform.credentials(instance, "b").await;
        connect(&server, &credentials).await.unwrap().batch_execute("CREATE TABLE t (a int)").await.unwrap();
        let (database, kept) = (text(&credentials, "database"), format!("kept_of_{instance}"));
        server
            .until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{database}'"))
            .await;
        server.psql(&format!("ALTER DATABASE \"{database}\" RENAME TO {kept}"));
        tells(platform.provision(instance).await, &[database, "not on the database server"]);
        if let Some(keeper) = to {
            server.psql(&format!("CREATE ROLE {keeper}"));
            server.psql(&format!("ALTER DATABASE {kept} OWNER TO {keeper}"));
        }
        let (status, body) = platform.deprovision(instance).await;
        match to {
            // Success would report the data as deleted, although the owner role still has it.
            None => assert!(status == 500 && body["description"].as_str().unwrap().contains(&kept), "{body}"),
            Some(_) => assert_eq!(status, 200, "{body}"),
        }
        assert_eq!(server.psql_in(&kept, "SELECT count(*) FROM t"), ["0"]);
        server.psql(&format!("DROP DATABASE {kept}"));
        assert!([200, 410].contains(&platform.deprovision(instance).await.0));
        server.psql("DROP ROLE IF EXISTS keeper");
    }
}

/// Another role has the login's name: bindery must not drop it, and must not report the login as removed.
#[tokio::test]
async fn a_login_without_its_owner_role_is_not_reported_as_revoked() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("replaced").await.0, 201);
    let credentials = platform.credentials("replaced", "b").await;
    let (login, database) = (text(&credentials, "username"), text(&credentials, "database"));
    server.psql(&format!("REVOKE \"{database}_owner\" FROM \"{login}\" GRANTED BY {ADMIN}"));
    tells(platform.bind("replaced", "b").await, &[login, "has no access"]);
    let (status, body) = platform.unbind("replaced", "b").await;
    assert!(status == 500 && body["description"].as_str().unwrap().contains(login), "{body}");
    server.psql(&format!("GRANT \"{database}_owner\" TO \"{login}\""));
    assert_eq!(platform.unbind("replaced", "b").await.0, 200);
    assert_eq!(platform.deprovision("replaced").await.0, 200);
}

/// An unavailable server is not drift: reporting drift would make platforms delete existing instances.
#[tokio::test]
async fn requests_are_answered_from_the_records_while_the_server_is_unreachable() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("away").await.0, 201);
    let credentials = platform.credentials("away", "b").await;
    server.stop();
    assert_eq!(platform.provision("away").await.0, 200);
    let (status, body) = platform.bind("away", "b").await;
    assert_eq!((status, &body["credentials"]), (200, &credentials));
}

/// FORCE ends no session of a superuser if the administrator is not a superuser.
#[tokio::test]
async fn the_error_names_a_superusers_session_that_blocks_the_drop_of_a_database() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("held").await.0, 201);
    let database = text(&platform.credentials("held", "b").await, "database").to_owned();
    let held = server.hold_in(&database, "SELECT 1;");
    let session =
        format!("SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND usename = 'postgres'");
    server.until(&format!("SELECT EXISTS ({session})")).await;
    let pid = server.psql(&session).remove(0);

    let (status, body) = platform.deprovision("held").await;
    let description = body["description"].as_str().unwrap();
    let named = [format!("session {pid} of role postgres"), format!("pg_terminate_backend({pid})")];
    assert!(status == 500 && named.iter().all(|word| description.contains(word)), "{body}");
    held.release();
    assert_eq!(platform.deprovision("held").await.0, 200);
}
