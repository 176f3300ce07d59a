//! Valid and invalid settings of database plans.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_plan_that_says_nothing_allows_every_access_and_no_more() {
    let plan = DatabasePlan::default();
    assert_eq!(plan.access.take(None), Ok(Access::Owner));
    assert_eq!(plan.access.take(Some(Access::ReadOnly)), Ok(Access::ReadOnly));
    assert_eq!(plan.valid_for.take(None), Ok(None));
    assert!(plan.extensions.is_empty() && plan.templates.is_empty() && plan.encodings.is_empty());
    assert_eq!(plan.credentials, CredentialKind::Password);
}

#[test]
fn a_default_is_allowed_and_to_leave_data_behind_only_if_the_plan_says_so() {
    let nothing = DatabasePlan::default();
    assert!(nothing.reclaim_policy.take(Some(ReclaimPolicy::Retain)).is_err());
    let plan: DatabasePlan = serde_json::from_value(json!({"reclaimPolicy": {"default": "retain"}})).unwrap();
    assert_eq!(plan.reclaim_policy.take(None), Ok(ReclaimPolicy::Retain));
    assert_eq!(plan.reclaim_policy.take(Some(ReclaimPolicy::Delete)), Ok(ReclaimPolicy::Delete));
    assert!(plan.check(ServiceKind::PostgreSql, "database").is_ok());
}

#[test]
fn a_maximum_is_a_default_too() {
    let validity: Validity = serde_json::from_value(json!({"maximum": "1h"})).unwrap();
    assert_eq!(validity.take(None).unwrap().unwrap().to_string(), "1h");
}

#[test]
fn the_catalog_shows_what_a_plan_allows() {
    let plan = json!({"extensions": ["hstore"], "access": {"allowed": ["owner"]}});
    let plan: DatabasePlan = serde_json::from_value(plan).unwrap();
    let schemas = plan.schemas();
    let create = &schemas["service_instance"]["create"]["parameters"]["properties"];
    assert_eq!(create["extensions"]["items"]["enum"], json!(["hstore"]));
    assert!(create.get("template").is_none() && create.get("encoding").is_none());
    let bind = &schemas["service_binding"]["create"]["parameters"]["properties"];
    assert_eq!(bind["access"]["enum"], json!(["owner"]));
    let pattern = matches(&bind["validFor"]["pattern"]);
    assert!(pattern("1h 30m") && pattern("30d") && !pattern("soon") && !pattern("1mo"));
}

#[rstest::rstest]
#[case(json!({"encodings": ["UTF8", "UTF8"]}), "database.encodings", "UTF8")]
#[case(json!({"extensions": ["hstore", "hstore"]}), "database.extensions", "hstore")]
#[case(json!({"access": {"allowed": ["owner", "owner"]}}), "database.access.allowed", "owner")]
#[case(json!({"reclaimPolicy": {"allowed": ["delete", "delete"]}}), "database.reclaimPolicy.allowed", "delete")]
fn a_word_that_is_allowed_twice_is_refused(#[case] plan: Value, #[case] field: &str, #[case] word: &str) {
    let plan: DatabasePlan = serde_json::from_value(plan).unwrap();
    let error = plan.check(ServiceKind::PostgreSql, "database").unwrap_err().to_string();
    assert!(error.contains(field) && error.contains(word), "{error}");
}

fn matches(pattern: &Value) -> impl Fn(&str) -> bool {
    let schema = json!({"type": "string", "pattern": pattern});
    let validator = jsonschema::validator_for(&schema).unwrap();
    move |text| validator.is_valid(&json!(text))
}
