//! Asynchronous operations: when a platform must poll, the answers to polls, and repeated requests.

use std::time::Duration;

use bindery::broker::Timing;
use serde_json::json;

use crate::{
    client::{B, I, binding, change, instance, owned, polled},
    fake::Fault,
    platform::{Platform, TIMING, until},
    stores::Store,
};

on_each_store!(
    an_asynchronous_plan_requires_polling,
    a_repeated_provision_is_the_same_operation,
    a_repeated_update_is_the_same_operation,
    a_repeated_deprovision_is_the_same_operation,
    a_repeated_bind_is_the_same_operation,
    a_repeated_unbind_is_the_same_operation,
    a_polling_platform_does_not_wait,
    an_operation_in_progress_says_so,
    an_operation_that_failed_says_so,
    an_ended_operation_is_remembered,
    an_operation_continues_after_a_restart,
    an_unknown_operation_is_400,
    the_operation_of_an_unknown_instance_is_404,
    an_update_is_polled_with_the_old_plan,
);

over_alibaba!(an_unknown_operation_is_400, the_operation_of_an_unknown_instance_is_404,);

async fn an_asynchronous_plan_requires_polling(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("lasting")).await.must_be("AsyncRequired");
    at.put(&format!("{I}?accepts_incomplete=false"), instance("lasting")).await.must_be("AsyncRequired");
    assert!(at.holds_nothing());
    at.made("lasting").await;
    at.patch(I, change()).await.must_be("AsyncRequired");
    at.put(B, binding("lasting")).await.must_be("AsyncRequired");
    at.bound("lasting").await;
    at.delete(&owned(B, "lasting")).await.must_be("AsyncRequired");
    at.delete(&owned(I, "lasting")).await.must_be("AsyncRequired");
    at.get(B).await.must(200);
}

async fn a_repeated_provision_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let first = at.put(&polled(I), instance("lasting")).await.must(202);
    assert_eq!(at.put(&polled(I), instance("lasting")).await.must(202), first);
    drop(held);
    at.ended(I).await;
    at.put(&polled(I), instance("lasting")).await.must(200);
    assert_eq!(at.calls("provision"), 1);
}

async fn a_repeated_update_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let first = at.patch(&polled(I), change()).await.operation();
    assert_eq!(at.patch(&polled(I), change()).await.operation(), first);
    drop(held);
    at.ended(I).await;
    at.patch(&polled(I), change()).await.must(200);
    assert_eq!(at.calls("update"), 1);
}

async fn a_repeated_deprovision_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let path = polled(&owned(I, "lasting"));
    let first = at.delete(&path).await.operation();
    assert_eq!(at.delete(&path).await.operation(), first);
    drop(held);
    at.ended(I).await;
    at.delete(&path).await.must(410);
    assert_eq!(at.calls("deprovision"), 1);
}

async fn a_repeated_bind_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let first = at.put(&polled(B), binding("lasting")).await.operation();
    assert_eq!(at.put(&polled(B), binding("lasting")).await.operation(), first);
    drop(held);
    at.ended(B).await;
    at.put(&polled(B), binding("lasting")).await.must(200);
    assert_eq!(at.calls("bind"), 1);
}

async fn a_repeated_unbind_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    let path = polled(&owned(B, "lasting"));
    let first = at.delete(&path).await.operation();
    assert_eq!(at.delete(&path).await.operation(), first);
    drop(held);
    at.ended(B).await;
    at.delete(&path).await.must(410);
    assert_eq!(at.calls("unbind"), 1);
}

async fn a_polling_platform_does_not_wait(store: Store) {
    let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..TIMING }).await;
    let held = at.hold().await;
    let operation = at.put(&polled(I), instance("p")).await.operation();
    assert_eq!(at.put(&polled(I), instance("p")).await.operation(), operation);
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    let held = at.hold().await;
    at.put(&polled(B), binding("p")).await.must(202);
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    for (path, of) in [(B, "p"), (I, "p")] {
        let held = at.hold().await;
        at.delete(&polled(&owned(path, of))).await.must(202);
        drop(held);
        assert_eq!(at.ended(path).await["state"], "succeeded");
    }
    assert!(at.holds_nothing());
}

async fn an_operation_in_progress_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.fake.be_at_it(1_000_000);
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    let path = format!("{I}/last_operation?operation={operation}");
    let described = async || at.get(&path).await.body["description"].is_string();
    until("the service's words are told", described).await;
    let answer = at.get(&path).await;
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(answer.must(200)["state"], "in progress");
}

async fn an_operation_that_failed_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.fake.fail("provision", Fault::Half);
    at.put(&polled(I), instance("lasting")).await.must(202);
    let told = at.ended(I).await;
    assert_eq!(told["state"], "failed");
    assert!(told["description"].as_str().unwrap().contains("half-way"), "{told}");
    at.made("lasting").await;
    at.fake.fail("bind", Fault::Before);
    at.put(&polled(B), binding("lasting")).await.must(202);
    assert_eq!(at.ended(B).await["state"], "failed");
}

async fn an_ended_operation_is_remembered(store: Store) {
    let at = Platform::on(store).await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    at.ended(I).await;
    for path in [format!("{I}/last_operation"), format!("{I}/last_operation?operation={operation}")] {
        for _ in 0..3 {
            assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
        }
    }
    at.fake.fail("update", Fault::Before);
    at.patch(&polled(I), change()).await.must(202);
    at.ended(I).await;
    assert_eq!(at.ended(I).await["state"], "failed");
    let first = format!("{I}/last_operation?operation={operation}");
    assert_eq!(at.get(&first).await.must(200)["state"], "succeeded", "the one before is known by its id");
}

async fn an_operation_continues_after_a_restart(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    let at = at.restarted(|services| services).await;
    let path = format!("{I}/last_operation?operation={operation}");
    assert_eq!(at.get(&path).await.must(200)["state"], "in progress");
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
    at.put(&polled(I), instance("lasting")).await.must(200);
}

async fn an_unknown_operation_is_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    let long = "x".repeat(10_001);
    for operation in ["other", "%F0%9F%90%9F%2F%26", &long] {
        at.get(&format!("{I}/last_operation?operation={operation}")).await.must(400);
        at.get(&format!("{B}/last_operation?operation={operation}")).await.must(400);
    }
    // Some clients send the parameter without a value.
    at.get(&format!("{I}/last_operation?operation=")).await.must(200);
}

async fn the_operation_of_an_unknown_instance_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.get(&format!("{I}/last_operation")).await.must(404);
    at.get(&format!("{B}/last_operation")).await.must(404);
    at.made("p").await;
    at.get(&format!("{B}/last_operation")).await.must(404);
}

async fn an_update_is_polled_with_the_old_plan(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let change = json!({"service_id": "s", "plan_id": "lasting-too"});
    let operation = at.patch(&polled(I), change).await.operation();
    let path = format!("{}&operation={operation}", owned(&format!("{I}/last_operation"), "lasting"));
    assert_eq!(at.get(&path).await.must(200)["state"], "in progress");
    drop(held);
    at.ended(I).await;
    assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
}
