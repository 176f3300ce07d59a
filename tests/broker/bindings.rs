//! The life of instances and bindings from provisioning to deprovisioning, as applications see it.

use sha2::{Digest, Sha256};

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

#[tokio::test]
async fn bindings_share_a_database_and_are_deleted_separately() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("share").await.0, 201);
    let one = platform.credentials("share", "one").await;
    let mut keys: Vec<_> = one.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["database", "host", "jdbcURL", "password", "port", "uri", "username"]);

    let session = connect(&server, &one).await.unwrap();
    session.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();

    let two = platform.credentials("share", "two").await;
    assert_ne!(one["username"], two["username"]);
    let other = connect(&server, &two).await.unwrap();
    other
        .batch_execute("INSERT INTO t VALUES (2); ALTER TABLE t ADD b text; CREATE TABLE u (a int)")
        .await
        .unwrap();

    assert_eq!(platform.unbind("share", "one").await.0, 200);
    session.batch_execute("SELECT 1").await.unwrap_err();
    assert!(is_refused(&server, &one).await);
    let left = other.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(left, 2);
    connect(&server, &two).await.unwrap();

    assert_eq!(platform.unbind("share", "two").await.0, 200);
    assert_eq!(platform.deprovision("share").await.0, 200);
    assert_eq!(nothing_of(&server, &[&one, &two]), Vec::<String>::new());
    assert_eq!(platform.deprovision("share").await.0, 410);
    assert_eq!(platform.unbind("share", "two").await.0, 410);
}

/// What still exists of the credentials' database, owner role and logins.
fn nothing_of(server: &Postgres, credentials: &[&serde_json::Value]) -> Vec<String> {
    let database = credentials[0]["database"].as_str().unwrap();
    let logins: Vec<_> =
        credentials.iter().map(|each| format!("'{}'", each["username"].as_str().unwrap())).collect();
    server.psql(&format!(
        "SELECT datname FROM pg_database WHERE datname = '{database}' UNION ALL \
         SELECT rolname FROM pg_roles WHERE rolname = '{database}_owner' OR rolname IN ({})",
        logins.join(", ")
    ))
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer() {
    let server = Postgres::shared();
    let mut platform = Platform::on(&server).await;
    assert_eq!(platform.provision("again").await.0, 201);
    assert_eq!(platform.provision("again").await.0, 200);
    let first = platform.credentials("again", "b").await;
    platform.restart().await;
    let (status, body) = platform.bind("again", "b").await;
    assert_eq!((status, &body["credentials"]), (200, &first));
    connect(&server, &first).await.unwrap();
    assert_eq!(platform.deprovision("again").await.0, 200);
    assert_eq!(nothing_of(&server, &[&first]), Vec::<String>::new(), "the binding goes with its instance");
}

#[tokio::test]
async fn the_store_contains_no_password() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    platform.provision("sealed").await;
    let credentials = platform.credentials("sealed", "b").await;
    let mut seen = 0;
    for file in std::fs::read_dir(platform.store()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!has(credentials["password"].as_str().unwrap()));
        seen += usize::from(has("sealed"));
    }
    assert!(seen > 0, "the store's files were not looked at");
    assert_eq!(platform.deprovision("sealed").await.0, 200);
}

#[tokio::test]
async fn logins_cannot_connect_to_other_instances() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let mine = platform.credentials("mine", "b").await;
    let theirs = platform.credentials("theirs", "b").await;
    let mut crossed = mine.clone();
    let crossed_uri = mine["uri"]
        .as_str()
        .unwrap()
        .replace(mine["database"].as_str().unwrap(), theirs["database"].as_str().unwrap());
    crossed["uri"] = crossed_uri.into();
    let error = connect(&server, &crossed).await.err().unwrap();
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{error:?}");
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
}

/// Whatever a user did: owns objects under its own name, has default privileges in both directions, has rights granted
/// by another user, holds a large object in the maintenance database.
#[tokio::test]
async fn unbinding_succeeds_whatever_the_user_did() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    platform.provision("mess").await;
    let one = platform.credentials("mess", "one").await;
    let two = platform.credentials("mess", "two").await;
    let login = one["username"].as_str().unwrap();
    let session = connect(&server, &one).await.unwrap();
    session
        .batch_execute(&format!(
            "CREATE SCHEMA s; SET ROLE NONE; CREATE TABLE own (a int); INSERT INTO own VALUES (7); CREATE TABLE s.own (a int); \
             CREATE TYPE mood AS ENUM ('fine'); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; GRANT SELECT ON own TO \"{}\"",
            two["username"].as_str().unwrap()
        ))
        .await
        .unwrap();
    let database = one["database"].as_str().unwrap();
    let other = connect(&server, &two).await.unwrap();
    other
        .batch_execute(&format!(
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \"{login}\"; GRANT CONNECT ON DATABASE \"{database}\" TO \"{login}\""
        ))
        .await
        .unwrap();
    let mut elsewhere = one.clone();
    elsewhere["uri"] = one["uri"].as_str().unwrap().replace(database, "postgres").into();
    connect(&server, &elsewhere).await.unwrap().batch_execute("SELECT lo_create(0)").await.unwrap();

    assert_eq!(platform.unbind("mess", "one").await, (200, serde_json::json!({})));
    assert!(is_refused(&server, &one).await);
    session.batch_execute("SELECT 1").await.unwrap_err();
    let kept = other.query_one("SELECT a FROM own", &[]).await.unwrap().get::<_, i32>(0);
    assert_eq!(kept, 7);
    other.batch_execute("DROP TABLE s.own; DROP TYPE mood").await.unwrap();

    server.psql(&format!("DROP DATABASE \"{database}\" WITH (FORCE)"));
    assert_eq!(platform.unbind("mess", "two").await.0, 200, "the database is gone already");
    assert_eq!(platform.deprovision("mess").await.0, 200);
    assert_eq!(nothing_of(&server, &[&one, &two]), Vec::<String>::new());
}

/// Any role may be granted rights by any other role in any database, and cannot be dropped while it has them.
#[tokio::test]
async fn no_login_can_prevent_the_unbinding_of_another() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    for instance in ["victim", "tenant"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let victim = platform.credentials("victim", "b").await;
    let neighbour = platform.credentials("victim", "c").await;
    let tenant = platform.credentials("tenant", "b").await;
    let login = victim["username"].as_str().unwrap();
    let owner = format!("{}_owner", victim["database"].as_str().unwrap());
    for granter in [&neighbour, &tenant] {
        let session = connect(&server, granter).await.unwrap();
        let sql =
            format!("SET ROLE NONE; CREATE TABLE t (a int); GRANT SELECT ON t TO \"{login}\", \"{owner}\"");
        session.batch_execute(&sql).await.unwrap();
    }
    // In the maintenance database, to which every role may connect.
    let mut elsewhere = tenant.clone();
    let uri = tenant["uri"].as_str().unwrap();
    elsewhere["uri"] = uri.replace(tenant["database"].as_str().unwrap(), "postgres").into();
    let sql =
        format!("SELECT lo_create(77001); GRANT SELECT ON LARGE OBJECT 77001 TO \"{login}\", \"{owner}\"");
    connect(&server, &elsewhere).await.unwrap().batch_execute(&sql).await.unwrap();

    assert_eq!(platform.unbind("victim", "b").await, (200, serde_json::json!({})));
    assert_eq!(platform.deprovision("victim").await, (200, serde_json::json!({})));
    assert_eq!(nothing_of(&server, &[&victim, &neighbour]), Vec::<String>::new());
    let session = connect(&server, &tenant).await.unwrap();
    session.batch_execute("SET ROLE NONE; DROP TABLE t").await.unwrap();
    assert_eq!(platform.deprovision("tenant").await, (200, serde_json::json!({})));
}

/// The logins of an earlier bindery: the administrator may not act for them yet.
#[tokio::test]
async fn grants_that_bindery_lost_do_not_block_unbinding() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("early").await.0, 201);
    let victim = platform.credentials("early", "b").await;
    let other = platform.credentials("early", "c").await;
    let (login, granter) = (victim["username"].as_str().unwrap(), other["username"].as_str().unwrap());
    // Revokes bindery's own grant, but not the one that PostgreSQL 16 and later adds when a role creates a login.
    server.psql(&format!("REVOKE \"{granter}\" FROM {ADMIN} GRANTED BY {ADMIN}"));
    let session = connect(&server, &other).await.unwrap();
    let sql = format!("SET ROLE NONE; CREATE TABLE t (a int); GRANT SELECT ON t TO \"{login}\"");
    session.batch_execute(&sql).await.unwrap();

    assert_eq!(platform.unbind("early", "b").await, (200, serde_json::json!({})));
    assert_eq!(platform.deprovision("early").await, (200, serde_json::json!({})));
    assert_eq!(nothing_of(&server, &[&victim, &other]), Vec::<String>::new());
}

/// The database has a name of bindery's form, and an owner for whom this administrator may not act.
#[tokio::test]
async fn objects_in_a_database_of_another_installation_do_not_block_unbinding() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("guest").await.0, 201);
    let credentials = platform.credentials("guest", "b").await;
    let foreign = format!("cf_{}", "a".repeat(32));
    server.psql(&format!("CREATE ROLE {foreign}_owner"));
    server.psql(&format!("CREATE DATABASE {foreign} OWNER {foreign}_owner"));
    let mut elsewhere = credentials.clone();
    let uri = credentials["uri"].as_str().unwrap();
    elsewhere["uri"] = uri.replace(credentials["database"].as_str().unwrap(), &foreign).into();
    let session = connect(&server, &elsewhere).await.unwrap();
    session.batch_execute("SELECT lo_create(0)").await.unwrap();

    assert_eq!(platform.unbind("guest", "b").await, (200, serde_json::json!({})));
    assert_eq!(platform.deprovision("guest").await, (200, serde_json::json!({})));
    server.psql(&format!("DROP DATABASE {foreign} WITH (FORCE)"));
    server.psql(&format!("DROP ROLE {foreign}_owner"));
}

#[tokio::test]
async fn created_objects_carry_the_installations_marks() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    platform.provision("mark'ed").await;
    let credentials = platform.credentials("mark'ed", "b").await;
    let database = credentials["database"].as_str().unwrap();
    let comment = server.psql(&format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}'"
    ));
    assert!(
        comment[0].starts_with("bindery installation=") && comment[0].ends_with(&shown("mark'ed")),
        "{comment:?}"
    );
    let marker = server.psql(&format!(
        "SELECT k.rolname FROM pg_auth_members m JOIN pg_roles k ON k.oid = member JOIN pg_roles r ON r.oid = roleid \
         WHERE r.rolname = '{database}_owner' AND k.rolname LIKE 'bindery\\_%'"
    ));
    assert!(marker[0].starts_with("bindery_") && marker[0].len() == 24, "{marker:?}");
    assert_eq!(platform.deprovision("mark'ed").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_are_created_concurrently() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    let lives = (0..16).map(async |number| {
        let instance = format!("many-{number}");
        assert_eq!(platform.provision(&instance).await.0, 201);
        let credentials = platform.credentials(&instance, "b").await;
        connect(&server, &credentials).await.unwrap().batch_execute("CREATE TABLE t (a int)").await.unwrap();
        assert_eq!(platform.unbind(&instance, "b").await, (200, serde_json::json!({})));
        assert_eq!(platform.deprovision(&instance).await, (200, serde_json::json!({})));
        assert_eq!(nothing_of(&server, &[&credentials]), Vec::<String>::new());
    });
    futures::future::join_all(lives).await;
}

/// An instance's id as the comment on its database shows it.
fn shown(id: &str) -> String {
    let hex: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(" instance sha256:{hex}")
}

/// Every login can read the comments of all databases, and with an id a user could request its owner's data elsewhere,
/// so comments must not contain ids. The comments of an earlier version are replaced at the start.
#[tokio::test]
async fn no_login_can_read_the_ids_of_other_instances() {
    let server = Postgres::shared();
    let mut platform = Platform::on(&server).await;
    let (victim, spy) = ("capability-of-the-victim", "spy");
    assert_eq!(platform.provision(victim).await.0, 201);
    assert_eq!(platform.provision(spy).await.0, 201);
    let database = platform.credentials(victim, "b").await["database"].as_str().unwrap().to_owned();
    let session = connect(&server, &platform.credentials(spy, "b").await).await.unwrap();
    let seen = async || {
        let sql = "SELECT string_agg(shobj_description(oid, 'pg_database'), ' ') FROM pg_database";
        session.query_one(sql, &[]).await.unwrap().get::<_, String>(0)
    };
    let comments = seen().await;
    assert!(!comments.contains(victim), "{comments}");
    let now = server.psql(&format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}'"
    ));
    let former = now[0].replace(&shown(victim), &format!(" instance={victim}"));
    assert_ne!(former, now[0]);
    server.psql(&format!("COMMENT ON DATABASE {database} IS '{former}'"));
    assert!(seen().await.contains(victim));
    platform.restart().await;
    let started = std::time::Instant::now();
    while seen().await.contains(victim) {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "the comment still shows the id");
        tokio::task::yield_now().await;
    }
    assert!(seen().await.contains(&shown(victim)));
    for instance in [victim, spy] {
        assert_eq!(platform.unbind(instance, "b").await.0, 200);
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
}

/// Ids can be any text; names are derived from them, and the mark contains a digest of the id for operators.
#[tokio::test]
async fn hostile_ids_do_no_harm() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    let long = "x".repeat(2_000);
    for id in ["a'b\"c`d\\", "\u{fc}\u{1f980}%_", "'; DROP DATABASE postgres; --", "$$; x", long.as_str()] {
        assert_eq!(platform.provision(id).await.0, 201, "{id}");
        let credentials = platform.credentials(id, id).await;
        let session = connect(&server, &credentials).await.unwrap();
        session.batch_execute("CREATE TABLE \"a\"\"'b\" (a int)").await.unwrap();
        let database = credentials["database"].as_str().unwrap();
        let comment = format!(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{database}'"
        );
        assert!(server.psql(&comment).concat().ends_with(&shown(id)), "{id}");
        assert_eq!(platform.unbind(id, id).await.0, 200, "{id}");
        assert_eq!(platform.deprovision(id).await.0, 200, "{id}");
        assert!(nothing_of(&server, &[&credentials]).is_empty(), "{id}");
    }
}
