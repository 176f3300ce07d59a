//! Updating instances.

use serde_json::{Value, json};

use crate::{
    client::{Client, I, instance, polled},
    fake::{Database, Fault},
    platform::{Platform, TIMING, but},
    stores::Store,
};

on_each_store!(
    a_synchronous_update_is_200,
    an_asynchronous_update_is_202_with_an_operation,
    the_service_must_be_named,
    an_unknown_plan_is_400,
    a_missing_instance_cannot_be_updated,
    without_a_plan_the_plan_stays,
    without_parameters_the_parameters_stay,
    parameters_that_are_not_named_stay,
    no_parameters_mean_nothing,
    null_removes_a_parameter,
    a_repeated_update_changes_nothing_more,
    another_plan_must_allow_what_the_instance_has,
    an_update_without_changes_is_200,
    a_context_alone_may_be_updated_if_the_service_says_so,
    a_context_alone_is_422_if_the_service_does_not,
    a_plan_is_changed_only_if_it_is_updateable,
    an_unsupported_change_is_422,
    a_plan_elsewhere_is_422,
    parameters_that_break_the_updates_schema_are_400,
    previous_values_may_be_given,
    a_refused_update_changes_nothing,
    a_failed_update_changes_nothing,
    a_failed_update_says_what_still_works,
    an_update_that_the_instances_state_refuses_is_422,
    a_failed_asynchronous_update_says_what_still_works,
    an_update_that_cannot_be_rolled_back_says_so,
    an_update_that_failed_may_be_repeated,
);

over_alibaba!(
    an_asynchronous_update_is_202_with_an_operation,
    the_service_must_be_named,
    an_unknown_plan_is_400,
    a_context_alone_may_be_updated_if_the_service_says_so,
    previous_values_may_be_given,
);

fn to(changes: &Value) -> Value {
    but(json!({"service_id": "s"}), changes)
}

async fn sized(at: &Client, plan: &str, parameters: Value) {
    let mut wanted = instance(plan);
    wanted["parameters"] = parameters;
    assert!([201, 202].contains(&at.put(&polled(I), wanted).await.status));
    assert_eq!(at.ended(I).await["state"], "succeeded");
}

fn database(at: &Platform) -> Database {
    at.fake.world().databases[&"i".into()].clone()
}

async fn a_synchronous_update_is_200(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.patch(I, to(&json!({"plan_id": "p2", "parameters": {"a": 1}}))).await.must(200);
    let found = at.get(I).await.must(200);
    assert_eq!((&found["plan_id"], &found["parameters"]), (&json!("p2"), &json!({"a": 1})));
    assert_eq!(database(&at).plan, "p2".into());
}

async fn an_asynchronous_update_is_202_with_an_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.patch(&polled(I), to(&json!({"plan_id": "lasting-too"}))).await.operation();
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert_eq!(at.get(I).await.must(200)["plan_id"], "lasting-too");
}

async fn the_service_must_be_named(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.patch(I, json!({"plan_id": "p2"})).await.must_say(400, "service_id");
    at.patch(I, to(&json!({"service_id": ""}))).await.must_say(400, "service_id");
    at.patch(I, to(&json!({"service_id": "x"}))).await.must_say(400, "service_id");
    at.patch(I, to(&json!({"service_id": "t"}))).await.must_say(400, "service_id");
}

async fn an_unknown_plan_is_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.patch(I, to(&json!({"plan_id": "x"}))).await.must_say(400, "plan_id");
    at.patch(I, to(&json!({"plan_id": ""}))).await.must_say(400, "plan_id");
    at.patch(I, to(&json!({"plan_id": "t1"}))).await.must_say(400, "plan_id");
}

async fn a_missing_instance_cannot_be_updated(store: Store) {
    let at = Platform::on(store).await;
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(404);
    at.fake.fail("provision", Fault::Half);
    at.put(I, instance("p")).await.must(500);
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must_say(422, "not provisioned");
}

async fn without_a_plan_the_plan_stays(store: Store) {
    let at = Platform::on(store).await;
    at.made("p2").await;
    at.patch(I, to(&json!({"parameters": {"a": 1}}))).await.must(200);
    assert_eq!(at.get(I).await.must(200)["plan_id"], "p2");
    assert_eq!(database(&at).plan, "p2".into());
}

async fn without_parameters_the_parameters_stay(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1})).await;
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(200);
    assert_eq!(at.get(I).await.must(200)["parameters"], json!({"a": 1}));
    assert_eq!(Value::from(database(&at).parameters), json!({"a": 1}));
}

async fn parameters_that_are_not_named_stay(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"keep": "this", "list": [1, 2]})).await;
    at.patch(I, to(&json!({"parameters": {"list": [3]}}))).await.must(200);
    let at = at.restarted(|services| services).await;
    at.patch(I, to(&json!({"parameters": {"more": {"a": 1}}}))).await.must(200);
    let expected = json!({"keep": "this", "list": [3], "more": {"a": 1}});
    assert_eq!(at.get(I).await.must(200)["parameters"], expected);
    assert_eq!(Value::from(database(&at).parameters), expected);
    at.put(I, but(instance("p"), &json!({"parameters": expected}))).await.must(200);
}

/// What Cloud Foundry sends with every change of a name.
async fn no_parameters_mean_nothing(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1})).await;
    for nothing in [json!({}), Value::Null] {
        let mut request = to(&json!({"context": {"platform": "cloudfoundry", "instance_name": "renamed"}}));
        request["parameters"] = nothing;
        request["plan_id"] = Value::Null;
        at.patch(I, request).await.must(200);
        assert_eq!(at.get(I).await.must(200)["parameters"], json!({"a": 1}));
    }
    at.patch(I, to(&json!({"plan_id": "p2", "parameters": {}}))).await.must(200);
    assert_eq!(Value::from(database(&at).parameters), json!({"a": 1}));
    assert_eq!(at.calls("update"), 1, "of the plan only");
    // Such a request is one for the context alone.
    at.put(&format!("{I}2"), instance("t1")).await.must(201);
    let renamed = json!({"service_id": "t", "parameters": {}, "context": {"platform": "cloudfoundry"}});
    at.patch(&format!("{I}2"), renamed).await.must_say(422, "context");
}

async fn null_removes_a_parameter(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1, "b": 2, "nothing": null})).await;
    at.put(I, but(instance("p"), &json!({"parameters": {"a": 1, "b": 2}}))).await.must(200);
    let mut request = to(&json!({}));
    request["parameters"] = json!({"a": null, "unknown": null});
    at.patch(I, request).await.must(200);
    assert_eq!(at.get(I).await.must(200)["parameters"], json!({"b": 2, "nothing": null}));
    assert_eq!(Value::from(database(&at).parameters), json!({"b": 2, "nothing": null}));
}

async fn a_repeated_update_changes_nothing_more(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1, "b": 1})).await;
    let mut request = to(&json!({"plan_id": "p2"}));
    request["parameters"] = json!({"a": 2, "b": null});
    at.patch(I, request.clone()).await.must(200);
    let before = at.get(I).await.must(200);
    for _ in 0..2 {
        at.patch(I, request.clone()).await.must(200);
        assert_eq!(at.get(I).await.must(200), before);
    }
    assert_eq!((at.calls("update"), &before["parameters"]), (1, &json!({"a": 2})));
}

async fn another_plan_must_allow_what_the_instance_has(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"size": "large", "keep": 1})).await;
    at.patch(I, to(&json!({"plan_id": "strict"}))).await.must_say(400, "parameters/size");
    let before = at.get(I).await.must(200);
    assert_eq!((&before["plan_id"], &before["parameters"]["size"]), (&json!("p"), &json!("large")));
    at.patch(I, to(&json!({"plan_id": "strict", "parameters": {"size": 2}}))).await.must(200);
    assert_eq!(at.get(I).await.must(200)["parameters"], json!({"size": 2, "keep": 1}));
}

async fn an_update_without_changes_is_200(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1})).await;
    at.patch(I, to(&json!({}))).await.must(200);
    at.patch(I, to(&json!({"plan_id": "p", "parameters": {"a": 1}}))).await.must(200);
    assert_eq!(at.calls("update"), 0);
}

async fn a_context_alone_may_be_updated_if_the_service_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let context = json!({"platform": "kubernetes", "instance_name": "renamed"});
    at.patch(I, to(&json!({"context": context}))).await.must(200);
}

async fn a_context_alone_is_422_if_the_service_does_not(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("t1")).await.must(201);
    let context = json!({"service_id": "t", "context": {"platform": "kubernetes"}});
    at.patch(I, to(&context)).await.must_say(422, "context");
}

async fn a_plan_is_changed_only_if_it_is_updateable(store: Store) {
    let at = Platform::on(store).await;
    at.made("stiff").await;
    at.patch(I, to(&json!({"plan_id": "p"}))).await.must_say(422, "stiff");
    at.patch(I, to(&json!({"parameters": {"a": 1}}))).await.must(200);
    assert_eq!(at.get(I).await.must(200)["plan_id"], "stiff");
}

async fn an_unsupported_change_is_422(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"fixed": 1})).await;
    at.patch(I, to(&json!({"parameters": {"fixed": 2}}))).await.must_say(422, "fixed");
}

async fn a_plan_elsewhere_is_422(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.patch(I, to(&json!({"plan_id": "elsewhere"}))).await.must_say(422, "another server");
}

async fn parameters_that_break_the_updates_schema_are_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("strict").await;
    at.patch(I, to(&json!({"parameters": {"size": "large"}}))).await.must_say(400, "size");
    at.patch(I, to(&json!({"parameters": {"size": 2}}))).await.must(200);
}

async fn previous_values_may_be_given(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let previous = json!({"plan_id": "p", "service_id": "s", "organization_id": "o", "space_id": "n",
        "maintenance_info": {"version": "1.0.0"}});
    at.patch(I, to(&json!({"plan_id": "p2", "previous_values": previous}))).await.must(200);
}

async fn a_refused_update_changes_nothing(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"fixed": 1})).await;
    let (before, fetched) = (database(&at), at.get(I).await.must(200));
    for changes in [
        json!({"plan_id": "x"}),
        json!({"plan_id": "elsewhere"}),
        json!({"plan_id": "lasting"}),
        json!({"parameters": {"fixed": 2}}),
        json!({"parameters": {"bad": 1}}),
        json!({"plan_id": "p2", "parameters": {"bad": 1, "fixed": 1}}),
        json!({"maintenance_info": {"version": "9.0.0"}}),
    ] {
        let status = at.patch(I, to(&changes)).await.status;
        assert!([400, 422].contains(&status), "{changes}: {status}");
        assert_eq!(database(&at), before, "{changes}");
        assert_eq!(at.get(I).await.must(200), fetched, "{changes}");
    }
    assert_eq!(at.calls("update"), 0);
}

async fn a_failed_update_changes_nothing(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1})).await;
    let (before, fetched) = (database(&at), at.get(I).await.must(200));
    for fault in [Fault::Before, Fault::Half, Fault::After] {
        at.fake.fail("update", fault);
        at.patch(I, to(&json!({"plan_id": "p2", "parameters": {"a": 2}}))).await.must(500);
        assert_eq!(database(&at), before, "{fault:?}");
        assert_eq!(at.get(I).await.must(200), fetched, "{fault:?}");
    }
}

async fn a_failed_update_says_what_still_works(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.fake.fail("update", Fault::Half);
    let body = at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(500);
    assert_eq!([&body["instance_usable"], &body["update_repeatable"]], [true, true], "{body}");
    at.get(I).await.must(200);
}

async fn an_update_that_the_instances_state_refuses_is_422(store: Store) {
    let at = Platform::on(store).await;
    sized(&at, "p", json!({"a": 1})).await;
    let (before, fetched) = (database(&at), at.get(I).await.must(200));
    for path in [I, &polled(I)] {
        at.fake.fail("update", Fault::State);
        let answer = at.patch(path, to(&json!({"parameters": {"a": 2}}))).await;
        let body = answer.must(422);
        assert!(body["description"].as_str().unwrap().contains("kept from it"), "{body}");
        assert_eq!([&body["instance_usable"], &body["update_repeatable"]], [true, true], "{body}");
        assert_eq!((database(&at), at.get(I).await.must(200)), (before.clone(), fetched.clone()));
    }
    // Not taken back yet, it is an error.
    at.fake.fail("update", Fault::State);
    at.fake.fail("update", Fault::Before);
    at.patch(I, to(&json!({"parameters": {"a": 2}}))).await.must(500);
}

async fn a_failed_asynchronous_update_says_what_still_works(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.fake.fail("update", Fault::Half);
    at.patch(&polled(I), to(&json!({"parameters": {"a": 1}}))).await.must(202);
    let told = at.ended(I).await;
    assert_eq!(told["state"], "failed");
    assert_eq!([&told["instance_usable"], &told["update_repeatable"]], [true, true], "{told}");
    assert_eq!(at.get(I).await.must(200)["parameters"], Value::Null);
}

async fn an_update_that_cannot_be_rolled_back_says_so(store: Store) {
    let at = Platform::with(
        store,
        bindery::broker::Timing { idle: std::time::Duration::from_millis(5), ..TIMING },
    )
    .await;
    at.made("p").await;
    at.fake.fail("update", Fault::Half);
    at.fake.fail("update", Fault::Before);
    let body = at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(500);
    assert_eq!([&body["instance_usable"], &body["update_repeatable"]], [false, false], "{body}");
    // It is taken back as soon as that can be done, and then may be repeated.
    assert_eq!(at.ended(I).await["state"], "failed");
    assert_eq!(database(&at).plan, "p".into());
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(200);
}

async fn an_update_that_failed_may_be_repeated(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.fake.fail("update", Fault::Half);
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(500);
    at.patch(I, to(&json!({"plan_id": "p2"}))).await.must(200);
    assert_eq!(at.get(I).await.must(200)["plan_id"], "p2");
}
