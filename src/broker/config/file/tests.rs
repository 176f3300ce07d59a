//! A complete file, every way to write a field, and the message for each mistake.

use serde_json::{Value, json};

use super::*;
use crate::broker::config::BackendLimits;

const GOOD: &str = r"
backends:
  main: {type: postgresql, host: db.example, port: 26257, user: bindery, passwordFile: /pw, caFile: /ca.crt}
  lab: {type: postgresql, limits: {concurrency: 4, requestsPerSecond: 10}, host: lab.example, port: 5432, user: bindery, sslmode: require, database: admin}
services:
  - id: svc
    name: cockroachdb
    type: cockroachdb
    description: Databases.
    tags: [sql]
    metadata: {bindery: {env: {COCKROACH_URL: uri}}}
    plans:
      - {name: default, description: Default, backend: main}
      - {id: own, name: lab, description: Lab, backend: lab, free: false}
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
    let backend = |name: &str| {
        loaded.services.backends.iter().find(|backend| backend.name.as_str() == name).unwrap().clone()
    };
    let (main, lab) = (backend("main"), backend("lab"));
    assert_eq!((main.kind.as_str(), main.limits), ("postgresql", BackendLimits::default()));
    assert_eq!(
        (lab.limits.concurrency.map(usize::from), lab.limits.requests_per_second.map(u32::from)),
        (Some(4), Some(10))
    );
    assert_eq!(
        main.settings.parse::<Value>().unwrap(),
        json!({"host": "db.example", "port": 26257, "user": "bindery", "passwordFile": "/pw", "caFile": "/ca.crt"}),
        "what only the backend understands"
    );
    assert!(loaded.complete(PartialSettings::default()).is_ok());
}

#[test]
fn what_only_the_backend_of_a_plan_understands_is_kept_for_it() {
    let loaded =
        parse(&GOOD.replace("free: false", "free: false, database: {access: {default: readonly}}")).unwrap();
    let plan = &loaded.services.offerings[0].plans[&"own".into()].plan;
    assert_eq!(plan.parse::<Value>().unwrap(), json!({"database": {"access": {"default": "readonly"}}}));
    assert_eq!(plan.at("database"), "services[0].plans[1].database");
}

/// `OF_PLANS` lists exactly the fields of [`Plan`].
#[test]
fn the_fields_of_every_plan_are_known() {
    let error = read::<Plan>(json!({"zzz": 1}), "plan", &[]).err().unwrap().to_string();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let known: Vec<_> = known.split(", ").map(|name| name.trim_matches('`')).collect();
    assert_eq!(known, OF_PLANS);
}

#[rstest::rstest]
#[case::unknown_server("backend: lab", "backend: nowhere", &["plan \"lab\"", "nowhere", "`backends`"])]
#[case::former_servers("backends:", "servers:", &["servers is called `backends` now"])]
#[case::former_server("backend: lab", "server: lab", &["services[0].plans[1].server is called `backend` now"])]
#[case::former_protocol("lab: {type: postgresql,", "lab: {protocol: postgresql,", &["backends.lab.protocol is called `type` now"])]
#[case::no_type("lab: {type: postgresql,", "lab: {", &["backends.lab.type is missing", "postgresql"])]
#[case::type_is_no_text("lab: {type: postgresql,", "lab: {type: 1,", &["backends.lab.type", "string"])]
#[case::no_concurrency("concurrency: 4", "concurrency: 0", &["backends.lab.limits.concurrency"])]
#[case::unknown_limit("concurrency: 4", "concurency: 4", &["backends.lab.limits", "concurency", "requestsPerSecond"])]
#[case::wrong_name_type("name: lab", "name: [lab]", &["services[0].plans[1].name"])]
#[case::duplicate_plan("name: lab", "name: default", &["plan name", "default", "twice"])]
#[case::no_plan_name("name: lab", "name: ''", &["plan name", "missing"])]
#[case::bad_store("sqlite:/data/broker.db", "mongodb://x", &["store", "sqlite:"])]
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

/// The parser's advice for programmers does not help users.
#[test]
fn a_duplicate_key_is_reported_in_the_words_of_users() {
    let error = parse("services: []\nservices: []\n").unwrap_err().to_string();
    assert!(error.contains("duplicate mapping key: services not allowed here"), "{error}");
    assert!(!error.contains("Policy"), "{error}");
}
