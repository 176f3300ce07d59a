//! A broker that connects to its server through a pooler.

use serde_json::json;

use crate::{
    pgbouncer::PgBouncer,
    platform::{PLAN, Platform, SERVICE},
    postgres::{ADMIN, Postgres},
    server::connect,
};

/// A broker that connects through the pooler, while applications connect to the server directly.
async fn through(pooler: &PgBouncer, server: &Postgres) -> Platform {
    Platform::open(&format!(
        "backends: {{main: {{type: postgresql, host: 127.0.0.1, port: {}, clientPort: {}, user: {ADMIN}, passwordFile: {}, sslmode: disable}}}}\n\
         services: [{{id: {SERVICE}, name: postgresql, type: postgresql, description: d,\n\
            plans: [{{id: {PLAN}, name: default, description: d, backend: main, database: {{sslmode: require}}}}]}}]",
        pooler.port(),
        server.port(),
        server.password_file().display(),
    ))
    .await
}

/// `PgBouncer` 1.18 refuses start-up options, or ignores them.
#[tokio::test]
async fn behind_a_session_pooler_the_administrator_never_runs_functions_of_tenants() {
    let server = Postgres::shared();
    for options in ["", ", options"] {
        let settings =
            format!("pool_mode = session\nignore_startup_parameters = extra_float_digits{options}");
        let pooler = PgBouncer::start(&server, &settings);
        let platform = through(&pooler, &server).await;
        platform.checked().await.unwrap();
        let (evil, prey) = (format!("evil{}", options.len()), format!("prey{}", options.len()));
        for instance in [&evil, &prey] {
            assert_eq!(platform.provision(instance).await.0, 201);
        }
        let credentials = platform.credentials(&evil, "b").await;
        let victim = platform.credentials(&prey, "b").await;
        assert_eq!(credentials["port"], server.port().to_string());
        let session = connect(&server, &credentials).await.unwrap();
        let text = |key: &str| credentials[key].as_str().unwrap();
        let wanted = victim["database"].as_str().unwrap();
        let grab = format!("EXECUTE 'GRANT {wanted}_owner TO {}'", text("username"));
        session
            .batch_execute(&format!(
                "CREATE SCHEMA evil;
                 CREATE FUNCTION evil.pg_has_role(oid, text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN {grab}; RETURN true; END$$;
                 CREATE FUNCTION evil.grab(name, text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN {grab}; RETURN true; END$$;
                 CREATE OPERATOR evil.<> (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.grab);
                 CREATE TABLE t (a int);
                 ALTER DATABASE {} SET search_path = evil, pg_catalog;
                 ALTER DATABASE {0} SET default_transaction_read_only = on",
                text("database")
            ))
            .await
            .unwrap();
        let reader = platform.credentials_with(&evil, "reader", json!({"access": "readonly"})).await;
        let reader = connect(&server, &reader).await.unwrap();
        reader.batch_execute("SELECT * FROM public.t").await.unwrap();
        assert_eq!(platform.unbind(&evil, "reader").await.0, 200);
        assert_eq!(platform.unbind(&evil, "b").await.0, 200);
        let owners = format!(
            "SELECT count(DISTINCT member) FROM pg_auth_members WHERE roleid = '{wanted}_owner'::regrole"
        );
        // The administrator, the marker and the victim's own login.
        assert_eq!(server.psql(&owners), ["3"]);
        for instance in [&evil, &prey] {
            assert_eq!(platform.deprovision(instance).await.0, 200);
        }
    }
}

/// With transaction pooling, transactions of different clients share a session and its state.
#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused() {
    let server = Postgres::shared();
    for settings in [
        "pool_mode = transaction\nignore_startup_parameters = options",
        "pool_mode = transaction\nserver_round_robin = 1",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = statement",
    ] {
        let pooler = PgBouncer::start(&server, settings);
        let platform = through(&pooler, &server).await;
        let told = refusal(&platform, "pool_mode = session").await;
        assert!(told.contains("clientHost"), "{settings}: {told}");
        let (status, _) = platform.provision("pooled").await;
        assert_eq!(status, 500, "{settings}");
    }
    let pooler = PgBouncer::start(&server, "pool_mode = session\ndefault_pool_size = 1");
    let platform = through(&pooler, &server).await;
    refusal(&platform, "more connections").await;
}

/// Checks the platform until the refusal contains this text. The broker's check for expired logins may use the pool's only
/// connection at first; then the check finds no second session, or the server does not answer.
async fn refusal(platform: &Platform, text: &str) -> String {
    let mut told = String::new();
    for _ in 0..10 {
        told = platform.checked().await.unwrap_err();
        if told.contains(text) {
            return told;
        }
    }
    panic!("no refusal contains {text:?}: {told}");
}
