//! Grants to an instance's roles by other users: none prevents the removal of a binding or an instance, and what must
//! remain on the server is reported until it can be removed.

use bindery::broker::sweep;
use serde_json::{Value, json};

use crate::{
    platform::{Platform, text},
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

fn role(server: &Postgres, name: &str) -> Vec<String> {
    server.psql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{name}'"))
}

const GONE: Vec<String> = Vec::new();

/// Creates a database of an administrator, with a table in it.
fn make_foreign(server: &Postgres, name: &str, sql: &str) {
    server.psql(&format!("CREATE DATABASE {name}"));
    server.psql_in(name, sql);
}

#[tokio::test]
async fn grants_elsewhere_are_reported_and_the_login_is_dropped_once_they_are_revoked() {
    let server = Postgres::shared();
    let mut platform = Platform::postgresql(&server, "").await;
    platform.provision("helped").await;
    let credentials = platform.credentials("helped", "b").await;
    let (login, database) = (text(&credentials, "username"), text(&credentials, "database"));
    let grant = format!("CREATE TABLE public.t (a int); GRANT SELECT ON public.t TO {login}");
    make_foreign(&server, "granting_app", &grant);

    assert_eq!(platform.unbind("helped", "b").await, (200, json!({})));
    assert!(is_refused(&server, &credentials).await);
    assert_eq!(role(&server, login), ["f"]);
    let member = format!(
        "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member \
         WHERE r.rolname = '{login}'"
    );
    assert_eq!(server.psql(&member), [format!("{database}_revoked")], "it has no rights");

    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(report.contains(&format!("left over: login {login}")), "{report}");
    assert!(!report.contains(&format!("{database}_revoked")), "{report}");
    let report = sweep(platform.config(), &[], true).await.unwrap();
    let told = report.failed.join("\n");
    let remedy = format!("REVOKE ALL ON TABLE public.t FROM \"{login}\"");
    assert!(
        !report.is_complete() && told.contains("database granting_app") && told.contains(&remedy),
        "{told}"
    );

    // The instance is deprovisioned anyway.
    assert_eq!(platform.deprovision("helped").await, (200, json!({})));
    let gone = format!("SELECT 1 FROM pg_database WHERE datname = '{database}'");
    assert_eq!((server.psql(&gone), role(&server, login)), (GONE, vec!["f".to_owned()]));
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(report.contains(&format!("left over: login {login}")), "{report}");

    server.psql_in("granting_app", &remedy);
    platform.restart().await;
    server
        .until(&format!(
            "SELECT count(*) = 0 FROM pg_roles WHERE rolname IN ('{login}', '{database}_revoked')"
        ))
        .await;
    assert!(sweep(platform.config(), &[], false).await.unwrap().to_string().ends_with("nothing left over"));
    server.psql("DROP DATABASE granting_app");
}

#[tokio::test]
async fn a_database_is_dropped_although_its_roles_have_grants_elsewhere() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    platform.provision("rooted").await;
    let credentials = platform.credentials("rooted", "b").await;
    let reader = platform.credentials_with("rooted", "r", json!({"access": "readonly"})).await;
    let (login, database) = (text(&credentials, "username"), text(&credentials, "database"));
    let roles = [
        login.to_owned(),
        text(&reader, "username").to_owned(),
        format!("{database}_readonly"),
        format!("{database}_owner"),
    ];
    make_foreign(
        &server,
        "rooting_app",
        &format!(
            "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO {0}; CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             GRANT EXECUTE ON FUNCTION s.f() TO {0}; CREATE TABLE s.own (a int); ALTER TABLE s.own OWNER TO {1}; \
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {1}",
            roles.join(", "),
            roles[0]
        ),
    );
    // Only superusers may connect to this database.
    server.psql("REVOKE CONNECT ON DATABASE rooting_app FROM PUBLIC");
    assert_eq!(platform.deprovision("rooted").await, (200, json!({})));
    assert!(is_refused(&server, &credentials).await && is_refused(&server, &reader).await);
    let gone = format!("SELECT 1 FROM pg_database WHERE datname = '{database}'");
    assert_eq!(server.psql(&gone), GONE);
    let report = sweep(platform.config(), &[], true).await.unwrap();
    let told = report.failed.join("\n");
    assert!(told.contains("database rooting_app, which the administrator may not enter"), "{told}");

    // The same id can be used again, together with everything that is left of it.
    assert_eq!(platform.provision("rooted").await.0, 201);
    let again = platform.credentials("rooted", "b").await;
    let again_reader = platform.credentials_with("rooted", "r", json!({"access": "readonly"})).await;
    let session = connect(&server, &again).await.unwrap();
    session.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    connect(&server, &again_reader).await.unwrap().batch_execute("SELECT * FROM t").await.unwrap();
    assert_eq!(role(&server, login), ["t"]);

    server.psql("DROP DATABASE rooting_app WITH (FORCE)");
    assert_eq!(platform.deprovision("rooted").await, (200, json!({})));
    let left =
        format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{database}%' OR rolname = '{login}'");
    assert_eq!(server.psql(&left), GONE);
}

/// DROP OWNED keeps grants by users with the grant option who do not own the object.
#[tokio::test]
async fn grants_by_roles_with_grant_option_do_not_block_the_drop_of_a_login() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "").await;
    for instance in ["chaining", "chained"] {
        platform.provision(instance).await;
    }
    let one = platform.credentials("chaining", "one").await;
    let two = platform.credentials("chaining", "two").await;
    let three = platform.credentials("chaining", "three").await;
    let victim = platform.credentials("chained", "b").await;
    let granter = text(&two, "username");
    let grantees = format!("{}, {}", text(&victim, "username"), text(&three, "username"));
    let owner = connect(&server, &one).await.unwrap();
    let database = text(&one, "database");
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA s; CREATE TABLE s.t (a int, b int); CREATE VIEW s.v AS SELECT 1 AS a; CREATE SEQUENCE s.q;
             CREATE TYPE s.mood AS ENUM ('fine'); CREATE PROCEDURE s.p(int) LANGUAGE sql AS 'SELECT 1';
             CREATE AGGREGATE s.total(int) (SFUNC = int4pl, STYPE = int); SELECT lo_create(88001);
             GRANT USAGE, CREATE ON SCHEMA s TO {granter} WITH GRANT OPTION;
             GRANT ALL ON s.t, s.v, s.q TO {granter} WITH GRANT OPTION;
             GRANT SELECT (b) ON s.t TO {granter} WITH GRANT OPTION;
             GRANT USAGE ON TYPE s.mood TO {granter} WITH GRANT OPTION;
             GRANT EXECUTE ON PROCEDURE s.p(int) TO {granter} WITH GRANT OPTION;
             GRANT EXECUTE ON FUNCTION s.total(int) TO {granter} WITH GRANT OPTION;
             GRANT ALL ON LARGE OBJECT 88001 TO {granter} WITH GRANT OPTION;
             GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {granter} WITH GRANT OPTION"
        ))
        .await
        .unwrap();
    // Under the login's own name: with the owner's rights the grantor would be the owner.
    connect(&server, &two)
        .await
        .unwrap()
        .batch_execute(&format!(
            "SET ROLE NONE; GRANT USAGE ON SCHEMA s TO {grantees}; GRANT SELECT ON s.t, s.v TO {grantees} WITH GRANT OPTION;
             GRANT SELECT (b) ON s.t TO {grantees}; GRANT USAGE ON SEQUENCE s.q TO {grantees};
             GRANT USAGE ON TYPE s.mood TO {grantees}; GRANT EXECUTE ON PROCEDURE s.p(int) TO {grantees};
             GRANT EXECUTE ON FUNCTION s.total(int) TO {grantees}; GRANT SELECT ON LARGE OBJECT 88001 TO {grantees};
             GRANT CONNECT ON DATABASE {database} TO {grantees}"
        ))
        .await
        .unwrap();
    for (instance, binding, credentials) in [("chained", "b", &victim), ("chaining", "three", &three)] {
        assert_eq!(platform.unbind(instance, binding).await.0, 200);
        assert_eq!(role(&server, text(credentials, "username")), GONE, "{instance}");
    }
    for instance in ["chaining", "chained"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
}

/// A locked table of another tenant: its owner's sessions are ended, but not those of an administrator.
#[tokio::test]
async fn a_locked_foreign_database_does_not_delay_unbinding() {
    let server = Postgres::shared();
    let mut platform = Platform::postgresql(&server, "").await;
    for instance in ["locked-host", "locked-guest"] {
        platform.provision(instance).await;
    }
    let host = platform.credentials("locked-host", "b").await;
    let guest = platform.credentials("locked-guest", "b").await;
    let login = text(&guest, "username");
    let session = connect(&server, &host).await.unwrap();
    session.batch_execute(&format!("CREATE TABLE t (a int); GRANT SELECT ON t TO {login}")).await.unwrap();
    let lock = "BEGIN; GRANT INSERT ON public.t TO PUBLIC;";
    let held = server.hold_in(text(&host, "database"), lock);
    server.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%GRANT INSERT ON public.t TO PUBLIC%' AND state = 'idle in transaction'").await;
    assert_eq!(platform.unbind("locked-guest", "b").await.0, 200);
    assert!(is_refused(&server, &guest).await);
    assert_eq!(role(&server, login), ["f"]);
    // A new binding works normally.
    let again = platform.credentials("locked-guest", "b").await;
    connect(&server, &again).await.unwrap().batch_execute("CREATE TABLE mine (a int)").await.unwrap();
    assert_eq!(platform.unbind("locked-guest", "b").await.0, 200);
    held.release();
    platform.restart().await;
    server.until(&format!("SELECT count(*) = 0 FROM pg_roles WHERE rolname = '{login}'")).await;
    for instance in ["locked-host", "locked-guest"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
}

/// The state after an earlier release, in which the roles were members of the marker.
#[tokio::test]
async fn no_role_can_become_the_marker_and_marks_of_earlier_releases_are_reversed() {
    let server = Postgres::shared();
    let mut platform = Platform::postgresql(&server, "").await;
    platform.keep_installation().await;
    for instance in ["marked", "marked-earlier"] {
        platform.provision(instance).await;
    }
    let credentials = platform.credentials("marked", "b").await;
    let earlier = platform.credentials("marked-earlier", "b").await;
    let reader = platform.credentials_with("marked-earlier", "r", json!({"access": "readonly"})).await;
    let (marker, database) = (platform.mark(), text(&earlier, "database"));
    for group in ["owner", "readonly"] {
        // As the administrator: from PostgreSQL 16 on, only the grantor can revoke a grant.
        server.psql(&format!(
            "SET ROLE {ADMIN}; REVOKE {database}_{group} FROM {marker}; GRANT {marker} TO {database}_{group}"
        ));
    }
    let refused = async |credentials: &Value| {
        let session = connect(&server, credentials).await.unwrap();
        session.batch_execute(&format!("SET ROLE {marker}")).await.is_err()
    };
    assert!(refused(&credentials).await);
    assert!(!refused(&earlier).await, "what the release before allowed");
    // The marks of the earlier release are still valid.
    assert_eq!(platform.bind("marked-earlier", "c").await.0, 201);
    platform.broker.check_servers().await;
    for credentials in [&credentials, &earlier, &reader] {
        assert!(refused(credentials).await);
    }
    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    assert!(report.ends_with("nothing left over"), "{report}");
    for instance in ["marked", "marked-earlier"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
    let left = format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{database}%'");
    assert_eq!(server.psql(&left), GONE);
}
