//! Creating instances.

use serde_json::json;

use crate::{
    client::{I, instance, polled},
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(
    a_new_instance_is_201,
    the_same_instance_again_is_200_and_says_the_same,
    an_asynchronous_provision_is_202_with_an_operation,
    an_unneeded_accepts_incomplete_is_ignored,
    required_fields_may_not_be_missing,
    unknown_services_and_plans_are_400,
    another_instance_of_the_same_id_is_409,
    a_changed_context_is_still_the_same_instance,
    the_first_answer_has_the_dashboard,
    labels_and_attributes_are_told,
    parameters_that_break_the_schema_are_400,
    parameters_that_the_service_refuses_are_400,
);

over_alibaba!(
    a_new_instance_is_201,
    an_asynchronous_provision_is_202_with_an_operation,
    an_unneeded_accepts_incomplete_is_ignored,
    required_fields_may_not_be_missing,
    unknown_services_and_plans_are_400,
);

async fn a_new_instance_is_201(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("p")).await.must(201);
    assert!(at.has("i"));
}

async fn the_same_instance_again_is_200_and_says_the_same(store: Store) {
    let at = Platform::on(store).await;
    let wanted = but(instance("p"), &json!({"parameters": {"a": {"b": [1]}}}));
    let first = at.put(I, wanted.clone()).await.must(201);
    for _ in 0..2 {
        assert_eq!(at.put(I, wanted.clone()).await.must(200), first);
        assert_eq!(at.put(&polled(I), wanted.clone()).await.must(200), first);
    }
    assert_eq!(at.calls("provision"), 1);
}

async fn an_asynchronous_provision_is_202_with_an_operation(store: Store) {
    let at = Platform::on(store).await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    assert!(!operation.is_empty());
    assert_eq!(at.ended(I).await["state"], "succeeded");
    at.put(&polled(I), instance("lasting")).await.must(200);
}

async fn an_unneeded_accepts_incomplete_is_ignored(store: Store) {
    let at = Platform::on(store).await;
    at.put(&polled(I), instance("p")).await.must(201);
    at.put(&format!("{I}2?accepts_incomplete=false"), instance("p")).await.must(201);
}

async fn required_fields_may_not_be_missing(store: Store) {
    let at = Platform::on(store).await;
    for field in ["service_id", "plan_id", "organization_guid", "space_guid"] {
        at.put(I, but(instance("p"), &json!({field: null}))).await.must_say(400, field);
        at.put(I, but(instance("p"), &json!({field: ""}))).await.must_say(400, field);
        at.put(I, but(instance("p"), &json!({field: 1}))).await.must(400);
        let mut null = instance("p");
        null[field] = json!(null);
        at.put(I, null).await.must(400);
    }
    at.put(I, but(instance("p"), &json!({"parameters": "text"}))).await.must(400);
    at.put(I, but(instance("p"), &json!({"context": []}))).await.must(400);
    assert!(at.holds_nothing());
}

async fn unknown_services_and_plans_are_400(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, but(instance("p"), &json!({"service_id": "x"}))).await.must_say(400, "service_id");
    at.put(I, but(instance("p"), &json!({"plan_id": "x"}))).await.must_say(400, "plan_id");
    at.put(I, but(instance("p"), &json!({"plan_id": "t1"}))).await.must_say(400, "plan_id");
    assert!(at.holds_nothing());
}

async fn another_instance_of_the_same_id_is_409(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, but(instance("p"), &json!({"parameters": {"a": 1}}))).await.must(201);
    for changes in [
        json!({"service_id": "t", "plan_id": "t1"}),
        json!({"plan_id": "p2"}),
        json!({"parameters": {"a": 2}}),
        json!({"parameters": {}}),
        json!({"organization_guid": "x"}),
        json!({"space_guid": "x"}),
    ] {
        let other = but(but(instance("p"), &json!({"parameters": {"a": 1}})), &changes);
        at.put(I, other).await.must(409);
    }
    assert_eq!(at.calls("provision"), 1);
}

async fn a_changed_context_is_still_the_same_instance(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("p")).await.must(201);
    let same = json!({"parameters": {}, "context": {"platform": "kubernetes", "instance_name": "n"}});
    at.put(I, but(instance("p"), &same)).await.must(200);
}

async fn the_first_answer_has_the_dashboard(store: Store) {
    let at = Platform::on(store).await;
    let dashboard = "https://dashboard.example/n";
    assert_eq!(at.put(I, instance("p")).await.must(201)["dashboard_url"], dashboard);
    let j = "/v2/service_instances/j";
    let _held = at.hold().await;
    assert_eq!(at.put(&polled(j), instance("lasting")).await.must(202)["dashboard_url"], dashboard);
}

async fn labels_and_attributes_are_told(store: Store) {
    let at = Platform::on(store).await;
    let metadata = json!({"labels": {"l": "1"}, "attributes": {"a": "2"}});
    assert_eq!(at.put(I, instance("p")).await.must(201)["metadata"], metadata);
    assert_eq!(at.get(I).await.must(200)["metadata"], metadata);
}

async fn parameters_that_break_the_schema_are_400(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, but(instance("strict"), &json!({"parameters": {"size": "large"}}))).await.must_say(400, "size");
    assert!(at.holds_nothing());
    at.put(I, but(instance("strict"), &json!({"parameters": {"size": 3}}))).await.must(201);
}

async fn parameters_that_the_service_refuses_are_400(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, but(instance("p"), &json!({"parameters": {"bad": 1}}))).await.must_say(400, "bad");
    assert!(at.holds_nothing());
}
