//! What plans allow, what updates change, and which parameters stay settled.

use serde_json::json;

use super::*;

fn plan() -> DatabasePlan {
    serde_json::from_value(json!({
        "access": {"default": "readonly", "allowed": ["readonly", "readwrite"]},
        "validFor": {"default": "1h", "maximum": "1d"},
        "extensions": ["hstore", "pgcrypto"], "encodings": ["UTF8", "LATIN1"], "templates": {"demo": "demo_data"},
        "reclaimPolicy": {"allowed": ["delete"]},
    }))
    .unwrap()
}

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn check(parameters: Value) -> Result<(), Unacceptable> {
    InstanceParameters::read(&object(parameters))?.check(&plan())
}

#[test]
fn an_instance_is_as_the_plan_allows() {
    let all = json!({"encoding": "LATIN1", "extensions": ["hstore"], "reclaimPolicy": "delete"});
    assert_eq!(check(all), Ok(()));
    assert_eq!(check(json!({})), Ok(()));
}

#[rstest::rstest]
#[case(json!({"colour": "red"}), &["colour", "encoding", "extensions"])]
#[case(json!({"extensions": "hstore"}), &["extensions", "sequence"])]
#[case(json!({"extensions": ["hstore", "file_fdw"]}), &["extensions", "file_fdw", "hstore, pgcrypto"])]
#[case(json!({"template": "demo_data"}), &["template", "demo_data", "allows demo"])]
#[case(json!({"encoding": "EUC_JP"}), &["encoding", "EUC_JP", "UTF8, LATIN1"])]
#[case(json!({"template": "demo", "encoding": "UTF8"}), &["encoding", "template"])]
#[case(json!({"reclaimPolicy": "retain"}), &["reclaimPolicy", "retain", "delete"])]
#[case(json!({"reclaimPolicy": "recycle"}), &["reclaimPolicy", "recycle", "delete"])]
fn what_is_not_allowed_is_named(#[case] parameters: Value, #[case] told: &[&str]) {
    let message = check(parameters).unwrap_err().to_string();
    assert!(told.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn what_an_instance_started_from_stays() {
    let read = |value: Value| InstanceParameters::read(&object(value)).unwrap();
    let from = read(json!({"template": "demo"}));
    assert_eq!(from.check_change(&read(json!({"extensions": ["hstore"]}))), Ok(()));
    assert_eq!(from.check_change(&read(json!({"template": "demo", "reclaimPolicy": "delete"}))), Ok(()));
    let refused = from.check_change(&read(json!({"encoding": "LATIN1"}))).unwrap_err();
    assert!(matches!(&refused, Unacceptable::Unsupported(told) if told.contains("encoding")), "{refused}");
}

/// Two plans: `keeps` has the given default policy, `drops` allows only deletion.
fn plans(keeps_by_default: &str) -> Plans {
    let plan = |value: Value| (ServiceKind::PostgreSql, serde_json::from_value(value).unwrap());
    let keeps = json!({"reclaimPolicy": {"default": keeps_by_default, "allowed": ["delete", "retain"]},
        "extensions": ["hstore"], "encodings": ["UTF8", "LATIN1"]});
    Plans::new([("keeps".into(), plan(keeps)), ("drops".into(), plan(json!({})))].into())
}

fn spec(plan: &str, parameters: Value) -> InstanceSpec {
    InstanceSpec {
        id: "i".into(),
        service_id: "s".into(),
        plan_id: plan.into(),
        organization_guid: String::new(),
        space_guid: String::new(),
        parameters: object(parameters),
        context: Object::new(),
        maintenance_version: None,
        settled: Object::new(),
    }
}

fn settled(plans: &Plans, past: Past<'_>, mut wanted: InstanceSpec) -> InstanceSpec {
    wanted.settled = plans.settled(past, &wanted);
    wanted
}

/// Neither a change of the configuration nor of the plan deletes data that was to be retained.
#[test]
fn data_that_is_kept_by_default_stays_kept() {
    let made = settled(&plans("retain"), Past::None, spec("keeps", json!({})));
    let now = plans("delete");
    assert_eq!(now.reclaim_policy(&made), ReclaimPolicy::Retain, "the plan's default was changed");
    let updated = settled(&now, Past::Known(&made), spec("keeps", json!({"extensions": ["hstore"]})));
    assert_eq!(now.reclaim_policy(&updated), ReclaimPolicy::Retain);
    let moved = settled(&now, Past::Known(&made), spec("drops", json!({})));
    assert_eq!(now.reclaim_policy(&moved), ReclaimPolicy::Retain, "the plan was changed");
    let refused = now.check_update(&made, &moved).unwrap_err();
    assert!(
        matches!(&refused, Unacceptable::Unsupported(told) if told.contains("send reclaimPolicy as delete")),
        "{refused}"
    );
    let said = settled(&now, Past::Known(&made), spec("drops", json!({"reclaimPolicy": "delete"})));
    assert_eq!((now.check_update(&made, &said), now.reclaim_policy(&said)), (Ok(()), ReclaimPolicy::Delete));
    let asked = spec("keeps", json!({"reclaimPolicy": "retain"}));
    assert!(now.check_update(&asked, &spec("drops", json!({"reclaimPolicy": "retain"}))).is_err());
    let made = settled(&now, Past::None, spec("keeps", json!({})));
    assert_eq!(plans("retain").reclaim_policy(&made), ReclaimPolicy::Delete, "as it was when it was made");
}

#[test]
fn of_an_instance_whose_parameters_are_lost_the_data_is_kept_if_it_could_be() {
    let plans = plans("delete");
    let policy = |plan| plans.reclaim_policy(&settled(&plans, Past::Unknown, spec(plan, json!({}))));
    assert_eq!((policy("keeps"), policy("drops")), (ReclaimPolicy::Retain, ReclaimPolicy::Delete));
    assert_eq!(plans.reclaim_policy(&spec("gone", json!({}))), ReclaimPolicy::Retain);
    assert_eq!(
        plans.reclaim_policy(&spec("drops", json!({"reclaimPolicy": "of a later version"}))),
        ReclaimPolicy::Retain
    );
}

/// A plan may now allow less than when the instance was created.
#[test]
fn an_update_may_leave_what_is_no_longer_allowed() {
    let plans = plans("delete");
    let had = json!({"reclaimPolicy": "retain", "extensions": ["pgcrypto"], "encoding": "EUC_JP"});
    let with = |more: Value| {
        let mut to = had.clone();
        to.as_object_mut().unwrap().extend(object(more));
        plans.check_update(&spec("keeps", had.clone()), &spec("keeps", to))
    };
    assert_eq!(with(json!({"extensions": ["pgcrypto", "hstore"]})), Ok(()));
    assert!(
        with(json!({"extensions": ["pgcrypto", "postgis"]})).unwrap_err().to_string().contains("postgis")
    );
    assert!(with(json!({"encoding": "UTF8"})).is_err());
    let moved =
        plans.check_update(&spec("keeps", had.clone()), &spec("drops", had.clone())).unwrap_err().to_string();
    assert!(moved.contains("reclaimPolicy"), "{moved}");
    let moved = json!({"reclaimPolicy": "delete", "extensions": ["pgcrypto"], "encoding": "EUC_JP"});
    let moved = plans.check_update(&spec("keeps", had), &spec("drops", moved)).unwrap_err().to_string();
    assert!(moved.contains("extensions") && moved.contains("pgcrypto"), "{moved}");
}

#[test]
fn bindings_have_the_plans_defaults_and_no_more_than_it_allows() {
    let read = |value: Value| BindingParameters::read(&object(value)).unwrap();
    let none = read(json!({}));
    assert_eq!(none.access(&plan()), Ok(Access::ReadOnly));
    assert_eq!(none.lifetime(&plan()).unwrap().unwrap().to_string(), "1h");
    let asked = read(json!({"access": "readwrite", "validFor": "1d"}));
    assert_eq!(asked.access(&plan()), Ok(Access::ReadWrite));
    assert_eq!(asked.lifetime(&plan()).unwrap().unwrap().duration().as_secs(), 86_400);
    let refused = read(json!({"access": "owner"})).access(&plan()).unwrap_err().to_string();
    assert!(refused.contains("access") && refused.contains("readonly or readwrite"), "{refused}");
    let refused = read(json!({"validFor": "25h"})).lifetime(&plan()).unwrap_err().to_string();
    assert!(refused.contains("validFor") && refused.contains("24h at most"), "{refused}");
}

#[test]
fn a_binding_is_renewed_while_a_third_of_its_time_is_left() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let expiry = Expiry::of("3h".parse().unwrap(), now);
    assert_eq!(expiry.ends_at.to_string(), "2026-01-01T03:00:00Z");
    assert_eq!(expiry.renew_before.to_string(), "2026-01-01T02:00:00Z");
}

#[rstest::rstest]
#[case(json!({"validFor": "soon"}), &["validFor", "soon", "24h"])]
#[case(json!({"validFor": "0s"}), &["validFor", "1s"])]
#[case(json!({"validFor": "-1h"}), &["validFor", "1s"])]
#[case(json!({"validFor": "1mo"}), &["validFor", "30d"])]
#[case(json!({"validFor": 60}), &["validFor", "string"])]
#[case(json!({"access": "admin"}), &["access", "admin", "readonly"])]
fn errors_of_malformed_bindings_name_the_field(#[case] parameters: Value, #[case] told: &[&str]) {
    let message = BindingParameters::read(&object(parameters)).unwrap_err().to_string();
    assert!(told.iter().all(|word| message.contains(word)), "{message}");
}
