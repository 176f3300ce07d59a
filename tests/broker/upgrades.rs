//! A server that was upgraded, restored or given another administrator: nothing is lost, and nothing is reported as
//! removed that still exists.

use serde_json::{Value, json};

use crate::{
    platform::{Answer, PLAN, Platform, SERVICE, text},
    postgres::{ADMIN, ADMIN_PASSWORD, Postgres},
};

/// A broker that keeps running when another server with other certificates replaces this one.
async fn on(server: &Postgres) -> Platform {
    let plans = "database: {reclaimPolicy: {allowed: [delete, retain]}}";
    Platform::open(&format!(
        "backends: {{main: {{type: postgresql, host: 127.0.0.1, port: {}, user: {ADMIN}, passwordFile: {}, sslmode: require}}}}\n\
         services: [{{id: {SERVICE}, name: postgresql, type: postgresql, description: d,\n\
            plans: [{{id: {PLAN}, name: default, description: d, backend: main, {plans}}}]}}]",
        server.port(),
        server.password_file().display(),
    ))
    .await
}

/// The broker retries a failed removal itself, and may finish before the platform's retry.
fn is_removed(answer: &Answer) -> bool {
    [200, 410].contains(&answer.0)
}

fn told(answer: &Answer) -> &str {
    assert_eq!(answer.0, 500, "{answer:?}");
    answer.1["description"].as_str().unwrap()
}

/// The SQL in a message that a superuser should run.
fn remedy(told: &str) -> String {
    let (_, sql) = told.rsplit_once("run: ").or_else(|| told.rsplit_once("after this: ")).unwrap();
    sql.split(" (reference ").next().unwrap().to_owned()
}

fn roles_of(server: &Postgres, credentials: &[&Value]) -> Vec<String> {
    let logins: Vec<_> = credentials.iter().map(|each| format!("'{}'", text(each, "username"))).collect();
    let database = text(credentials[0], "database");
    server.psql(&format!(
        "SELECT rolname FROM pg_roles WHERE rolname IN ({}) OR rolname LIKE '{database}%' \
         UNION SELECT datname FROM pg_database WHERE datname = '{database}'",
        logins.join(", ")
    ))
}

/// An instance with an owner and a reader. Returns the credentials of both.
async fn populated(platform: &Platform, server: &Postgres) -> [Value; 2] {
    assert_eq!(platform.provision("i").await.0, 201);
    let owner = platform.credentials("i", "owner").await;
    let reader = platform.credentials_with("i", "reader", json!({"access": "readonly"})).await;
    server.connect(text(&owner, "uri")).await.unwrap().batch_execute("CREATE TABLE t (a int)").await.unwrap();
    [owner, reader]
}

/// Runs the life of a binding on the existing data.
async fn works(platform: &Platform, server: &Postgres, credentials: [&Value; 2]) {
    let late = platform.credentials_with("i", "late", json!({"access": "readonly"})).await;
    server.connect(text(&late, "uri")).await.unwrap().batch_execute("SELECT * FROM t").await.unwrap();
    for binding in ["late", "reader", "owner"] {
        assert!(is_removed(&platform.unbind("i", binding).await), "{binding}");
    }
    let again = platform.credentials("i", "again").await;
    server.connect(text(&again, "uri")).await.unwrap().batch_execute("DROP TABLE t").await.unwrap();
    assert_eq!(platform.deprovision("i").await.0, 200);
    let all = [credentials[0], credentials[1], &late, &again];
    assert_eq!(roles_of(server, &all), Vec::<String>::new());
}

/// Revokes from the administrator what earlier releases did not grant it.
fn forget_admin_options(server: &Postgres) {
    server.psql(&format!(
        "UPDATE pg_auth_members SET admin_option = false WHERE member = '{ADMIN}'::regrole; \
         DELETE FROM pg_auth_members WHERE member = '{ADMIN}'::regrole \
           AND roleid IN (SELECT oid FROM pg_roles WHERE rolname ~ '^bindery_|_readonly$')"
    ));
}

#[tokio::test]
async fn after_an_upgrade_the_error_names_a_sufficient_remedy() {
    let old = Postgres::version(15);
    let mut new = Postgres::version(18);
    let platform = on(&old).await;
    let [owner, reader] = populated(&platform, &old).await;
    forget_admin_options(&old);
    old.dump_into(&new);
    new.take_place_of(&old);

    let said = platform.checked().await.unwrap_err();
    assert!(said.contains("administrator bindery lacks ADMIN OPTION on 5 of"), "{said}");
    let answer = platform.unbind("i", "reader").await;
    assert!(told(&answer).contains("its operator finds the reason"), "{answer:?}");
    assert!(roles_of(&new, &[&reader]).contains(&text(&reader, "username").to_owned()));
    new.psql(&remedy(&said));
    platform.checked().await.unwrap();
    works(&platform, &new, [&owner, &reader]).await;
}

#[tokio::test]
async fn an_upgrade_needs_no_remedy_if_the_broker_ran_before() {
    let old = Postgres::version(15);
    let mut new = Postgres::version(18);
    let platform = on(&old).await;
    let [owner, reader] = populated(&platform, &old).await;
    forget_admin_options(&old);
    platform.checked().await.unwrap();
    old.dump_into(&new);
    new.take_place_of(&old);
    platform.checked().await.unwrap();
    works(&platform, &new, [&owner, &reader]).await;
}

#[tokio::test]
async fn another_administrator_can_take_over() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let mut platform = on(&server).await;
    let [owner, reader] = populated(&platform, &server).await;
    server
        .psql(&format!("CREATE ROLE other LOGIN CREATEROLE CREATEDB NOINHERIT PASSWORD '{ADMIN_PASSWORD}'"));
    platform.reconfigure(|config| config.services.backends[0].settings.set("user", "other")).await;
    let said = platform.checked().await.unwrap_err();
    if server.major() < 16 {
        // On this version the role's own attribute decides.
        assert!(said.contains("lacks INHERIT; let a superuser run: ALTER ROLE \"other\" INHERIT"), "{said}");
    } else {
        let answer = platform.unbind("i", "reader").await;
        assert!(told(&answer).contains("its operator finds the reason"), "{answer:?}");
        assert!(said.contains("administrator other lacks ADMIN OPTION"), "{said}");
    }
    server.psql(&remedy(&said));
    platform.checked().await.unwrap();
    works(&platform, &server, [&owner, &reader]).await;
}

#[tokio::test]
async fn objects_that_lost_their_mark_are_not_reported_as_removed() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = on(&server).await;
    let [owner, reader] = populated(&platform, &server).await;
    let (database, login) = (text(&owner, "database"), text(&owner, "username"));
    server.psql(&format!("REVOKE {database}_owner FROM {login} GRANTED BY {ADMIN}"));
    let answer = platform.unbind("i", "owner").await;
    assert!(told(&answer).contains(&format!("role {login} exists and is a member of no role")), "{answer:?}");
    server.psql(&remedy(told(&answer)));
    assert!(is_removed(&platform.unbind("i", "owner").await));

    let marker = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^bindery_'").remove(0);
    server.psql(&format!("REVOKE {database}_owner FROM {marker} GRANTED BY {ADMIN}"));
    let answer = platform.deprovision("i").await;
    assert!(told(&answer).contains("does not carry this installation's mark"), "{answer:?}");
    server.psql(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    server.psql(&remedy(told(&answer)));
    let answer = platform.deprovision("i").await;
    assert!(
        told(&answer).contains(&format!("database {database} exists and belongs to role postgres")),
        "{answer:?}"
    );
    assert!(!roles_of(&server, &[&reader]).is_empty());
    server.psql(&format!("ALTER DATABASE {database} OWNER TO {database}_owner"));
    assert!(is_removed(&platform.deprovision("i").await));
    assert_eq!(roles_of(&server, &[&owner, &reader]), Vec::<String>::new());
}

/// The state after a restore without roles.
#[tokio::test]
async fn a_database_without_its_owner_is_not_reported_as_removed() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = on(&server).await;
    let [owner, _] = populated(&platform, &server).await;
    let database = text(&owner, "database");
    for binding in ["owner", "reader"] {
        assert_eq!(platform.unbind("i", binding).await.0, 200);
    }
    server.psql(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    server.psql_in(database, &format!("REASSIGN OWNED BY {database}_owner TO postgres"));
    for role in ["readonly", "owner"] {
        server.psql_in(database, &format!("DROP OWNED BY {database}_{role}"));
    }
    server.psql(&format!("DROP ROLE {database}_owner, {database}_readonly"));
    let answer = platform.deprovision("i").await;
    assert!(
        told(&answer).contains(&format!("database {database} exists and belongs to role postgres")),
        "{answer:?}"
    );
    assert_eq!(roles_of(&server, &[&owner]), [database]);
    server.psql(&format!("DROP DATABASE {database}"));
    assert!(is_removed(&platform.deprovision("i").await));
}

/// From PostgreSQL 16 on, each grantor can revoke only its own grants.
#[tokio::test]
async fn a_retained_database_loses_its_mark_or_the_error_names_the_remedy() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = on(&server).await;
    assert_eq!(platform.provision_with("i", json!({"reclaimPolicy": "retain"})).await.0, 201);
    let owner = format!("{}_owner", text(&platform.credentials("i", "b").await, "database"));
    let marker = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^bindery_'").remove(0);
    server.psql(&format!("GRANT {owner} TO {marker}"));
    let answer = platform.deprovision("i").await;
    if server.major() < 16 {
        assert_eq!(answer.0, 200, "{answer:?}");
    } else {
        assert!(told(&answer).contains("its operator finds the reason"), "{answer:?}");
        server.psql(&format!("REVOKE {owner} FROM {marker} GRANTED BY postgres"));
        assert!(is_removed(&platform.deprovision("i").await));
    }
    assert_eq!(server.psql(&format!("SELECT pg_has_role('{marker}', '{owner}', 'MEMBER')")), ["f"]);
}
