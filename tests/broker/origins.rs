//! The template of a database, its extensions, and its reclaim policy.

use serde_json::json;

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

/// A name that is valid only in quotes.
const TEMPLATE: &str = r#"de"mo; --"#;

fn make_template(server: &Postgres) {
    let quoted = format!("\"{}\"", TEMPLATE.replace('"', "\"\""));
    server.psql(&format!("CREATE DATABASE {quoted} OWNER {ADMIN}"));
    server.psql(&format!("REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC"));
    let sql = format!(
        "SET ROLE {ADMIN}; CREATE SCHEMA shop; CREATE TYPE shop.state AS ENUM ('new', 'paid'); CREATE DOMAIN shop.price AS numeric;
         CREATE TYPE shop.pair AS (a int, b int);
         CREATE TABLE shop.orders (id serial PRIMARY KEY, state shop.state, price shop.price);
         CREATE TABLE shop.lines (id int GENERATED ALWAYS AS IDENTITY, \"order\" int REFERENCES shop.orders);
         CREATE SEQUENCE shop.numbers; CREATE VIEW shop.paid AS SELECT * FROM shop.orders WHERE state = 'paid';
         CREATE MATERIALIZED VIEW shop.totals AS SELECT count(*) FROM shop.orders;
         CREATE FUNCTION shop.\"how many\"() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM shop.orders';
         CREATE PROCEDURE shop.pay() LANGUAGE sql AS 'UPDATE shop.orders SET state = ''paid''';
         CREATE STATISTICS shop.both ON id, state FROM shop.orders;
         INSERT INTO shop.orders (state, price) VALUES ('new', 1), ('paid', 2)"
    );
    server.psql_in(TEMPLATE, &sql);
}

#[tokio::test]
async fn an_instance_starts_as_an_independent_copy_of_a_template() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    make_template(&server);
    let plan = format!("templates: {{demo: '{TEMPLATE}'}}");
    let platform = Platform::postgresql(&server, &plan).await;
    platform.broker.check_servers().await.remove(0).result.unwrap();
    let (status, body) = platform.provision_with("copied", json!({"template": TEMPLATE})).await;
    assert!(status == 400 && body["description"].as_str().unwrap().contains("template"), "{status} {body}");
    assert_eq!(platform.provision_with("copied", json!({"template": "demo"})).await.0, 201);

    let credentials = platform.credentials("copied", "b").await;
    let session = connect(&server, &credentials).await.unwrap();
    // The owner can change and drop everything in the database.
    for sql in [
        "INSERT INTO shop.orders (state, price) VALUES ('new', 3)",
        "INSERT INTO shop.lines (\"order\") VALUES (1)",
        "CALL shop.pay()",
        "ALTER TYPE shop.state ADD VALUE 'sent'",
        "ALTER TABLE shop.orders ADD note text",
        "REFRESH MATERIALIZED VIEW shop.totals",
        "SELECT nextval('shop.numbers')",
        "DROP VIEW shop.paid",
        "DROP FUNCTION shop.\"how many\"()",
        "DROP STATISTICS shop.both",
        "DROP TYPE shop.pair",
        "DROP SCHEMA shop CASCADE",
    ] {
        session.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    assert_eq!(
        server.psql_in(TEMPLATE, "SELECT count(*) FROM shop.orders"),
        ["2"],
        "the template is as it was"
    );
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname LIKE 'de%'";
    assert_eq!(server.psql(owner), [ADMIN]);
    drop(session);
    platform.unbind("copied", "b").await;
    assert_eq!(platform.deprovision("copied").await.0, 200);
    assert_eq!(server.psql_in(TEMPLATE, "SELECT count(*) FROM shop.paid"), ["1"]);
}

#[tokio::test]
async fn the_error_names_a_missing_template() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "templates: {demo: nowhere}").await;
    let error = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("template"), "{error}");
}

#[tokio::test]
async fn an_instance_has_the_requested_encoding() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "encodings: [UTF8, LATIN1]").await;
    for (instance, parameters, encoding) in
        [("encoded", json!({"encoding": "LATIN1"}), "LATIN1"), ("encoded-2", json!({}), "UTF8")]
    {
        assert_eq!(platform.provision_with(instance, parameters).await.0, 201);
        let session = connect(&server, &platform.credentials(instance, "b").await).await.unwrap();
        let shown: String = session.query_one("SHOW server_encoding", &[]).await.unwrap().get(0);
        assert_eq!(shown, encoding);
        platform.deprovision(instance).await;
    }
    let (status, body) = platform.provision_with("encoded-3", json!({"encoding": "EUC_JP"})).await;
    assert!(status == 400 && body["description"].as_str().unwrap().contains("encoding"), "{body}");
}

#[tokio::test]
async fn extensions_are_created_and_dropped_with_the_parameters() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "extensions: [hstore, pgcrypto]").await;
    assert_eq!(platform.provision_with("extended", json!({"extensions": ["hstore"]})).await.0, 201);
    let credentials = platform.credentials("extended", "b").await;
    let database = credentials["database"].as_str().unwrap().to_owned();
    let installed = || {
        server.psql_in(&database, "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
    };
    assert_eq!(installed(), ["hstore"]);
    assert_eq!(platform.update("extended", json!({"extensions": ["hstore", "pgcrypto"]})).await.0, 200);
    assert_eq!(installed(), ["hstore", "pgcrypto"]);

    // An extension that is in use is kept, and so is everything else.
    let session = connect(&server, &credentials).await.unwrap();
    session.batch_execute("CREATE TABLE t (a hstore)").await.unwrap();
    let (status, body) = platform.update("extended", json!({"extensions": []})).await;
    let told = body["description"].as_str().unwrap();
    assert_eq!(status, 422, "the instance's state is in the way: {body}");
    assert!(
        told.contains("drop the extension") && told.contains("remove what is in the way first"),
        "{body}"
    );
    assert!(!told.contains("SQLSTATE") && !told.contains("backend "), "{body}");
    assert_eq!(installed(), ["hstore", "pgcrypto"]);
    session.batch_execute("DROP TABLE t").await.unwrap();
    assert_eq!(platform.update("extended", json!({"extensions": []})).await.0, 200);
    assert!(installed().is_empty());
    let (status, body) = platform.update("extended", json!({"extensions": ["file_fdw"]})).await;
    assert!(status == 400 && body["description"].as_str().unwrap().contains("extensions"), "{body}");
    platform.deprovision("extended").await;
}

/// An update without a reclaim policy keeps the current one, such as Cloud Foundry's change of a name or a change of
/// another parameter.
#[tokio::test]
async fn no_update_removes_the_retention_of_data() {
    let server = Postgres::shared();
    let plan = "reclaimPolicy: {allowed: [delete, retain]}, extensions: [hstore]";
    let mut platform = Platform::postgresql(&server, plan).await;
    assert_eq!(platform.provision_with("kept", json!({"reclaimPolicy": "retain"})).await.0, 201);
    let database = platform.credentials("kept", "b").await["database"].as_str().unwrap().to_owned();
    for parameters in [json!({"extensions": ["hstore"]}), json!({}), json!({"extensions": []})] {
        assert_eq!(platform.update("kept", parameters).await.0, 200);
        platform.restart().await;
    }
    assert_eq!(platform.deprovision("kept").await.0, 200);
    let left = || server.psql(&format!("SELECT datname FROM pg_database WHERE datname = '{database}'"));
    assert_eq!(left(), std::slice::from_ref(&database));
    server.psql(&format!("DROP DATABASE {database}"));
    server.psql(&format!("DROP ROLE {database}_owner"));

    // Only an explicit `null` resets the policy.
    assert_eq!(platform.provision_with("gone", json!({"reclaimPolicy": "retain"})).await.0, 201);
    let database = platform.credentials("gone", "b").await["database"].as_str().unwrap().to_owned();
    assert_eq!(platform.update("gone", json!({"reclaimPolicy": null})).await.0, 200);
    assert_eq!(platform.deprovision("gone").await.0, 200);
    assert_eq!(
        server.psql(&format!("SELECT datname FROM pg_database WHERE datname = '{database}'")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn retained_data_outlives_its_instance() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::postgresql(&server, "reclaimPolicy: {allowed: [delete, retain]}").await;
    assert_eq!(platform.provision_with("retained", json!({"reclaimPolicy": "retain"})).await.0, 201);
    let credentials = platform.credentials("retained", "b").await;
    let reader = platform.credentials_with("retained", "r", json!({"access": "readonly"})).await;
    let session = connect(&server, &credentials).await.unwrap();
    session.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (42)").await.unwrap();
    assert_eq!(platform.deprovision("retained").await.0, 200);

    assert!(is_refused(&server, &credentials).await && is_refused(&server, &reader).await);
    let database = credentials["database"].as_str().unwrap();
    assert_eq!(server.psql_in(database, "SELECT a FROM t"), ["42"]);
    let roles = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^(cf_|[a-p]{32}$)'");
    assert_eq!(roles, [format!("{database}_owner")]);
    assert_eq!(platform.deprovision("retained").await.0, 410);
    let (status, body) = platform.provision("retained").await;
    let told = body["description"].as_str().unwrap();
    assert!(
        status == 500 && told.contains(&format!("{database}_owner")) && told.contains("mark"),
        "{status} {body}"
    );
    platform.deprovision("retained").await;
    assert_eq!(server.psql_in(database, "SELECT a FROM t"), ["42"], "a failed one takes nothing along");

    let report = bindery::broker::sweep(platform.config(), &[], true).await.unwrap();
    assert!(report.leftover.is_empty(), "{report}");
    assert!(report.foreign.iter().any(|(_, resource)| resource.name == database), "{report}");
    assert_eq!(server.psql_in(database, "SELECT a FROM t"), ["42"]);
}
