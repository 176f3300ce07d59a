//! Statements that CockroachDB refuses and PostgreSQL accepts. On a real CockroachDB these tests verify the stand-in's
//! assumptions.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

use crate::{
    cluster::{Cluster, code, connect},
    postgres::{ADMIN, Postgres},
    stand_in::REFUSED,
};

/// One statement for each entry of the stand-in's list.
const EXAMPLES: [(&str, &str); 16] = [
    (r#"ALTER ROLE "bindery" SET role = 'bindery'"#, "55P02"),
    (r#"CREATE ROLE "x" IN ROLE "bindery""#, "42601"),
    (r#"CREATE USER "x" IN ROLE "bindery""#, "42601"),
    (r#"CREATE ROLE "x" CONNECTION LIMIT 1"#, "42601"),
    (r#"CREATE USER "x" CONNECTION LIMIT 1"#, "42601"),
    (r#"ALTER ROLE "bindery" CONNECTION LIMIT 1"#, "42601"),
    (r#"CREATE ROLE "x" SUPERUSER"#, "42601"),
    (r#"CREATE ROLE "x" INHERIT"#, "42601"),
    (r#"CREATE ROLE "x" NOINHERIT"#, "42601"),
    (r#"CREATE DATABASE "x" OWNER "bindery" ENCODING 'UTF8'"#, "42601"),
    (r#"CREATE DATABASE "x" TEMPLATE "postgres""#, "0A000"),
    (r#"DROP DATABASE IF EXISTS "x" WITH (FORCE)"#, "42601"),
    (r#"DROP OWNED BY "bindery" CASCADE"#, "0A000"),
    ("SELECT pg_terminate_backend(1)", "42883"),
    ("SELECT lo_create(0)", "42883"),
    (r#"ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO "bindery""#, "42601"),
];

#[tokio::test]
async fn the_stand_in_refuses_what_cockroachdb_refuses() {
    let cluster = Cluster::open().await;
    let session = cluster.administrator("postgres").await;
    assert_eq!(EXAMPLES.len(), REFUSED.len());
    for (sql, expected) in EXAMPLES {
        assert_eq!(code(session.batch_execute(sql).await), expected, "{sql}");
    }
}

/// Applications get the same refusals.
#[tokio::test]
async fn applications_get_the_same_refusals() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("plain").await.0, 201);
    let credentials = platform.credentials("plain", "b").await;
    let session = connect(&cluster, &credentials).await.unwrap();
    let login = credentials["username"].as_str().unwrap();
    let set = format!("ALTER ROLE \"{login}\" SET role = '{ADMIN}'");
    for (sql, expected) in [(set.as_str(), "55P02"), ("SELECT lo_create(0)", "42883")] {
        assert_eq!(code(session.batch_execute(sql).await), expected, "{sql}");
    }
    assert_eq!(platform.deprovision("plain").await.0, 200);
}

/// A test must fail if bindery sends a statement that nobody checked.
#[tokio::test]
async fn the_stand_in_refuses_unverified_statements() {
    let cluster = Cluster::stand_in_before(Postgres::shared());
    let stand_in = cluster.stand_in();
    let session = cluster.administrator("postgres").await;
    for sql in [
        "SELECT 1",
        "CREATE ROLE x",
        r#"CREATE ROLE "x""#,
        r#"DROP ROLE IF EXISTS "x"; DROP ROLE IF EXISTS "y""#,
        r#"DROP ROLE IF EXISTS "x" --"#,
        r#"CREATE EXTENSION "hstore""#,
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "x" GRANT INSERT ON TABLES TO "y""#,
        "DO 'BEGIN END'",
        "SELECT database_name::text FROM [SHOW DATABASES] WHERE database_name <> 'other'",
    ] {
        let error = session.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{sql}");
        assert!(error.as_db_error().unwrap().message().contains("does not know this statement"), "{sql}");
        assert_eq!(stand_in.unknown(), [sql]);
    }
    let error = session.query_typed("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    assert_eq!(stand_in.unknown(), ["SELECT 1"]);
}

/// DROP OWNED keeps default privileges, which depend on both roles.
#[tokio::test]
async fn default_privileges_block_the_drop_of_a_role_until_they_are_revoked() {
    let cluster = Cluster::open().await;
    let session = cluster.administrator("postgres").await;
    let run = async |sql: &str| session.batch_execute(sql).await;
    let (maker, grantee) =
        (format!("maker_{}", std::process::id()), format!("grantee_{}", std::process::id()));
    for role in [&maker, &grantee] {
        run(&format!("CREATE ROLE IF NOT EXISTS \"{role}\"")).await.unwrap();
        run(&format!("CREATE ROLE IF NOT EXISTS \"{role}\"")).await.unwrap();
        run(&format!("GRANT \"{role}\" TO \"{ADMIN}\"")).await.unwrap();
    }
    let share = format!("ALTER DEFAULT PRIVILEGES FOR ROLE \"{maker}\" GRANT ALL ON TABLES TO \"{grantee}\"");
    run(&share).await.unwrap();
    for role in [&maker, &grantee] {
        run(&format!("DROP OWNED BY \"{role}\"")).await.unwrap();
        assert_eq!(code(run(&format!("DROP ROLE IF EXISTS \"{role}\"")).await), "2BP01");
    }
    let take =
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE \"{maker}\" REVOKE ALL ON TABLES FROM \"{grantee}\"");
    run(&take).await.unwrap();
    for role in [&maker, &grantee] {
        run(&format!("DROP ROLE IF EXISTS \"{role}\"")).await.unwrap();
    }
    let all = format!("ALTER DEFAULT PRIVILEGES FOR ALL ROLES REVOKE ALL ON TABLES FROM \"{ADMIN}\"");
    assert_eq!(code(run(&all).await), "42501", "only for members of admin");
}

/// An administrator as in docs/broker.md has all privileges; if one is missing, the message names it.
#[tokio::test]
async fn missing_rights_are_named() {
    let server = Arc::new(Postgres::start("127.0.0.1", &["127.0.0.1"]));
    let cluster = Cluster::stand_in_before(Arc::clone(&server));
    let platform = cluster.platform().await;
    let check = async || platform.broker.check_servers().await.remove(0).result;
    assert_eq!(check().await.unwrap(), "CockroachDB v25.2");
    server.psql(&format!("ALTER ROLE {ADMIN} NOCREATEDB"));
    server.psql(&format!("REVOKE \"system:CANCELQUERY\", \"system:VIEWACTIVITY\" FROM {ADMIN}"));
    let error = check().await.unwrap_err().to_string();
    assert!(error.contains("administrator bindery lacks CREATEDB, CANCELQUERY, VIEWACTIVITY;"), "{error}");
}
