//! The guarantees for a platform that does not know the result of a request.

use std::time::Duration;

use bindery::broker::Timing;
use serde_json::json;

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{IMPATIENT, Platform, TIMING, until},
    stores::Store,
};

on_each_store!(
    repeated_deletes_of_unknown_ids_are_410,
    a_half_created_instance_can_be_deleted,
    a_half_created_binding_can_be_deleted,
    an_instance_whose_operation_failed_can_be_deleted,
    an_instance_with_a_lost_answer_can_be_deleted,
    a_binding_with_a_lost_answer_can_be_deleted,
    a_delete_may_be_repeated_until_it_succeeds,
    the_broker_completes_a_failed_delete,
    a_failed_update_keeps_the_instance_usable,
    a_concurrency_error_leaves_nothing,
);

const FAULTS: [Fault; 3] = [Fault::Before, Fault::Half, Fault::After];

async fn repeated_deletes_of_unknown_ids_are_410(store: Store) {
    let at = Platform::on(store).await;
    for _ in 0..3 {
        at.delete(&owned(I, "p")).await.must(410);
        at.delete(&owned(B, "p")).await.must(410);
        at.delete(&polled(&owned(I, "lasting"))).await.must(410);
        at.delete(&polled(&owned(B, "lasting"))).await.must(410);
    }
    assert_eq!(at.calls("deprovision") + at.calls("unbind"), 0, "nobody was bothered");
}

async fn a_half_created_instance_can_be_deleted(store: Store) {
    let at = Platform::on(store).await;
    for fault in FAULTS {
        at.fake.fail("provision", fault);
        at.put(I, instance("p")).await.must(500);
        at.delete(&owned(I, "p")).await.must(200);
        assert!(at.holds_nothing(), "{fault:?}");
        at.delete(&owned(I, "p")).await.must(410);
    }
}

async fn a_half_created_binding_can_be_deleted(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for fault in FAULTS {
        at.fake.fail("bind", fault);
        at.put(B, binding("p")).await.must(500);
        at.delete(&owned(B, "p")).await.must(200);
        assert_eq!(at.bindings(), 0, "{fault:?}");
        at.delete(&owned(B, "p")).await.must(410);
    }
}

async fn an_instance_whose_operation_failed_can_be_deleted(store: Store) {
    let at = Platform::on(store).await;
    for fault in FAULTS {
        at.fake.fail("provision", fault);
        at.put(&polled(I), instance("lasting")).await.must(202);
        assert_eq!(at.ended(I).await["state"], "failed");
        at.delete(&polled(&owned(I, "lasting"))).await.must(202);
        assert_eq!(at.ended(I).await["state"], "succeeded");
        assert!(at.holds_nothing(), "{fault:?}");
    }
}

async fn an_instance_with_a_lost_answer_can_be_deleted(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let caller = at.begin("PUT", I, Some(instance("p")));
    let is_begun = async || at.get(&format!("{I}/last_operation")).await.status == 200;
    until("the instance is being made", is_begun).await;
    caller.abort();
    drop(held);
    until("it is made all the same", async || at.get(I).await.status == 200).await;
    at.delete(&owned(I, "p")).await.must(200);
    assert!(at.holds_nothing());
}

async fn a_binding_with_a_lost_answer_can_be_deleted(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let held = at.hold().await;
    let caller = at.begin("PUT", B, Some(binding("p")));
    let is_begun = async || at.get(&format!("{B}/last_operation")).await.status == 200;
    until("the binding is being made", is_begun).await;
    caller.abort();
    drop(held);
    until("it is made all the same", async || at.get(B).await.status == 200).await;
    at.delete(&owned(B, "p")).await.must(200);
    assert_eq!(at.bindings(), 0);
}

async fn a_delete_may_be_repeated_until_it_succeeds(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    for fault in FAULTS {
        at.fake.fail("unbind", fault);
        at.delete(&owned(B, "p")).await.must(500);
    }
    at.delete(&owned(B, "p")).await.must(200);
    for fault in FAULTS {
        at.fake.fail("deprovision", fault);
        at.delete(&owned(I, "p")).await.must(500);
    }
    at.delete(&owned(I, "p")).await.must(200);
    assert!(at.holds_nothing());
}

async fn the_broker_completes_a_failed_delete(store: Store) {
    let at = Platform::with(store, Timing { idle: Duration::from_millis(5), ..TIMING }).await;
    at.made("p").await;
    at.fake.fail("deprovision", Fault::Half);
    at.delete(&owned(I, "p")).await.must(500);
    until("nothing is left", async || at.holds_nothing()).await;
    until("it is gone", async || at.delete(&owned(I, "p")).await.status == 410).await;
}

async fn a_failed_update_keeps_the_instance_usable(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    for fault in FAULTS {
        at.fake.fail("update", fault);
        at.patch(I, json!({"service_id": "s", "plan_id": "p2"})).await.must(500);
        at.get(I).await.must(200);
        at.get(B).await.must(200);
    }
}

async fn a_concurrency_error_leaves_nothing(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    let held = at.hold().await;
    at.patch(&polled(I), json!({"service_id": "s", "parameters": {"a": 1}})).await.must(202);
    at.put(&polled(B), binding("lasting")).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(I).await;
    at.get(B).await.must(404);
    at.delete(&polled(&owned(B, "lasting"))).await.must(410);
    assert_eq!(at.bindings(), 0);
}
