//! Objects that a login creates under its own name, as clients do that leave the owner role.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{platform::Platform, postgres::Postgres, server::connect};

const MAKE: &str = "SET ROLE NONE; CREATE TABLE {name} (id serial, a int); INSERT INTO {name} (a) VALUES (1); \
    CREATE VIEW {name}_view AS SELECT a FROM {name}; CREATE SCHEMA {name}; CREATE TABLE {name}.t (id serial, a int)";

async fn make(session: &Client, name: &str) {
    session.batch_execute(&MAKE.replace("{name}", name)).await.unwrap();
}

async fn bound(
    platform: &Platform,
    server: &Postgres,
    [instance, binding]: [&str; 2],
    access: &str,
) -> (Value, Client) {
    let credentials = platform.credentials_with(instance, binding, json!({"access": access})).await;
    let session = connect(server, &credentials).await.unwrap();
    (credentials, session)
}

async fn reads(session: &Client, name: &str) {
    for table in [name.to_owned(), format!("{name}_view"), format!("{name}.t")] {
        session
            .query(&format!("SELECT a FROM {table}"), &[])
            .await
            .unwrap_or_else(|error| panic!("{table}: {error:?}"));
    }
}

async fn writes(session: &Client, name: &str) {
    reads(session, name).await;
    for table in [name.to_owned(), format!("{name}.t")] {
        let sql = format!(
            "INSERT INTO {table} (a) VALUES (2); UPDATE {table} SET a = 3 WHERE a = 2; DELETE FROM {table} WHERE a = 3"
        );
        session.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
    }
}

#[tokio::test]
async fn objects_that_a_login_creates_under_its_own_name_are_shared_with_all_bindings() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    assert_eq!(platform.provision("own").await.0, 201);
    let (_, one) = bound(&platform, &server, ["own", "one"], "owner").await;
    // Before any other binding exists.
    make(&one, "first").await;
    let (_, early) = bound(&platform, &server, ["own", "early"], "readonly").await;
    reads(&early, "first").await;
    let (_, two) = bound(&platform, &server, ["own", "two"], "owner").await;
    writes(&two, "first").await;
    two.batch_execute("CREATE TABLE first.of_two (a int)").await.unwrap();
    make(&one, "second").await;
    make(&two, "third").await;
    let (_, writer) = bound(&platform, &server, ["own", "writer"], "readwrite").await;
    let (_, three) = bound(&platform, &server, ["own", "three"], "owner").await;
    make(&three, "fourth").await;
    make(&one, "fifth").await;
    for name in ["first", "second", "third", "fourth", "fifth"] {
        for session in [&two, &three, &writer] {
            writes(session, name).await;
        }
        reads(&early, name).await;
        early.batch_execute(&format!("INSERT INTO {name} (a) VALUES (5)")).await.unwrap_err();
    }
    for binding in ["one", "three"] {
        assert_eq!(platform.unbind("own", binding).await.0, 200);
        for name in ["first", "second", "third", "fourth", "fifth"] {
            for session in [&two, &writer] {
                writes(session, name).await;
            }
            reads(&early, name).await;
        }
    }
    // The login's objects now belong to the owner role.
    two.batch_execute("ALTER TABLE first ADD b int; DROP TABLE second CASCADE; DROP SCHEMA fourth CASCADE")
        .await
        .unwrap();
    assert_eq!(platform.deprovision("own").await.0, 200);
}

/// The readers' group exists, and the login created something earlier that was not shared.
#[tokio::test]
async fn grants_are_repeated_when_a_login_is_dropped() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    assert_eq!(platform.provision("own-late").await.0, 201);
    let (_, reader) = bound(&platform, &server, ["own-late", "reader"], "readonly").await;
    let (credentials, one) = bound(&platform, &server, ["own-late", "one"], "owner").await;
    make(&one, "kept").await;
    let (database, login) =
        (credentials["database"].as_str().unwrap(), credentials["username"].as_str().unwrap());
    // The state that an earlier release left.
    server.psql_in(
        database,
        &format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public, kept FROM {database}_readonly; \
             REVOKE ALL ON SCHEMA kept FROM {database}_readonly"
        ),
    );
    reader.query("SELECT a FROM kept", &[]).await.unwrap_err();
    assert_eq!(platform.unbind("own-late", "one").await.0, 200);
    reads(&reader, "kept").await;
    assert_eq!(
        server.psql(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{login}'")),
        Vec::<String>::new()
    );
    assert_eq!(platform.deprovision("own-late").await.0, 200);
}

#[tokio::test]
async fn readers_and_writers_can_create_only_large_objects() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    assert_eq!(platform.provision("own-little").await.0, 201);
    for access in ["readonly", "readwrite"] {
        let (_, session) = bound(&platform, &server, ["own-little", access], access).await;
        for sql in [
            "CREATE TEMPORARY TABLE t (a int)",
            "CREATE TABLE t (a int)",
            "CREATE SCHEMA s",
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TYPE public.mood AS ENUM ('fine')",
            "CREATE SEQUENCE public.q",
            "CREATE EXTENSION hstore",
            "CREATE PUBLICATION p",
            "CREATE ROLE r",
            "CREATE DATABASE d",
        ] {
            session.batch_execute(sql).await.expect_err(sql);
        }
        // docs/databases.md describes how a superuser can prevent it.
        session.batch_execute("SELECT lo_create(0)").await.unwrap();
    }
    assert_eq!(platform.deprovision("own-little").await.0, 200);
}
