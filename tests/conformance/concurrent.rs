//! Concurrent requests for the same instance or binding.

use std::time::Duration;

use bindery::broker::Timing;
use serde_json::json;

use crate::{
    client::{B, I, binding, change, instance, owned, polled},
    platform::{IMPATIENT, Platform, but, until},
    stores::Store,
};

on_each_store!(
    concurrent_equal_requests_create_one_instance,
    another_instance_is_409_even_during_the_creation,
    another_binding_is_409_even_during_the_creation,
    concurrent_requests_get_a_concurrency_error,
    bindings_wait_for_their_instance,
    concurrent_binds_are_carried_out_one_after_the_other,
    a_waiting_binding_can_be_deleted,
    an_unbind_follows_the_operation_in_progress,
    waiting_binds_are_carried_out_after_a_restart,
    an_existing_binding_is_answered_during_other_operations,
);

async fn concurrent_equal_requests_create_one_instance(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let requests = [I, I, &polled(I)].map(|path| at.begin("PUT", path, Some(instance("p"))));
    until("one has begun", async || at.get(&format!("{I}/last_operation")).await.status == 200).await;
    drop(held);
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert!([vec![200, 200, 201], vec![200, 201, 202]].contains(&statuses), "{statuses:?}");
    assert_eq!(at.calls("provision"), 1);
}

async fn another_instance_is_409_even_during_the_creation(store: Store) {
    let at = Platform::on(store).await;
    let _held = at.hold().await;
    at.put(&polled(I), instance("lasting")).await.must(202);
    for changes in
        [json!({"parameters": {"a": 1}}), json!({"space_guid": "x"}), json!({"plan_id": "lasting-too"})]
    {
        at.put(&polled(I), but(instance("lasting"), &changes)).await.must(409);
    }
}

async fn another_binding_is_409_even_during_the_creation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let _held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    at.put(&polled(B), but(binding("lasting"), &json!({"parameters": {"a": 1}}))).await.must(409);
}

async fn concurrent_requests_get_a_concurrency_error(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    at.patch(&polled(I), change()).await.must(202);
    let other = json!({"service_id": "s", "parameters": {"a": 2}});
    at.patch(&polled(I), other).await.must_be("ConcurrencyError");
    at.put(&polled(I), instance("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(I, "lasting"))).await.must_be("ConcurrencyError");
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(B, "lasting"))).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(I).await;

    let _held = at.hold().await;
    at.delete(&polled(&owned(I, "lasting"))).await.must(202);
    at.put(&polled(I), instance("lasting")).await.must(409);
    at.patch(&polled(I), json!({"service_id": "s", "parameters": {"a": 3}}))
        .await
        .must_be("ConcurrencyError");
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(B, "lasting"))).await.must_be("ConcurrencyError");
}

async fn bindings_wait_for_their_instance(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    let held = at.hold().await;
    at.put(&polled(I), instance("lasting")).await.must(202);
    at.put(&polled(B), binding("lasting")).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(I).await;
    let _held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must(202);
    at.patch(&polled(I), change()).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(I, "lasting"))).await.must_be("ConcurrencyError");
    at.get(I).await.must(200);
}

/// Cloud Foundry binds many applications to one instance at once, and does not repeat what was refused.
async fn concurrent_binds_are_carried_out_one_after_the_other(store: Store) {
    for plan in ["lasting", "p"] {
        let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..IMPATIENT }).await;
        at.made(plan).await;
        let held = at.hold().await;
        let paths = ["", "2", "3"].map(|suffix| format!("{B}{suffix}"));
        let mut operations = Vec::new();
        for path in &paths {
            operations.push(at.put(&polled(path), binding(plan)).await.operation());
        }
        for (path, operation) in paths.iter().zip(&operations) {
            assert_eq!(at.put(&polled(path), binding(plan)).await.operation(), *operation, "the same again");
            assert_eq!(at.state(path, operation).await, "in progress");
            at.get(path).await.must(404);
            at.put(&polled(path), but(binding(plan), &json!({"parameters": {"a": 1}}))).await.must(409);
        }
        let other = but(binding(plan), &json!({"parameters": {"bad": 1}}));
        at.put(&polled(&format!("{B}4")), other).await.must_say(400, "bad");
        drop(held);
        for (path, operation) in paths.iter().zip(&operations) {
            assert_eq!(at.ended(path).await["state"], "succeeded", "{plan} {path}");
            assert_eq!(at.state(path, operation).await, "succeeded");
            at.get(path).await.must(200);
        }
        assert_eq!((at.calls("bind"), at.bindings()), (3, 3));
    }
}

async fn a_waiting_binding_can_be_deleted(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    let held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    let second = format!("{B}2");
    let operation = at.put(&polled(&second), binding("lasting")).await.operation();
    at.delete(&polled(&owned(&second, "p2"))).await.must(400);
    at.delete(&polled(&owned(&second, "lasting"))).await.must(200);
    assert_eq!(at.state(&second, &operation).await, "failed");
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded", "the first one is not concerned");
    at.delete(&polled(&owned(&second, "lasting"))).await.must(410);
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!((at.calls("bind"), at.bindings()), (1, 0));
}

async fn an_unbind_follows_the_operation_in_progress(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    let second = format!("{B}2");
    at.put(&polled(&second), binding("lasting")).await.must(202);
    at.delete(&polled(&owned(B, "p2"))).await.must(400);
    let operation = at.delete(&polled(&owned(B, "lasting"))).await.operation();
    assert_eq!(at.delete(&polled(&owned(B, "lasting"))).await.operation(), operation);
    assert_eq!(at.state(B, &operation).await, "in progress");
    at.get(B).await.must(404);
    drop(held);
    assert_eq!(at.ended(&second).await["state"], "succeeded");
    assert_eq!(at.ended(B).await["state"], "succeeded");
    at.get(&format!("{B}/last_operation?operation={operation}")).await.must(410);
    assert_eq!(at.bindings(), 1);
}

async fn waiting_binds_are_carried_out_after_a_restart(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let second = format!("{B}2");
    at.put(&polled(B), binding("lasting")).await.must(202);
    let operation = at.put(&polled(&second), binding("lasting")).await.operation();
    let at = at.restarted(|services| services).await;
    drop(held);
    for path in [B, &second] {
        assert_eq!(at.ended(path).await["state"], "succeeded");
        at.get(path).await.must(200);
    }
    assert_eq!(at.state(&second, &operation).await, "succeeded");
}

async fn an_existing_binding_is_answered_during_other_operations(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let credentials = at.get(B).await.must(200)["credentials"].clone();
    let _held = at.hold().await;
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must(202);
    assert_eq!(at.put(&polled(B), binding("lasting")).await.must(200)["credentials"], credentials);
}
