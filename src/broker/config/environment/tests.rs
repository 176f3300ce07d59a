//! The configuration that the former broker's environment yields, and the message for each mistake.

use serde_json::Value;

use super::*;
use crate::broker::check_services;

const SERVICES: &str = r#"[{"id": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "name": "cockroachdb", "description": "d",
    "bindable": true, "plan_updateable": false, "metadata": {"displayName": "CockroachDB"}, "tags": ["SQL"]}]"#;
const PLANS: &str = r#"[{"name": "default", "description": "Default", "metadata": {"displayName": "Default"},
    "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00",
    "crdbHost": "cockroachdb-public.default.svc.cluster.local", "crdbPort": "26257"}]"#;

fn load(changes: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
    let mut variables = BTreeMap::from([
        ("SERVICES", SERVICES),
        ("PRECONFIGURED_PLANS", PLANS),
        ("SECURITY_USER_NAME", "user"),
        ("SECURITY_USER_PASSWORD", "pass"),
    ]);
    variables.extend(changes.iter().copied());
    let loaded = parse(&|name: &str| variables.get(name).map(|value| (*value).to_owned()))?;
    check_services(&loaded.services)?;
    Ok(loaded)
}

/// The settings of each backend.
fn servers(loaded: &LoadedConfig) -> Vec<Value> {
    loaded.services.backends.iter().map(|backend| backend.settings.parse().unwrap()).collect()
}

#[test]
fn the_seeds_deployment_is_understood() {
    let loaded = load(&[]).unwrap();
    let server = servers(&loaded).remove(0);
    assert_eq!((&server["user"], &server["port"]), (&"root".into(), &26257.into()));
    assert_eq!(server["sslmode"], "require");
    assert_eq!(loaded.services.backends[0].name.as_str(), "cockroachdb/default");
    let config = loaded.complete(PartialSettings::default()).unwrap();
    let offering = &config.services.offerings[0];
    assert_eq!(offering.service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
    assert!(matches!(&config.settings.auth[0], Login::Basic { username, .. } if username == "user"));
    assert!(!format!("{config:?}").contains("\"pass\""), "a password in Debug output");
}

#[test]
fn null_counts_as_absent() {
    let services = SERVICES
        .replace("[\"SQL\"]", "null")
        .replace("\"plan_updateable\": false", "\"plan_updateable\": null");
    let plans =
        PLANS.replace("\"description\": \"Default\"", "\"description\": null, \"id\": null, \"free\": null");
    let config = load(&[("SERVICES", &services), ("PRECONFIGURED_PLANS", &plans)]).unwrap();
    let service = &config.services.offerings[0].service;
    assert!(service.tags.is_empty() && !service.plan_updateable && service.plans[0].free.is_none());
    assert_eq!(service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
}

#[test]
fn applications_may_have_another_address() {
    let plans =
        PLANS.replace("\"crdbPort\"", r#""crdbClientHost": "pooler", "crdbClientPort": "6432", "crdbPort""#);
    let loaded = load(&[("PRECONFIGURED_PLANS", &plans)]).unwrap();
    let server = servers(&loaded).remove(0);
    assert_eq!((&server["clientHost"], &server["clientPort"]), (&"pooler".into(), &6432.into()));
    let server = servers(&load(&[]).unwrap()).remove(0);
    assert_eq!(server["host"], "cockroachdb-public.default.svc.cluster.local");
    assert!(server["clientHost"].is_null() && server["clientPort"].is_null());
}

#[test]
fn the_key_lies_beside_the_store_wherever_that_is() {
    let key = |changes: &[(&str, &str)], store: Option<&str>| {
        let caller = PartialSettings {
            store: store.map(|store| store.parse().unwrap()),
            ..PartialSettings::default()
        };
        match load(changes).unwrap().complete(caller).unwrap().settings.store_key {
            StoreKey::FileOrNew(path) => format!("new {}", path.display()),
            StoreKey::File(path) => path.display().to_string(),
            StoreKey::Given(_) => panic!("nobody gave one"),
        }
    };
    assert_eq!(key(&[], None), "new bindery-broker.db.key");
    assert_eq!(key(&[("BINDERY_STORE", "sqlite:/a/b.db")], None), "new /a/b.db.key");
    assert_eq!(key(&[("BINDERY_STORE", "sqlite:/a/b.db")], Some("sqlite:/c/d.db")), "new /c/d.db.key");
    assert_eq!(key(&[("BINDERY_STORE_KEY_FILE", "/k")], Some("sqlite:/c/d.db")), "/k");
}

#[test]
fn whether_plans_can_change_is_taken_over() {
    for updateable in [true, false] {
        let services = SERVICES.replace("e\": false", &format!("e\": {updateable}"));
        let loaded = load(&[("SERVICES", &services)]).unwrap();
        let service = &loaded.services.offerings[0].service;
        assert_eq!(service.plan_updateable, updateable);
        assert!(service.allow_context_updates);
        assert_eq!(service.plans[0].binding_rotatable, Some(true));
    }
}

#[test]
fn the_tiles_plans_are_added() {
    let custom = r#"{"k": {"guid": "g", "name": "big", "display_name": "Big", "description": "b",
        "service": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "host": "other", "port": 26258}}"#;
    let config =
        load(&[("CUSTOM_PLANS", custom), ("PGSSLCERT", "/c"), ("PGSSLKEY", "/k"), ("PGPASSWORD", "x")])
            .unwrap();
    let plan = &config.services.offerings[0].service.plans[1];
    assert_eq!((plan.id.as_str(), plan.name.as_str()), ("g", "big"));
    assert_eq!(plan.metadata.as_ref().unwrap()["displayName"], "Big");
    let server = servers(&config).into_iter().find(|server| server["host"] == "other").unwrap();
    assert!(server["certFile"] == "/c" && server["keyFile"] == "/k" && server["port"] == 26258);
    assert!(config.services.backends.iter().all(|backend| backend.settings.secret("password").is_some()));
}

#[rstest::rstest]
#[case::no_user(&[("SECURITY_USER_NAME", "")], &["SECURITY_USER_NAME"])]
#[case::colon_in_user(&[("SECURITY_USER_NAME", "a:b")], &["SECURITY_USER_NAME", "colon"])]
#[case::no_password(&[("SECURITY_USER_PASSWORD", "")], &["SECURITY_USER_PASSWORD"])]
#[case::no_services(&[("SERVICES", "")], &["SERVICES"])]
#[case::broken(&[("SERVICES", "[{")], &["SERVICES", "line 1"])]
#[case::wrong_type(&[("SERVICES", r#"[{"bindable": 1}]"#)], &["SERVICES: [0].bindable"])]
#[case::no_service_id(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "crdbHost": "h", "crdbPort": "1"}]"#)], &["\"p\"", "serviceID"])]
#[case::unknown_service(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbHost": "h", "crdbPort": "1"}]"#)], &["serviceID", "\"x\""])]
#[case::no_host(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbPort": "1"}]"#)], &["\"p\"", "crdbHost"])]
#[case::no_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbHost": "h"}]"#)], &["\"p\"", "crdbPort"])]
#[case::bad_client_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "crdbHost": "h", "crdbPort": "1", "crdbClientPort": "x"}]"#)], &["crdbClientPort", "\"x\""])]
#[case::bad_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "crdbHost": "h", "crdbPort": "99999"}]"#)], &["crdbPort", "99999"])]
#[case::no_plans(&[("PRECONFIGURED_PLANS", "[]")], &["cockroachdb", "at least one plan"])]
#[case::half_a_certificate(&[("PGSSLCERT", "/c")], &["PGSSLCERT", "PGSSLKEY"])]
fn what_was_fatal_is_named(#[case] changes: &[(&str, &str)], #[case] named: &[&str]) {
    let message = load(changes).unwrap_err().to_string();
    for word in named {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

#[test]
fn names_and_ids_may_be_used_once() {
    let twice = SERVICES.replace("[{", r#"[{"id": "other", "name": "cockroachdb", "description": "d"}, {"#);
    let message = load(&[("SERVICES", &twice)]).unwrap_err().to_string();
    assert!(message.contains("plan") || message.contains("twice"), "{message}");
    let same_id = format!("[{0}, {0}]", &PLANS[1..PLANS.len() - 1]);
    let message = load(&[("PRECONFIGURED_PLANS", &same_id)]).unwrap_err().to_string();
    assert!(message.contains("\"default\"") && message.contains("twice"), "{message}");
}
