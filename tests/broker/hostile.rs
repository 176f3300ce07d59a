//! Users who obstruct others or the administrator by all means of an owner's login.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    platform::{Platform, text},
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused, outside},
};

/// Shorter than the time limit of a statement.
const SOON: Duration = Duration::from_secs(45);

/// A session of a login outside of its database, as the owner role.
async fn owner_outside(server: &Postgres, credentials: &Value) -> Client {
    let session = outside(server, credentials).await;
    let owner = format!("SET ROLE {}_owner", text(credentials, "database"));
    session.batch_execute(&owner).await.unwrap();
    session
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = tokio::time::timeout(SOON, work).await;
    done.unwrap_or_else(|_| panic!("{what} takes {:?}", started.elapsed()))
}

#[tokio::test]
async fn the_administrator_never_runs_functions_of_tenants() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for instance in ["evil", "victim"] {
        platform.provisioned(instance).await;
    }
    let evil = platform.credentials("evil", "b").await;
    let victim = platform.credentials("victim", "b").await;
    let session = connect(&server, &evil).await.unwrap();
    let (login, prey) = (text(&evil, "username"), text(&victim, "database"));
    let grab = format!("EXECUTE 'GRANT {prey}_owner TO {login}'");
    session
        .batch_execute(&format!(
            "CREATE SCHEMA evil;
             CREATE FUNCTION evil.version() RETURNS text LANGUAGE plpgsql AS $$BEGIN {grab}; RETURN 'PostgreSQL 15'; END$$;
             CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN {grab}; RETURN pg_catalog.now(); END$$;
             CREATE FUNCTION public.grab(oid, regclass) RETURNS bool LANGUAGE plpgsql AS $$BEGIN {grab}; RETURN true; END$$;
             CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.grab);
             CREATE TABLE t (a int);
             ALTER DATABASE {} SET search_path = evil, public, pg_catalog",
            text(&evil, "database")
        ))
        .await
        .unwrap();
    // Each of these requests makes the administrator connect to the database.
    let reader = platform.reader("evil", "reader").await;
    connect(&server, &reader).await.unwrap();
    session.batch_execute("SET ROLE NONE; CREATE TABLE public.own (a int)").await.unwrap();
    drop(session);
    assert_eq!(platform.unbind("evil", "b").await.0, 200);
    let owners = format!(
        "SELECT count(DISTINCT m.member) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = '{prey}_owner'"
    );
    // The administrator, the marker and the victim's own login.
    assert_eq!(server.psql(&owners), ["3"]);
    for instance in ["evil", "victim"] {
        platform.deprovisioned(instance).await;
    }
}

#[tokio::test]
async fn a_login_cannot_prevent_its_role_from_being_locked() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("clinging").await;
    for access in ["owner", "readonly"] {
        let credentials = platform.credentials_with("clinging", access, json!({"access": access})).await;
        let session = connect(&server, &credentials).await.unwrap();
        let user = text(&credentials, "username");
        session
            .batch_execute(&format!("SET ROLE NONE; BEGIN; ALTER ROLE {user} PASSWORD 'mine'"))
            .await
            .unwrap();
        assert_eq!(soon("unbind", platform.unbind("clinging", access)).await.0, 200);
        assert!(is_refused(&server, &credentials).await);
    }
    platform.deprovisioned("clinging").await;
}

#[tokio::test]
async fn an_owner_cannot_prevent_the_drop_of_its_database() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for property in ["IS_TEMPLATE true", "CONNECTION LIMIT 0", "ALLOW_CONNECTIONS false"] {
        platform.provisioned("barred").await;
        let credentials = platform.credentials("barred", "b").await;
        let session = owner_outside(&server, &credentials).await;
        let database = text(&credentials, "database");
        session.batch_execute(&format!("ALTER DATABASE {database} WITH {property}")).await.unwrap();
        assert_eq!(soon(property, platform.deprovision("barred")).await.0, 200, "{property}");
        assert!(server.psql(&format!("SELECT 1 FROM pg_database WHERE datname = '{database}'")).is_empty());
    }
}

/// Role names are public, and a user can grant rights on its objects to another tenant's login.
#[tokio::test]
async fn no_login_can_prevent_the_drop_of_another() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for instance in ["blocker", "blocked"] {
        platform.provisioned(instance).await;
    }
    let blocker = platform.credentials("blocker", "b").await;
    let session = connect(&server, &blocker).await.unwrap();
    session.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let database = text(&blocker, "database").to_owned();
    for property in [
        "WITH ALLOW_CONNECTIONS false",
        "WITH CONNECTION LIMIT 0",
        "SET default_transaction_read_only = on",
        "SET search_path = nowhere",
        "SET idle_session_timeout = 1",
        "SET lock_timeout = 1",
        "SET local_preload_libraries = 'nosuch'",
        "SET exit_on_error = on",
        "SET tcp_user_timeout = 1",
        "SET transaction_read_only = on",
        "SET default_transaction_isolation = serializable",
        "SET client_encoding = 'EUC_JP'",
        "SET password_encryption = md5",
        "SET temp_tablespaces = nowhere",
    ] {
        let victim = platform.credentials("blocked", "b").await;
        session.batch_execute(&format!("GRANT SELECT ON t TO {}", text(&victim, "username"))).await.unwrap();
        let meddler = owner_outside(&server, &blocker).await;
        meddler.batch_execute(&format!("ALTER DATABASE {database} {property}")).await.unwrap();
        let answer = soon(property, platform.unbind("blocked", "b")).await;
        assert_eq!(answer.0, 200, "{property}: {answer:?}");
        let login = text(&victim, "username");
        let left = server.psql(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{login}'"));
        assert_eq!(left, Vec::<String>::new(), "{property}");
        server.psql(&format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1"));
        server.psql(&format!("ALTER DATABASE {database} RESET ALL"));
    }
    // The owner can revoke its own right to connect, which the administrator has only as a member of the owner role.
    for grantees in [format!("{database}_owner"), format!("{database}_owner, {ADMIN}, PUBLIC")] {
        let victim = platform.credentials("blocked", "b").await;
        let login = text(&victim, "username");
        session.batch_execute(&format!("GRANT SELECT ON t TO {login}")).await.unwrap();
        let revoke = format!("REVOKE ALL ON DATABASE {database} FROM {grantees} CASCADE");
        owner_outside(&server, &blocker).await.batch_execute(&revoke).await.unwrap();
        assert_eq!(soon("no CONNECT", platform.unbind("blocked", "b")).await.0, 200, "{grantees}");
        assert_eq!(
            server.psql(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{login}'")),
            Vec::<String>::new()
        );
    }
    // A grant whose transaction is still open.
    let victim = platform.credentials("blocked", "b").await;
    session
        .batch_execute(&format!("BEGIN; GRANT SELECT ON t TO {}", text(&victim, "username")))
        .await
        .unwrap();
    let answer = soon("an open transaction", platform.unbind("blocked", "b")).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    for instance in ["blocker", "blocked"] {
        platform.deprovisioned(instance).await;
    }
}

#[tokio::test]
async fn a_session_in_the_engines_template_does_not_block_provisioning() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("sitting").await;
    let credentials = platform.credentials("sitting", "b").await;
    let database = text(&credentials, "database");
    let uri = text(&credentials, "uri").replace(&format!("/{database}?"), "/template1?");
    let _session = server.connect(&uri).await.unwrap();
    platform.provisioned("sitting-2").await;
    for instance in ["sitting", "sitting-2"] {
        platform.deprovisioned(instance).await;
    }
}

#[tokio::test]
async fn a_retained_database_accepts_no_login_and_keeps_its_contents() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "reclaimPolicy: {allowed: [delete, retain]}").await;
    assert_eq!(platform.provision_with("kept", json!({"reclaimPolicy": "retain"})).await.0, 201);
    platform.provisioned("guest").await;
    let (host, guest) = (platform.credentials("kept", "b").await, platform.credentials("guest", "b").await);
    let (database, login) = (text(&host, "database"), text(&guest, "username"));
    let session = connect(&server, &host).await.unwrap();
    let invite =
        format!("GRANT CONNECT ON DATABASE {database} TO {login}; GRANT CREATE ON SCHEMA public TO {login}");
    session.batch_execute(&invite).await.unwrap();
    let uri = text(&guest, "uri").replace(text(&guest, "database"), database);
    let visit = server.connect(&uri).await.unwrap();
    visit.batch_execute("CREATE TABLE theirs AS SELECT 42 AS a").await.unwrap();
    platform.deprovisioned("kept").await;

    assert!(visit.batch_execute("SELECT 1").await.is_err(), "its session ended");
    let error = server.connect(&uri).await.err().unwrap();
    assert!(error.to_string().contains("too many connections") || error.code().is_some(), "{error:?}");
    assert_eq!(platform.unbind("guest", "b").await.0, 200);
    assert_eq!(server.psql_in(database, "SELECT a FROM theirs"), ["42"]);
    assert!(server.connect(&uri).await.is_err());
    platform.deprovisioned("guest").await;
    server.psql(&format!("DROP DATABASE {database}"));
    server.psql(&format!("DROP ROLE {database}_owner"));
}

/// The state after a crash between locking a login and ending its sessions.
#[tokio::test]
async fn sessions_of_an_expired_login_end_even_if_it_is_already_locked() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("lingering").await;
    let credentials = platform.credentials("lingering", "b").await;
    let user = text(&credentials, "username");
    let session = Postgres::session(text(&credentials, "uri"));
    server.until(&format!("SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = '{user}'")).await;
    server.psql(&format!("ALTER ROLE {user} NOLOGIN VALID UNTIL '2020-01-01'"));
    session.ended().await;
    platform.deprovisioned("lingering").await;
}
