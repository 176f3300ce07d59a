//! The life of instances and bindings from provisioning to deprovisioning, as applications see it.

use bindery::broker::sweep;

use crate::cluster::{Cluster, code, connect, is_refused};

/// Objects that one binding creates are accessible to the other, existing and future ones, and survive the first
/// binding, even if it is connected and has tables, schemas and default privileges of its own.
#[tokio::test]
async fn bindings_share_all_objects_and_leave_nothing_behind() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("shared").await, (201, serde_json::json!({})));
    let one = platform.credentials("shared", "one").await;
    let first = connect(&cluster, &one).await.unwrap();
    first.batch_execute("CREATE TABLE present (a int); INSERT INTO present VALUES (1)").await.unwrap();
    let two = platform.credentials("shared", "two").await;
    let second = connect(&cluster, &two).await.unwrap();

    first.batch_execute("CREATE SCHEMA s; CREATE TABLE s.future (a int)").await.unwrap();
    second.batch_execute("INSERT INTO present VALUES (2); INSERT INTO s.future VALUES (3)").await.unwrap();
    second.batch_execute("CREATE TABLE back (a int); CREATE SEQUENCE n").await.unwrap();
    first.batch_execute("INSERT INTO back VALUES (4); SELECT nextval('n')").await.unwrap();

    let (login, other) = (one["username"].as_str().unwrap(), two["username"].as_str().unwrap());
    for sql in [
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public".to_owned(),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT INSERT ON TABLES TO \"{other}\""),
        format!("GRANT SELECT ON present TO \"{other}\""),
    ] {
        first.batch_execute(&sql).await.unwrap();
    }
    for sql in [
        format!("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \"{login}\""),
        format!("GRANT SELECT ON back TO \"{login}\""),
    ] {
        second.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(platform.unbind("shared", "one").await, (200, serde_json::json!({})));
    first.batch_execute("SELECT 1").await.unwrap_err();
    assert!(is_refused(&cluster, &one).await);
    let sum = "SELECT (sum(a))::int8 FROM (SELECT a FROM present UNION ALL SELECT a FROM s.future UNION ALL SELECT a FROM back) AS t";
    assert_eq!(second.query_one(sum, &[]).await.unwrap().get::<_, i64>(0), 10);
    second.batch_execute("CREATE TABLE s.later (a int)").await.unwrap();

    let report = sweep(platform.config(), &[], false).await.unwrap();
    assert_eq!(report.leftover, []);
    assert_eq!(platform.unbind("shared", "two").await, (200, serde_json::json!({})));
    assert_eq!(platform.deprovision("shared").await, (200, serde_json::json!({})));
    assert_eq!(cluster.left_of(&[&one, &two]).await, Vec::<String>::new());
}

/// A role's built-in privileges count as default privileges. Revoking them is stored as an entry, and its role cannot
/// be dropped (#151879).
#[tokio::test]
async fn revoked_default_privileges_do_not_block_deletion() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("fewer").await.0, 201);
    let one = platform.credentials("fewer", "one").await;
    let session = connect(&cluster, &one).await.unwrap();
    let login = one["username"].as_str().unwrap();
    for sql in [
        "ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM public".to_owned(),
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public".to_owned(),
        format!("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM \"{login}\""),
        format!("ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM \"{login}\""),
    ] {
        session.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(platform.unbind("fewer", "one").await, (200, serde_json::json!({})));
    assert_eq!(platform.deprovision("fewer").await, (200, serde_json::json!({})));
    assert_eq!(cluster.left_of(&[&one]).await, Vec::<String>::new());
}

/// Bindings that may only read or write can access existing and later objects of the owners, and cannot create any.
#[tokio::test]
async fn each_access_level_has_exactly_its_rights() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("levels").await.0, 201);
    let with = async |access: &str| {
        let parameters = serde_json::json!({"access": access, "validFor": "1h"});
        platform.credentials_with("levels", access, parameters).await
    };
    let owner = with("owner").await;
    let maker = connect(&cluster, &owner).await.unwrap();
    maker.batch_execute("CREATE TABLE present (a int)").await.unwrap();
    let (readwrite, readonly) = (with("readwrite").await, with("readonly").await);
    maker
        .batch_execute("CREATE TABLE future (a int); CREATE SCHEMA s; CREATE TABLE s.t (a int)")
        .await
        .unwrap();
    let later = platform.credentials("levels", "later").await;
    let other = connect(&cluster, &later).await.unwrap();
    other.batch_execute("CREATE TABLE later (a int)").await.unwrap();

    let writer = connect(&cluster, &readwrite).await.unwrap();
    let reader = connect(&cluster, &readonly).await.unwrap();
    for table in ["present", "future", "s.t", "later"] {
        writer.batch_execute(&format!("INSERT INTO {table} VALUES (1); DELETE FROM {table}")).await.unwrap();
        reader.batch_execute(&format!("SELECT * FROM {table}")).await.unwrap();
        let write = format!("INSERT INTO {table} VALUES (1)");
        assert_eq!(code(reader.batch_execute(&write).await), "42501", "{table}");
    }
    for session in [&writer, &reader] {
        for sql in ["CREATE TABLE public.t (a int)", "DROP TABLE public.present", "CREATE TABLE s.u (a int)"]
        {
            assert_eq!(code(session.batch_execute(sql).await), "42501", "{sql}");
        }
    }
    for binding in ["readonly", "owner"] {
        assert_eq!(platform.unbind("levels", binding).await, (200, serde_json::json!({})), "{binding}");
    }
    writer.batch_execute("INSERT INTO present VALUES (1)").await.unwrap();
    let again = with("readonly").await;
    let reader = connect(&cluster, &again).await.unwrap();
    reader.batch_execute("SELECT * FROM present; SELECT * FROM later").await.unwrap();
    let report = sweep(platform.config(), &[], false).await.unwrap();
    assert_eq!(report.leftover, []);
    assert_eq!(platform.deprovision("levels").await, (200, serde_json::json!({})));
    assert_eq!(cluster.left_of(&[&owner, &readwrite, &readonly, &later]).await, Vec::<String>::new());
}

/// Deleting the instance deletes its bindings.
#[tokio::test]
async fn an_instance_is_deleted_after_its_bindings() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("whole").await.0, 201);
    assert_eq!(platform.provision("whole").await.0, 200);
    let one = platform.credentials("whole", "one").await;
    let (status, again) = platform.bind("whole", "one").await;
    assert_eq!((status, &again["credentials"]), (200, &one));
    let session = connect(&cluster, &one).await.unwrap();
    session.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    assert_eq!(platform.deprovision("whole").await, (200, serde_json::json!({})));
    assert!(is_refused(&cluster, &one).await);
    assert_eq!(cluster.left_of(&[&one]).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_check_reports_the_engine() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    let engine = platform.broker.check_servers().await.remove(0).result.unwrap();
    assert!(engine.starts_with("CockroachDB v"), "{engine}");
}
