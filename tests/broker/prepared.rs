//! Prepared transactions, which outlive their sessions and keep their locks.

use serde_json::json;
use tokio_postgres::Client;

use crate::{
    platform::{Platform, text},
    postgres::Postgres,
    server::{connect, is_refused, outside},
};

async fn run(session: &Client, statements: &[&str]) {
    for sql in statements {
        session.batch_execute(sql).await.unwrap();
    }
}

fn prepared(server: &Postgres, gid: &str) -> Vec<String> {
    server.psql(&format!("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE '{gid}%'"))
}

/// A login changes its own role, which requires no permission, and prepares the transaction: this locks its role.
#[tokio::test]
async fn a_login_that_prepared_a_change_of_its_role_is_locked() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("preparing").await;
    for (access, within, prepares_as) in [
        ("owner", true, "login"),
        ("owner", false, "owner"),
        ("readonly", false, "login"),
        ("owner", true, "owner"),
    ] {
        let credentials = platform.credentials_with("preparing", "b", json!({"access": access})).await;
        let session = if within {
            connect(&server, &credentials).await.unwrap()
        } else {
            outside(&server, &credentials).await
        };
        let login = text(&credentials, "username");
        let owner = format!("SET ROLE {}_owner", text(&credentials, "database"));
        let role = if prepares_as == "owner" { owner.as_str() } else { "SET ROLE NONE" };
        let change = format!("ALTER ROLE {login} PASSWORD 'mine'");
        let gid = format!("PREPARE TRANSACTION 'preparing-{access}'' \\'");
        run(&session, &["SET ROLE NONE", "BEGIN", &change, role, &gid]).await;
        assert_eq!(prepared(&server, "preparing").len(), 1);

        let answer = platform.unbind("preparing", "b").await;
        assert_eq!(answer.0, 200, "{access} {within} {prepares_as}: {answer:?}");
        assert!(is_refused(&server, &credentials).await);
        assert_eq!(prepared(&server, "preparing"), Vec::<String>::new());
        let left = server.psql(&format!("SELECT rolname FROM pg_roles WHERE rolname = '{login}'"));
        assert_eq!(left, Vec::<String>::new());
    }
    platform.deprovisioned("preparing").await;
}

#[tokio::test]
async fn an_expired_login_is_locked_despite_its_prepared_transactions() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("late").await;
    let credentials = platform.credentials_with("late", "b", json!({"validFor": "3s"})).await;
    let session = connect(&server, &credentials).await.unwrap();
    let login = text(&credentials, "username");
    let change = format!("ALTER ROLE {login} PASSWORD 'mine'");
    run(&session, &["SET ROLE NONE", "BEGIN", &change, "PREPARE TRANSACTION 'late'"]).await;
    server.until(&format!("SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = '{login}'")).await;
    assert!(is_refused(&server, &credentials).await);
    platform.deprovisioned("late").await;
}

/// Of the transactions that another binding of the instance prepared, only those that block are rolled back.
#[tokio::test]
async fn transactions_of_other_bindings_stay_prepared() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("ledger").await;
    let one = platform.credentials("ledger", "one").await;
    let two = platform.credentials("ledger", "two").await;
    let session = connect(&server, &two).await.unwrap();
    let insert =
        ["CREATE TABLE t (a int)", "BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'ledger'"];
    run(&session, &insert).await;
    assert_eq!(platform.unbind("ledger", "one").await.0, 200);
    assert!(is_refused(&server, &one).await);
    assert_eq!(prepared(&server, "ledger"), ["ledger"]);
    run(&session, &["COMMIT PREPARED 'ledger'"]).await;
    platform.deprovisioned("ledger").await;
}

#[tokio::test]
async fn a_database_with_prepared_transactions_is_dropped() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for shut in [false, true] {
        platform.provisioned("frozen").await;
        let credentials = platform.credentials("frozen", "b").await;
        let database = text(&credentials, "database");
        let session = connect(&server, &credentials).await.unwrap();
        let insert =
            ["CREATE TABLE t (a int)", "BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'frozen-1'"];
        run(&session, &insert).await;
        // In another database, with a lock on this one.
        let session = outside(&server, &credentials).await;
        let (owner, limit) =
            (format!("SET ROLE {database}_owner"), format!("ALTER DATABASE {database} CONNECTION LIMIT 5"));
        if shut {
            run(&session, &[&owner, &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")]).await;
        } else {
            run(&session, &[&owner, "BEGIN", &limit, "PREPARE TRANSACTION 'frozen-2'"]).await;
        }
        let answer = platform.deprovision("frozen").await;
        assert_eq!(answer.0, 200, "{answer:?}");
        assert_eq!(prepared(&server, "frozen"), Vec::<String>::new());
        let gone = format!("SELECT 1 FROM pg_database WHERE datname = '{database}'");
        assert_eq!(server.psql(&gone), Vec::<String>::new());
    }
}

/// The grant locks the victim's role, and there is no session to end.
#[tokio::test]
async fn a_prepared_grant_does_not_prevent_the_drop_of_another_login() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for instance in ["granting", "granted"] {
        platform.provisioned(instance).await;
    }
    let granting = platform.credentials("granting", "b").await;
    let granted = platform.credentials("granted", "b").await;
    let login = text(&granted, "username");
    let session = connect(&server, &granting).await.unwrap();
    let grant = format!("GRANT SELECT ON t TO {login}");
    run(&session, &["CREATE TABLE t (a int)", "BEGIN", &grant, "PREPARE TRANSACTION 'granting'"]).await;
    assert_eq!(platform.unbind("granted", "b").await.0, 200);
    let left = server.psql(&format!("SELECT rolname FROM pg_roles WHERE rolname = '{login}'"));
    assert_eq!(left, Vec::<String>::new());
    for instance in ["granting", "granted"] {
        platform.deprovisioned(instance).await;
    }
}

/// bindery must not end transactions that an administrator of the server prepared; the answer contains the remedy.
#[tokio::test]
async fn a_prepared_transaction_of_a_superuser_is_reported_with_the_remedy() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("audited").await;
    let credentials = platform.credentials("audited", "b").await;
    let database = text(&credentials, "database");
    server.psql_in(database, "CREATE TABLE public.audit (a int)");
    let held =
        server.hold_in(database, "BEGIN; INSERT INTO public.audit VALUES (1); PREPARE TRANSACTION 'audit';");
    server.until("SELECT count(*) = 1 FROM pg_prepared_xacts WHERE gid = 'audit'").await;
    held.release();
    let (status, body) = platform.deprovision("audited").await;
    let told = body["description"].as_str().unwrap();
    assert!(status == 500 && told.contains("ROLLBACK PREPARED 'audit'") && told.contains(database), "{body}");
    assert!(is_refused(&server, &credentials).await);
    server.psql_in(database, "ROLLBACK PREPARED 'audit'");
    platform.deprovisioned("audited").await;
}
