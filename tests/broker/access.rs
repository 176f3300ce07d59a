//! What bindings may do with the data, and for how long.

use serde_json::{Value, json};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

async fn refusal(session: &Client, sql: &str) -> SqlState {
    let error = session.batch_execute(sql).await.expect_err(sql);
    error.code().unwrap_or_else(|| panic!("{sql}: {error:?}")).clone()
}

async fn bound(platform: &Platform, server: &Postgres, on: [&str; 2], access: &str) -> (Value, Client) {
    let credentials = platform.credentials_with(on[0], on[1], json!({"access": access})).await;
    let session = connect(server, &credentials).await.unwrap();
    (credentials, session)
}

#[tokio::test]
async fn readers_read_writers_change_rows_and_owners_do_everything() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    assert_eq!(platform.provision("ranks").await.0, 201);
    // One reader is bound before any owner, and one after.
    let (_, early) = bound(&platform, &server, ["ranks", "early"], "readonly").await;
    let (credentials, owner) = bound(&platform, &server, ["ranks", "owner"], "owner").await;
    owner
        .batch_execute("CREATE SCHEMA s; CREATE TABLE t (id serial, v text); CREATE TABLE s.t (v text)")
        .await
        .unwrap();
    let (_, writer) = bound(&platform, &server, ["ranks", "writer"], "readwrite").await;
    let (_, late) = bound(&platform, &server, ["ranks", "late"], "readonly").await;

    for table in ["t", "s.t"] {
        let change =
            format!("INSERT INTO {table} (v) VALUES ('a'), ('b'); UPDATE {table} SET v = 'c' WHERE v = 'a'");
        writer.batch_execute(&change).await.unwrap();
        for reader in [&early, &late] {
            let rows = reader.query(&format!("SELECT v FROM {table} WHERE v = 'c'"), &[]).await.unwrap();
            assert_eq!(rows.len(), 1);
            let refused = refusal(reader, &format!("DELETE FROM {table}")).await;
            assert_eq!(refused, SqlState::INSUFFICIENT_PRIVILEGE);
        }
        writer.batch_execute(&format!("DELETE FROM {table}")).await.unwrap();
    }
    // Objects that are created later, in schemas that are created later.
    owner.batch_execute("CREATE SCHEMA later; CREATE TABLE later.t (id serial, v text)").await.unwrap();
    writer.batch_execute("INSERT INTO later.t (v) VALUES ('a')").await.unwrap();
    for reader in [&early, &late] {
        reader.batch_execute("SELECT * FROM later.t").await.unwrap();
        assert_eq!(
            refusal(reader, "INSERT INTO later.t (v) VALUES ('b')").await,
            SqlState::INSUFFICIENT_PRIVILEGE
        );
    }
    for session in [&writer, &early, &late] {
        for sql in
            ["CREATE TABLE mine (a int)", "CREATE SCHEMA mine", "ALTER TABLE t ADD b int", "DROP TABLE s.t"]
        {
            assert_eq!(refusal(session, sql).await, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
        let as_owner = format!("SET ROLE {}_owner", credentials["database"].as_str().unwrap());
        assert_eq!(refusal(session, &as_owner).await, SqlState::INSUFFICIENT_PRIVILEGE);
    }

    for binding in ["early", "writer", "owner", "late"] {
        assert_eq!(platform.unbind("ranks", binding).await.0, 200, "{binding}");
    }
    assert!(is_refused(&server, &credentials).await);
    assert_eq!(platform.deprovision("ranks").await.0, 200);
    let database = credentials["database"].as_str().unwrap();
    let roles = server.psql(&format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{database}%'"));
    assert!(roles.is_empty(), "{roles:?}");
}

#[tokio::test]
async fn an_instance_is_deleted_after_bindings_of_every_kind() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provision("every-kind").await;
    let (credentials, _owner) = bound(&platform, &server, ["every-kind", "owner"], "owner").await;
    let (_, _writer) = bound(&platform, &server, ["every-kind", "writer"], "readwrite").await;
    let (_, _reader) = bound(&platform, &server, ["every-kind", "reader"], "readonly").await;
    assert_eq!(platform.deprovision("every-kind").await.0, 200);
    let (user, database) =
        (credentials["username"].as_str().unwrap(), credentials["database"].as_str().unwrap());
    let sql = format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{database}%' OR rolname = '{user}'");
    assert!(server.psql(&sql).is_empty());
}

#[tokio::test]
async fn a_reader_gets_access_when_its_incomplete_group_is_completed() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provision("half-made").await;
    let (credentials, owner) = bound(&platform, &server, ["half-made", "owner"], "owner").await;
    owner.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let database = credentials["database"].as_str().unwrap();
    let marker = server.psql(&format!(
        "SELECT k.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles k ON k.oid = m.member \
         WHERE r.rolname = '{database}_owner' AND k.rolname LIKE 'bindery\\_%'"
    ));
    // The state after a crash before the rights were granted.
    server.psql(&format!("SET ROLE {ADMIN}; CREATE ROLE {database}_readonly NOLOGIN ROLE {}", marker[0]));
    let (_, reader) = bound(&platform, &server, ["half-made", "reader"], "readonly").await;
    reader.batch_execute("SELECT * FROM t").await.unwrap();
}

#[tokio::test]
async fn an_expired_binding_is_locked_and_its_sessions_end() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "validFor: {default: 30d, maximum: 60d}").await;
    platform.provision("timed").await;
    let (status, body) = platform.bind("timed", "month").await;
    assert_eq!(status, 201);
    let ends: jiff::Timestamp = body["metadata"]["expires_at"].as_str().unwrap().parse().unwrap();
    let renew: jiff::Timestamp = body["metadata"]["renew_before"].as_str().unwrap().parse().unwrap();
    // Expiries are rounded to seconds, so they may be slightly later.
    let days = |until: jiff::Timestamp| (until.duration_since(jiff::Timestamp::now()).as_hours() + 12) / 24;
    assert_eq!((days(ends), days(renew)), (30, 20), "{body}");

    let credentials = platform.credentials_with("timed", "short", json!({"validFor": "6s"})).await;
    let uri = credentials["uri"].as_str().unwrap();
    let session = Postgres::session(uri);
    let user = credentials["username"].as_str().unwrap();
    server.until(&format!("SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = '{user}'")).await;
    session.ended().await;
    assert!(is_refused(&server, &credentials).await);
    server.until(&format!("SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = '{user}'")).await;
    assert!(!is_refused(&server, &body["credentials"]).await, "the other binding is not affected");
    assert_eq!(platform.unbind("timed", "short").await.0, 200);
    assert_eq!(platform.unbind("timed", "month").await.0, 200);
    platform.deprovision("timed").await;
}

#[tokio::test]
async fn a_plan_limits_what_bindings_may_request() {
    let server = Postgres::shared();
    let plan = "access: {default: readonly, allowed: [readonly, readwrite]}, validFor: {maximum: 1h}";
    let platform = Platform::postgresql(&server, plan).await;
    platform.provision("asked").await;
    for (parameters, told) in [
        (json!({"access": "owner"}), ["access", "readonly"]),
        (json!({"validFor": "2h"}), ["validFor", "1h"]),
        (json!({"colour": "red"}), ["colour", "not allowed"]),
    ] {
        let (status, body) = platform.bind_with("asked", "b", parameters).await;
        let told = told
            .iter()
            .all(|word| body["description"].as_str().unwrap().to_lowercase().contains(&word.to_lowercase()));
        assert!(status == 400 && told, "{status} {body}");
    }
    let (status, body) = platform.bind("asked", "b").await;
    assert_eq!(status, 201);
    assert!(body["metadata"]["expires_at"].is_string(), "{body}");
    let reader = connect(&server, &body["credentials"]).await.unwrap();
    assert_eq!(refusal(&reader, "CREATE TABLE t (a int)").await, SqlState::INSUFFICIENT_PRIVILEGE);
    platform.deprovision("asked").await;
}

#[tokio::test]
async fn a_rotated_binding_keeps_access_and_expiry_and_both_passwords_work() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provision("rotated").await;
    let owner = connect(&server, &platform.credentials("rotated", "owner").await).await.unwrap();
    owner.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let parameters = json!({"access": "readonly", "validFor": "1h"});
    let former = platform.credentials_with("rotated", "former", parameters).await;
    let (status, body) = platform.rotate("rotated", "next", "former").await;
    assert_eq!(status, 201, "{body}");
    let next = &body["credentials"];
    assert!(body["metadata"]["expires_at"].is_string(), "{body}");
    assert_ne!(former["username"], next["username"]);
    for credentials in [&former, next] {
        let reader = connect(&server, credentials).await.unwrap();
        reader.batch_execute("SELECT * FROM t").await.unwrap();
        assert_eq!(refusal(&reader, "DELETE FROM t").await, SqlState::INSUFFICIENT_PRIVILEGE);
    }
    assert_eq!(platform.unbind("rotated", "former").await.0, 200);
    assert!(is_refused(&server, &former).await && !is_refused(&server, next).await);
    drop(owner);
    platform.deprovision("rotated").await;
}
