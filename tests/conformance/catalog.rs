//! The catalog, and configurations that are refused.

use std::collections::HashSet;

use bindery::broker::config::LoadedConfig;
use serde_json::{Value, json};

use crate::{
    platform::{Platform, TIMING},
    stores::Store,
};

on_each_store!(
    the_catalog_has_what_is_required,
    the_catalog_says_what_is_configured,
    ids_and_names_are_unique,
    services_report_whether_they_can_be_fetched,
    a_catalog_may_be_empty,
    a_known_catalog_is_not_sent_again,
);

over_alibaba!(
    the_catalog_has_what_is_required,
    ids_and_names_are_unique,
    services_report_whether_they_can_be_fetched,
    a_known_catalog_is_not_sent_again,
);

async fn services(store: Store) -> Vec<Value> {
    let at = Platform::on(store).await;
    let mut catalog = at.get("/v2/catalog").await.must(200);
    serde_json::from_value(catalog["services"].take()).unwrap()
}

/// `strict` misses whatever is required and not there, in plans too.
async fn the_catalog_has_what_is_required(store: Store) {
    let services = services(store).await;
    assert_eq!(services.len(), 2);
    assert!(services.iter().all(|service| !service["plans"].as_array().unwrap().is_empty()));
}

async fn the_catalog_says_what_is_configured(store: Store) {
    let services = services(store).await;
    let plan = |name: &str| {
        let plans = services[0]["plans"].as_array().unwrap();
        plans.iter().find(|plan| plan["name"] == name).unwrap().clone()
    };
    assert_eq!(services[0]["tags"], json!(["sql"]));
    assert_eq!(services[0]["plan_updateable"], true);
    assert_eq!(services[0]["allow_context_updates"], true);
    assert_eq!(services[0]["metadata"], json!({"displayName": "One"}));
    assert_eq!(services[1]["requires"], json!(["syslog_drain", "route_forwarding", "volume_mount"]));
    assert_ne!(services[1]["allow_context_updates"], true);
    assert_eq!(plan("prompt")["free"], false);
    assert_eq!(plan("prompt")["metadata"], json!({"bullets": ["fast"]}));
    assert_eq!(plan("unbindable")["bindable"], false);
    assert_eq!(plan("unbindable")["binding_rotatable"], false);
    assert_eq!(plan("prompt")["binding_rotatable"], true);
    assert_eq!(plan("stiff")["plan_updateable"], false);
    assert_eq!(plan("lasting")["maximum_polling_duration"], 600);
    assert_eq!(plan("maintained")["maintenance_info"], json!({"version": "1.0.0+a", "description": "first"}));
    let schema = &plan("strict")["schemas"]["service_instance"]["create"]["parameters"];
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
}

async fn ids_and_names_are_unique(store: Store) {
    let services = services(store).await;
    let mut ids = HashSet::new();
    for service in &services {
        assert!(ids.insert(service["id"].to_string()));
        let mut names = HashSet::new();
        for plan in service["plans"].as_array().unwrap() {
            assert!(ids.insert(plan["id"].to_string()) && names.insert(plan["name"].to_string()));
        }
    }
}

async fn services_report_whether_they_can_be_fetched(store: Store) {
    for service in services(store).await {
        assert_eq!([&service["instances_retrievable"], &service["bindings_retrievable"]], [true, true]);
    }
}

async fn a_catalog_may_be_empty(store: Store) {
    let at = Platform::of(store, TIMING, "services: []").await;
    assert_eq!(at.get("/v2/catalog").await.must(200), json!({"services": []}));
}

async fn a_known_catalog_is_not_sent_again(store: Store) {
    let at = Platform::on(store).await;
    let tag = async |version| at.speaking(version).get("/v2/catalog").await.headers["etag"].clone();
    let current = tag("2.17").await;
    assert_ne!(tag("2.13").await, current, "the bodies differ");
    let asked =
        async |known: &str| at.send(at.request("GET", "/v2/catalog").header("if-none-match", known)).await;
    let again = asked(current.to_str().unwrap()).await;
    assert_eq!((again.status, &again.headers["etag"]), (304, &current));
    assert_eq!(again.body, Value::Null);
    asked("\"another\"").await.must(200);
    let stranger = at.bare("GET", "/v2/catalog").header("if-none-match", "*");
    at.send(stranger).await.must(401);
}

/// What loading a configuration with these services says against it.
fn refused(services: &str) -> String {
    let text = format!(
        "backends: {{main: {{type: postgresql, host: h, port: 1, user: u, sslmode: require}}}}\nservices: {services}"
    );
    LoadedConfig::from_yaml(&text).expect_err("a catalog that the specification forbids").to_string()
}

fn of_plan(more: &str) -> String {
    format!(
        "[{{id: s, name: n, type: cockroachdb, description: d, plans: [{{name: p, description: d, backend: main{more}}}]}}]"
    )
}

#[test]
fn ids_and_names_cannot_be_used_twice() {
    let plan = "{id: p, name: p, description: d, backend: main}";
    let service = |id: &str, name: &str, plans: &str| {
        format!("{{id: {id}, name: {name}, type: cockroachdb, description: d, plans: [{plans}]}}")
    };
    let other = "{id: q, name: p, description: d, backend: main}";
    for (services, what) in [
        (format!("[{}, {}]", service("s", "a", plan), service("s", "b", other)), "service id"),
        (format!("[{}, {}]", service("s", "a", plan), service("t", "a", other)), "service name"),
        (format!("[{}, {}]", service("s", "a", plan), service("t", "b", plan)), "plan id"),
        (format!("[{}]", service("s", "a", &format!("{plan}, {other}"))), "plan name"),
    ] {
        let error = refused(&services);
        assert!(error.contains(what) && error.contains("twice"), "{error}");
    }
}

fn loaded(services: &str) -> LoadedConfig {
    let backends = "backends: {main: {type: postgresql, host: h, port: 1, user: u, sslmode: require}}";
    LoadedConfig::from_yaml(&format!("{backends}\nservices: {services}")).unwrap()
}

#[test]
fn names_differ_by_case() {
    let plan = |name: &str| format!("{{name: {name}, description: d, backend: main}}");
    let plans = format!("[{}, {}]", plan("p"), plan("P"));
    let service = |name: &str| {
        format!("{{id: {name}, name: {name}, type: cockroachdb, description: d, plans: {plans}}}")
    };
    assert_eq!(loaded(&format!("[{}, {}]", service("n"), service("N"))).services.offerings.len(), 2);
}

/// A plan that is configured without an id has one all the same, and the same one each time.
#[test]
fn ids_never_change() {
    let id = || loaded(&of_plan("")).services.offerings[0].service.plans[0].id.clone();
    assert_eq!(id(), id());
    assert_eq!(id(), bindery::broker::config::plan_id("n", "p"));
}

#[test]
fn a_service_needs_a_plan() {
    let error = refused("[{id: s, name: n, type: cockroachdb, description: d, plans: []}]");
    assert!(error.contains("at least one plan"), "{error}");
}

#[test]
fn names_are_of_a_safe_length() {
    let error = refused(&of_plan("").replace("name: n", &format!("name: {}", "n".repeat(256))));
    assert!(error.contains("255"), "{error}");
}

#[test]
fn only_permissions_of_the_specification_are_accepted() {
    let error = refused(&of_plan("").replace("id: s", "id: s, requires: [root]"));
    assert!(error.contains("syslog_drain"), "{error}");
}

#[test]
fn a_maintenance_version_is_semantic() {
    for version in ["1", "1.0", "v1.0.0", "one"] {
        let error = refused(&of_plan(&format!(", maintenance_info: {{version: \"{version}\"}}")));
        assert!(error.contains("semantic version"), "{error}");
    }
}

#[test]
fn a_schema_names_its_dialect() {
    let error = refused(&of_plan(", schemas: {service_instance: {create: {parameters: {type: object}}}}"));
    assert!(error.contains("$schema"), "{error}");
}

#[test]
fn a_schema_is_of_draft_04() {
    let of = |more: &str| {
        let schema = format!("{{type: object, {more}}}");
        refused(&of_plan(&format!(", schemas: {{service_instance: {{create: {{parameters: {schema}}}}}}}")))
    };
    let error = of("$schema: \"http://json-schema.org/draft-07/schema#\"");
    assert!(
        error.contains("plan \"p\"") && error.contains("write `$schema: http://json-schema.org/draft-04"),
        "{error}"
    );
    let error = of("$schema: \"http://json-schema.org/draft-04/schema#\", properties: {a: {const: 1}}");
    assert!(error.contains("/properties/a/const") && error.contains("enum"), "{error}");
}

#[test]
fn a_schema_refers_to_nothing_outside() {
    let schema = "{$schema: \"http://json-schema.org/draft-04/schema#\", type: object, \
        allOf: [{$ref: \"http://example.com/other\"}]}";
    let error =
        refused(&of_plan(&format!(", schemas: {{service_binding: {{create: {{parameters: {schema}}}}}}}")));
    assert!(error.contains("refer to this schema only"), "{error}");
}

#[test]
fn a_schema_is_no_larger_than_64_kb() {
    let long = "x".repeat(64 * 1024);
    let schema = format!("{{$schema: \"http://json-schema.org/draft-04/schema#\", description: {long}}}");
    let error =
        refused(&of_plan(&format!(", schemas: {{service_instance: {{update: {{parameters: {schema}}}}}}}")));
    assert!(error.contains("65536"), "{error}");
}
