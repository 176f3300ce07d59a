//! A whole file, each way to write a field, and what is said about each mistake.

use super::*;
use crate::broker::config::Access;

const GOOD: &str = r"
servers:
  main: {host: db.example, port: 26257, user: bindery, passwordFile: /pw, caFile: /ca.crt}
  lab: {host: lab.example, port: 5432, user: bindery, sslmode: require, database: admin}
services:
  - id: svc
    name: cockroachdb
    type: cockroachdb
    description: Databases.
    tags: [sql]
    metadata: {bindery: {env: {COCKROACH_URL: uri}}}
    plans:
      - {name: default, description: Default, server: main}
      - {id: own, name: lab, description: Lab, server: lab, free: false}
auth: {username: catalog, passwordFile: /auth}
store: sqlite:/data/broker.db
storeKeyFile: /key
installation: here
";

#[test]
fn a_whole_file_is_understood() {
    let loaded = parse(GOOD).unwrap();
    let offering = &loaded.services.offerings[0];
    assert_eq!(offering.service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
    assert_eq!(offering.plans[&"own".into()].backend.as_str(), "lab");
    assert_eq!(
        serde_json::to_value(&offering.service.metadata).unwrap(),
        serde_json::json!({"bindery": {"env": {"COCKROACH_URL": "uri"}}}),
        "metadata passes through untouched"
    );
    let main = loaded.services.servers.iter().find(|server| server.name.as_str() == "main").unwrap();
    assert_eq!((main.sslmode, main.database.as_str()), (SslMode::VerifyFull, "postgres"));
    assert!(loaded.complete(PartialSettings::default()).is_ok());
}

#[test]
fn a_plan_says_what_its_databases_are_like() {
    let plan = "server: lab, database: {access: {default: readonly}, validFor: {maximum: 30d}, sslmode: verify-full}";
    let loaded = parse(&GOOD.replace("server: lab", plan)).unwrap();
    let database = &loaded.services.offerings[0].plans[&"own".into()].database;
    assert_eq!((database.access.default, database.sslmode), (Access::ReadOnly, Some(SslMode::VerifyFull)));
    let schemas = database.schemas();
    let bind = &schemas["service_binding"]["create"]["parameters"]["properties"];
    assert_eq!(bind["access"]["default"], "readonly");
    assert!(bind["validFor"]["description"].as_str().unwrap().contains("at most 720h"), "{bind}");
}

#[test]
fn a_mysql_server_is_named_so() {
    let mysql = GOOD
        .replace("  lab: {", "  my: {protocol: mysql, host: m, port: 3306, user: u, sslmode: require}\n  lab: {")
        .replace("services:", "services:\n  - {id: m, name: mysql, type: mysql, description: d, plans: [{name: p, description: d, server: my}]}");
    let loaded = parse(&mysql).unwrap();
    assert_eq!(loaded.services.offerings[0].kind, ServiceKind::MySql);
    let message = parse(&mysql.replace("server: my", "server: lab")).unwrap_err().to_string();
    assert!(message.contains("lab") && message.contains("protocol to mysql"), "{message}");
}

#[rstest::rstest]
#[case::unknown_field("port: 26257", "prot: 26257", &["servers.main", "prot"])]
#[case::wrong_type("port: 26257", "port: many", &["servers.main.port"])]
#[case::no_ca(", caFile: /ca.crt", "", &["servers.main.caFile", "require", "verify-full"])]
#[case::key_without_certificate("sslmode: require", "sslmode: require, keyFile: /k", &["servers.lab.certFile"])]
#[case::unknown_server("server: lab", "server: nowhere", &["plan \"lab\"", "nowhere", "servers"])]
#[case::duplicate_plan("name: lab", "name: default", &["plan name", "default", "twice"])]
#[case::no_plan_name("name: lab", "name: ''", &["plan name", "missing"])]
#[case::unknown_kind("type: cockroachdb", "type: oracle", &["services[0].type", "oracle"])]
#[case::bad_store("sqlite:/data/broker.db", "mongodb://x", &["store", "sqlite:"])]
#[case::unknown_access("free: false", "database: {access: {default: admin}}", &["plans[1].database.access.default", "admin", "readonly"])]
#[case::default_not_allowed("free: false", "database: {access: {allowed: [readonly]}}", &["plan \"lab\"", "database.access.default", "owner"])]
#[case::default_over_maximum("free: false", "database: {validFor: {default: 2h, maximum: 1h}}", &["database.validFor.default", "2h", "1h"])]
#[case::bad_lifetime("free: false", "database: {validFor: {default: soon}}", &["plans[1].database.validFor.default", "soon", "24h"])]
#[case::not_for_cockroachdb("free: false", "database: {extensions: [hstore]}", &["database.extensions", "postgresql", "cockroachdb"])]
#[case::no_such_encoding("free: false", "database: {encodings: [LATIN1]}", &["database.encodings", "UTF8"])]
#[case::no_client_host("user: bindery, sslmode", "clientHost: '', user: bindery, sslmode", &["servers.lab.clientHost"])]
#[case::no_client_port("user: bindery, sslmode", "clientPort: 0, user: bindery, sslmode", &["servers.lab.clientPort"])]
#[case::too_few_connections("user: bindery, sslmode", "maxConnections: 2, user: bindery, sslmode", &["servers.lab.maxConnections"])]
#[case::no_semantic_version("free: false", "maintenance_info: {version: v1.0}", &["plans[1].maintenance_info", "v1.0", "MAJOR.MINOR.PATCH"])]
#[case::no_version("free: false", "maintenance_info: {description: d}", &["plans[1].maintenance_info", "version"])]
#[case::unknown_maintenance("free: false", "maintenance_info: {version: 1.0.0, x: 1}", &["plans[1].maintenance_info", "x"])]
#[case::no_polling("free: false", "maximum_polling_duration: 0", &["plans[1].maximum_polling_duration"])]
#[case::unknown_permission("tags: [sql]", "requires: [root]", &["services[0].requires", "root", "syslog_drain"])]
#[case::bad_schema("free: false", "schemas: {service_instance: {create: {parameters: {type: object}}}}",
    &["service \"cockroachdb\"", "plan \"lab\"", "schemas.service_instance.create.parameters", "$schema"])]
#[case::half_a_login("passwordFile: /auth", "passwordFile: null", &["auth.passwordFile"])]
#[case::colon_in_user("username: catalog", "username: 'a:b'", &["auth.username", "a:b"])]
#[case::no_user("username: catalog, ", "", &["auth.username"])]
#[case::both_kinds("passwordFile: /auth", "passwordFile: /auth, tokenFile: /t", &["auth.tokenFile"])]
#[case::unknown_in_list("auth: {username: catalog, passwordFile: /auth}", "auth: [{tokenFile: /t}, {pasword: x}]", &["auth[1]", "pasword"])]
#[case::empty_in_list("auth: {username: catalog, passwordFile: /auth}", "auth: [{tokenFile: /t}, {}]", &["auth[1]"])]
#[case::no_login("auth: {username: catalog, passwordFile: /auth}", "auth: catalog", &["auth", "tokenFile"])]
#[case::half_a_certificate("installation: here", "tls: {certFile: /c}", &["tls", "keyFile"])]
#[case::unknown_sslmode("sslmode: require", "sslmode: prefer", &["servers.lab.sslmode", "prefer", "verify-full"])]
fn what_is_wrong_is_named(#[case] right: &str, #[case] wrong: &str, #[case] named: &[&str]) {
    let text = GOOD.replace(right, wrong);
    assert_ne!(text, GOOD);
    let message = parse(&text).unwrap_err().to_string();
    for word in named {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

#[test]
fn several_may_call() {
    let several = "auth:\n- {username: catalog, passwordFile: /new}\n- {username: catalog, passwordFile: /old}\n\
                   - {tokenFile: /tokens}";
    let text = GOOD.replace("auth: {username: catalog, passwordFile: /auth}", several);
    let auth = parse(&text).unwrap().stated.auth;
    let files: Vec<_> = auth.iter().map(|login| format!("{:?}", login.source())).collect();
    assert_eq!(files, [r#"File("/new")"#, r#"File("/old")"#, r#"File("/tokens")"#]);
    assert!(matches!(auth[2], Login::Bearer { .. }));
}

#[test]
fn what_the_specification_lets_a_service_say_reaches_the_catalog() {
    let text = GOOD.replace("tags: [sql]", "requires: [syslog_drain]\n    plan_updateable: true").replace(
        "free: false",
        "plan_updateable: false, binding_rotatable: false, maximum_polling_duration: 60, \
             maintenance_info: {version: 1.2.3-rc.1+b, description: new}",
    );
    let loaded = parse(&text).unwrap();
    let service = serde_json::to_value(&loaded.services.offerings[0].service).unwrap();
    assert_eq!(service["requires"], serde_json::json!(["syslog_drain"]));
    assert_eq!(
        (&service["plan_updateable"], &service["allow_context_updates"]),
        (&true.into(), &true.into())
    );
    assert_eq!(service["plans"][0]["binding_rotatable"], true, "the default");
    let plan = &service["plans"][1];
    assert_eq!((&plan["plan_updateable"], &plan["binding_rotatable"]), (&false.into(), &false.into()));
    assert_eq!(plan["maximum_polling_duration"], 60);
    assert_eq!(
        plan["maintenance_info"],
        serde_json::json!({"version": "1.2.3-rc.1+b", "description": "new"})
    );
}

#[test]
fn what_cannot_be_bound_is_not_rotated() {
    let text = GOOD.replace("free: false", "bindable: false");
    let loaded = parse(&text).unwrap();
    let plans = &loaded.services.offerings[0].service.plans;
    assert_eq!((plans[0].binding_rotatable, plans[1].binding_rotatable), (Some(true), Some(false)));
}

#[test]
fn names_have_255_characters_at_most() {
    for (length, fits) in [(255, true), (256, false)] {
        for name in ["name: cockroachdb", "name: lab"] {
            let text = GOOD.replace(name, &format!("name: {}", "\u{fc}".repeat(length)));
            assert_eq!(parse(&text).is_ok(), fits, "{name} of {length}");
        }
    }
}

#[test]
fn the_files_of_store_and_tls_are_taken_over() {
    let more = "here\nformerStoreKeyFiles: [/k1, /k2]\nstorePasswordFile: /spw\n\
                tls: {certFile: /c, keyFile: /k, clientCaFile: /ca}";
    let text = GOOD.replace("here", more).replace("sqlite:/data/broker.db", "postgres://u@h/bindery");
    let settings = parse(&text).unwrap().complete(PartialSettings::default()).unwrap().settings;
    assert_eq!(settings.former_store_keys, [PathBuf::from("/k1"), PathBuf::from("/k2")]);
    assert!(matches!(settings.store_password, Some(PasswordSource::File(path)) if path.ends_with("spw")));
    let tls = settings.tls.unwrap();
    assert_eq!((tls.certificate, tls.client_ca), ("/c".into(), Some("/ca".into())));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let message = LoadedConfig::from_file("/nowhere/bindery.yaml".as_ref()).unwrap_err().to_string();
    assert!(message.starts_with("/nowhere/bindery.yaml: "), "{message}");
}

/// A parser's advice to programmers helps no user.
#[test]
fn a_key_that_is_there_twice_is_told_in_the_words_of_users() {
    let error = parse("services: []\nservices: []\n").unwrap_err().to_string();
    assert!(error.contains("duplicate mapping key: services not allowed here"), "{error}");
    assert!(!error.contains("Policy"), "{error}");
}
