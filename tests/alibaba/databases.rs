//! The credentials of bindings, on a real database server.

use bindery_test_support::mariadb::MariaDb;
use serde_json::{Value, json};

use crate::cloud::{Cloud, MYSQL, POSTGRESQL, text};

const OWNER: &str = "CREATE TABLE IF NOT EXISTS t (n int)";
const WRITE: &str = "INSERT INTO t VALUES (1)";
const READ: &str = "SELECT count(*) FROM t";

fn query(credentials: &Value, sql: &str) -> Result<Vec<String>, String> {
    MariaDb::query_plainly(credentials, sql)
}

#[tokio::test]
async fn a_binding_is_an_account_of_the_instances_database_alone() {
    let cloud = Cloud::with_databases().await;
    cloud.provisioned(MYSQL, "one", json!({})).await;
    let given = json!({"Username": "orders", "Password": "replace-Me-1"});
    let bound = cloud.bound(MYSQL, "one", "owner", given).await;
    let owner = &bound["credentials"];
    let keys: Vec<_> = owner.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["database", "host", "password", "port", "uri", "username"]);
    assert_eq!(
        (text(owner, "username"), text(owner, "password")),
        ("orders".to_owned(), "replace-Me-1".to_owned())
    );
    query(owner, OWNER).unwrap();
    query(owner, WRITE).unwrap();

    let bound = cloud.bound(MYSQL, "one", "writer", json!({"access": "readwrite"})).await;
    let writer = &bound["credentials"];
    query(writer, WRITE).unwrap();
    assert_eq!(query(writer, READ).unwrap(), ["2"]);
    assert!(query(writer, "DROP TABLE t").is_err());
    let bound = cloud.bound(MYSQL, "one", "reader", json!({"access": "read"})).await;
    let reader = &bound["credentials"];
    assert_eq!(query(reader, READ).unwrap(), ["2"]);
    assert!(query(reader, WRITE).is_err());
    assert!(query(reader, "CREATE DATABASE other").is_err(), "no binding is a privileged account");

    cloud.unbound(MYSQL, "one", "owner").await;
    assert!(query(owner, READ).is_err(), "the account is gone");
    assert_eq!(query(reader, READ).unwrap(), ["2"], "other bindings stay");
    let accounts: Vec<_> =
        cloud.server.left().into_iter().filter(|left| left.starts_with("rds account")).collect();
    assert_eq!(accounts.len(), 2, "{accounts:?}");
    cloud.deprovisioned(MYSQL, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_repeated_binding_has_the_same_account_and_a_rotated_one_another() {
    let cloud = Cloud::with_databases().await;
    cloud.provisioned(MYSQL, "one", json!({})).await;
    let first = cloud.bound(MYSQL, "one", "b", json!({})).await;
    let again = cloud.bound(MYSQL, "one", "b", json!({})).await;
    assert_eq!(first["credentials"], again["credentials"]);
    let other = cloud.bound(MYSQL, "one", "c", json!({})).await;
    assert_ne!(first["credentials"]["username"], other["credentials"]["username"]);
    assert_ne!(first["credentials"]["password"], other["credentials"]["password"]);
    query(&first["credentials"], OWNER).unwrap();
    cloud.deprovisioned(MYSQL, "one").await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_and_its_account_stays() {
    let cloud = Cloud::with_databases().await;
    cloud.provisioned(MYSQL, "one", json!({})).await;
    let bound =
        cloud.bound(MYSQL, "one", "b", json!({"Username": "orders", "Password": "replace-Me-1"})).await;
    let (status, body) =
        cloud.bind(MYSQL, "one", "c", json!({"Username": "orders", "Password": "another-Pw-1"})).await;
    assert_eq!(status, 500, "{body}");
    let told = text(&body, "description");
    assert!(
        told.contains("an account orders exists; choose another Username") && !told.contains("another-Pw"),
        "{told}"
    );
    query(&bound["credentials"], OWNER).unwrap();
    let (status, body) = cloud.bind(MYSQL, "one", "d", json!({"Username": "root"})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("InvalidAccountName.Forbid"), "{body}");
    for binding in ["c", "d"] {
        cloud.unbound(MYSQL, "one", binding).await;
    }
    query(&bound["credentials"], OWNER).unwrap();
    cloud.deprovisioned(MYSQL, "one").await;
}

#[tokio::test]
async fn a_binding_of_postgresql_owns_its_database() {
    let cloud = Cloud::start().await;
    cloud.provisioned(POSTGRESQL, "p", json!({})).await;
    let bound = cloud.bound(POSTGRESQL, "p", "b", json!({})).await;
    assert!(text(&bound["credentials"], "uri").starts_with("postgres://u"), "the scheme of the engine");
    let granted = cloud.server.parameters("GrantAccountPrivilege");
    assert_eq!(granted[0]["AccountPrivilege"], "DBOwner");
    cloud.unbound(POSTGRESQL, "p", "b").await;
    cloud.deprovisioned(POSTGRESQL, "p").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}
