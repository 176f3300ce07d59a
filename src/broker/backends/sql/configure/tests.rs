//! What is said about each mistake in the settings of a database server and of the plans on it.

use super::*;
use crate::broker::{
    Registry,
    backends::sql::plan::Access,
    config::{LoadedConfig, SslMode},
};

const GOOD: &str = r"
backends:
  main: {type: postgresql, host: db.example, port: 26257, user: bindery, passwordFile: /pw, caFile: /ca.crt}
  lab: {type: postgresql, host: lab.example, port: 5432, user: bindery, sslmode: require, database: admin}
services:
  - id: svc
    name: cockroachdb
    type: cockroachdb
    description: Databases.
    plans:
      - {name: default, description: Default, backend: main}
      - {id: own, name: lab, description: Lab, backend: lab, free: false}
";

fn check(text: &str) -> Result<(), ConfigError> {
    Registry::builtin().configure(&LoadedConfig::from_yaml(text)?.services).map(drop)
}

fn backend(text: &str) -> BackendSettings {
    let text = format!("backends: {{main: {{type: postgresql, {text}}}}}\nservices: []");
    LoadedConfig::from_yaml(&text).unwrap().services.backends[0].clone()
}

#[test]
fn a_server_is_verified_by_default() {
    let settings = ServerSettings::read(&backend("host: h, port: 1, user: u, caFile: /ca")).unwrap();
    assert_eq!((settings.sslmode, settings.database.as_str()), (SslMode::VerifyFull, "postgres"));
    assert_eq!(settings.for_clients(), ("h", 1));
    let pooled = "host: h, port: 1, user: u, caFile: /ca, clientHost: pooler, clientPort: 6432";
    assert_eq!(ServerSettings::read(&backend(pooled)).unwrap().for_clients(), ("pooler", 6432));
}

#[test]
fn a_password_without_a_file_is_taken_from_the_source() {
    let mut backend = backend("host: h, port: 1, user: u, sslmode: disable");
    backend.settings = backend.settings.with_secret("password", "s3cret".into());
    let settings = ServerSettings::read(&backend).unwrap();
    assert!(settings.password.is_some() && !format!("{settings:?}").contains("s3cret"), "{settings:?}");
}

#[test]
fn a_plan_says_what_its_databases_are_like() {
    let own = "backend: lab, database: {access: {default: readonly}, validFor: {maximum: 30d}, sslmode: verify-full}";
    let services = LoadedConfig::from_yaml(&GOOD.replace("backend: lab", own)).unwrap().services;
    let settings = services.offerings[0].plans[&"own".into()].plan.clone();
    let plan = PlanSettings {
        id: "own".into(),
        service_type: "cockroachdb".to_owned(),
        has_schemas: false,
        settings,
    };
    let plans = plans(&services.backends[0], &[plan], &[ServiceKind::CockroachDb]).unwrap();
    let database = plans.of(&"own".into());
    assert_eq!((database.access.default, database.sslmode), (Access::ReadOnly, Some(SslMode::VerifyFull)));
    let schemas = database.schemas();
    let bind = &schemas["service_binding"]["create"]["parameters"]["properties"];
    assert_eq!(bind["access"]["default"], "readonly");
    assert!(bind["validFor"]["description"].as_str().unwrap().contains("at most 720h"), "{bind}");
}

#[test]
fn each_type_of_server_provides_its_types_of_services() {
    let mysql = GOOD
        .replace("  lab: {", "  my: {type: mysql, host: m, port: 3306, user: u, sslmode: require}\n  lab: {")
        .replace("services:", "services:\n  - {id: m, name: mysql, type: mysql, description: d, plans: [{name: p, description: d, backend: my}]}");
    check(&mysql).unwrap();
    let message = check(&mysql.replace("backend: my", "backend: lab")).unwrap_err().to_string();
    assert!(message.contains("services[0].plans[0].backend is \"lab\" of type postgresql"), "{message}");
    let message = check(&mysql.replace("type: mysql, host", "type: oracle, host")).unwrap_err().to_string();
    assert!(
        message.contains("backends.my.type") && message.contains("aws or mysql or postgresql"),
        "{message}"
    );
    let with_ca = mysql.replace("host: m", "clientCa: {certFile: /c, keyFile: /k}, host: m");
    let message = check(&with_ca).unwrap_err().to_string();
    assert!(message.contains("backends.my.clientCa is for backends of type postgresql"), "{message}");
}

#[rstest::rstest]
#[case::unknown_field("port: 26257", "prot: 26257", &["backends.main", "prot"])]
#[case::wrong_type("port: 26257", "port: many", &["backends.main.port"])]
#[case::no_ca(", caFile: /ca.crt", "", &["backends.main.caFile", "require", "verify-full"])]
#[case::key_without_certificate("sslmode: require", "sslmode: require, keyFile: /k", &["backends.lab.certFile"])]
#[case::unknown_kind("type: cockroachdb", "type: oracle", &["services[0].plans[1].backend", "oracle", "cockroachdb or postgresql"])]
#[case::unknown_access("free: false", "database: {access: {default: admin}}", &["plans[1].database.access.default", "admin", "readonly"])]
#[case::default_not_allowed("free: false", "database: {access: {allowed: [readonly]}}", &["services[0].plans[1].database.access.default", "owner"])]
#[case::default_over_maximum("free: false", "database: {validFor: {default: 2h, maximum: 1h}}", &["database.validFor.default", "2h", "1h"])]
#[case::bad_lifetime("free: false", "database: {validFor: {default: soon}}", &["plans[1].database.validFor.default", "soon", "24h"])]
#[case::not_for_cockroachdb("free: false", "database: {extensions: [hstore]}", &["database.extensions", "postgresql", "cockroachdb"])]
#[case::no_such_encoding("free: false", "database: {encodings: [LATIN1]}", &["database.encodings", "UTF8"])]
#[case::no_client_host("user: bindery, sslmode", "clientHost: '', user: bindery, sslmode", &["backends.lab.clientHost"])]
#[case::no_client_port("user: bindery, sslmode", "clientPort: 0, user: bindery, sslmode", &["backends.lab.clientPort"])]
#[case::too_few_connections("user: bindery, sslmode", "maxConnections: 2, user: bindery, sslmode", &["backends.lab.maxConnections"])]
#[case::unknown_sslmode("sslmode: require", "sslmode: prefer", &["backends.lab.sslmode", "prefer", "verify-full"])]
#[case::unknown_field_of_plan("free: false", "databse: {}", &["services[0].plans[1]", "databse", "`database`", "`backend`"])]
fn what_is_wrong_is_named(#[case] right: &str, #[case] wrong: &str, #[case] named: &[&str]) {
    check(GOOD).unwrap();
    let text = GOOD.replace(right, wrong);
    assert_ne!(text, GOOD);
    let message = check(&text).unwrap_err().to_string();
    for word in named {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}
