//! What a binding may do, and where.

use serde_json::json;

use crate::{mariadb::MariaDb, platform::Platform, server::text};

#[tokio::test]
async fn each_access_level_has_exactly_its_rights() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("levels").await;
    let access =
        async |access: &str| platform.credentials_with("levels", access, json!({"access": access})).await;
    let owner = access("owner").await;
    let (writer, reader) = (access("readwrite").await, access("readonly").await);
    server
        .query(
            &owner,
            "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; CREATE PROCEDURE p() SELECT 7",
        )
        .unwrap();
    server
        .query(&writer, "INSERT INTO t VALUES (1); UPDATE t SET a = 2; CREATE TEMPORARY TABLE w (a int)")
        .unwrap();
    assert_eq!(server.query(&writer, "CALL p(); DELETE FROM t WHERE a = 3").unwrap(), ["7"]);
    for sql in ["CREATE TABLE u (a int)", "DROP TABLE t", "ALTER TABLE t ADD b int", "DROP PROCEDURE p"] {
        let error = server.query(&writer, sql).unwrap_err();
        assert!(error.contains("denied"), "{sql}: {error}");
    }
    assert_eq!(
        server.query(&reader, "SELECT * FROM t; SELECT * FROM v; SHOW CREATE VIEW v").unwrap().len(),
        3
    );
    for sql in ["INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE TABLE u (a int)", "CALL p()"] {
        let error = server.query(&reader, sql).unwrap_err();
        assert!(error.contains("denied"), "{sql}: {error}");
    }
    // No login has the grant option.
    let grant =
        format!("GRANT SELECT ON {}.* TO '{}'@'%'", text(&owner, "database"), text(&reader, "username"));
    server.query(&owner, &grant).unwrap_err();
    assert_eq!(platform.deprovision("levels").await.0, 200);
    assert_eq!(server.left_of(&[&owner, &writer, &reader]), Vec::<String>::new());
}

/// `_` in the database name of a GRANT matches any character.
#[tokio::test]
async fn logins_cannot_use_other_databases() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let mine = platform.credentials("mine", "b").await;
    let theirs = platform.credentials("theirs", "b").await;
    let alike = text(&mine, "database").replacen('_', "x", 1);
    server.root(&format!("CREATE DATABASE {alike}; CREATE TABLE {alike}.t (a int)"));
    let marks =
        server.root("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'bindery%'");
    for database in [alike.as_str(), text(&theirs, "database"), marks[0].as_str(), "mysql"] {
        let mut crossed = mine.clone();
        crossed["database"] = database.into();
        let error = server.query(&crossed, "SELECT 1").unwrap_err();
        assert!(error.contains("ERROR 1044"), "{database}: {error}");
    }
    let visible = server.query(&mine, "SHOW DATABASES").unwrap();
    assert_eq!(visible, [text(&mine, "database"), "information_schema"]);
    server.root(&format!("DROP DATABASE {alike}"));
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
}
