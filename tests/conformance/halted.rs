//! Deletes during a creation, and the answers to polls after a delete.

use std::time::Duration;

use bindery::broker::Timing;

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{Platform, TIMING, until},
    stores::Store,
};

on_each_store!(
    a_delete_cancels_an_asynchronous_creation,
    a_delete_cancels_a_synchronous_creation,
    a_delete_cancels_an_asynchronous_bind,
    a_finished_delete_is_reported_as_each_client_expects,
    a_finished_unbind_is_reported_as_each_client_expects,
    a_synchronous_delete_is_forgotten,
    a_failed_creation_stays_failed_after_its_delete,
    a_cancelled_creation_stays_failed_after_its_delete,
    a_failed_bind_stays_failed_after_its_delete,
);

async fn a_delete_cancels_an_asynchronous_creation(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let created = at.put(&polled(I), instance("lasting")).await.operation();
    let deleted = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_ne!(created, deleted);
    let state = async |operation: &str| {
        at.get(&format!("{I}/last_operation{operation}")).await.must(200)["state"].clone()
    };
    assert_eq!(state("").await, "in progress", "the delete is the last operation");
    assert_eq!(state(&format!("?operation={created}")).await, "failed");
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert_eq!((at.calls("provision"), at.holds_nothing()), (0, true));
}

async fn a_delete_cancels_a_synchronous_creation(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let creating = at.begin("PUT", I, Some(instance("p")));
    let is_begun = async || at.get(&format!("{I}/last_operation")).await.status == 200;
    until("the instance is being made", is_begun).await;
    let deleting = at.begin("DELETE", &owned(I, "p"), None);
    creating.await.unwrap().must(500);
    drop(held);
    deleting.await.unwrap().must(200);
    assert_eq!((at.calls("provision"), at.holds_nothing()), (0, true));
    at.get(I).await.must(404);
}

async fn a_delete_cancels_an_asynchronous_bind(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let created = at.put(&polled(B), binding("lasting")).await.operation();
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    let path = format!("{B}/last_operation?operation={created}");
    assert_eq!(at.get(&path).await.must(200)["state"], "failed");
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    at.get(B).await.must(404);
    assert_eq!((at.calls("bind"), at.bindings()), (0, 0));
}

async fn a_finished_delete_is_reported_as_each_client_expects(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let operation = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    at.ended(I).await;
    at.get(&format!("{I}/last_operation?operation={operation}")).await.must(410);
    for query in ["", "?operation=other"] {
        assert_eq!(at.get(&format!("{I}/last_operation{query}")).await.must(200)["state"], "succeeded");
    }
}

async fn a_finished_unbind_is_reported_as_each_client_expects(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let operation = at.delete(&polled(&owned(B, "lasting"))).await.operation();
    at.ended(B).await;
    at.get(&format!("{B}/last_operation?operation={operation}")).await.must(410);
    for query in ["", "?operation=other"] {
        assert_eq!(at.get(&format!("{B}/last_operation{query}")).await.must(200)["state"], "succeeded");
    }
}

async fn a_synchronous_delete_is_forgotten(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    at.delete(&owned(B, "p")).await.must(200);
    at.delete(&owned(I, "p")).await.must(200);
    at.get(&format!("{B}/last_operation")).await.must(404);
    at.get(&format!("{I}/last_operation")).await.must(404);
}

async fn a_failed_creation_stays_failed_after_its_delete(store: Store) {
    let at = Platform::on(store).await;
    at.fake.fail("provision", Fault::Half);
    let failed = at.put(&polled(I), instance("lasting")).await.operation();
    assert_eq!(at.ended(I).await["state"], "failed");
    at.fake.fail("deprovision", Fault::Before);
    let undone = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_eq!(at.ended(I).await["state"], "failed");
    for operation in [&failed, &undone] {
        assert_eq!(at.state(I, operation).await, "failed");
    }
    let deleted = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_eq!(at.ended(I).await["state"], "succeeded");
    at.get(&format!("{I}/last_operation?operation={deleted}")).await.must(410);
    let at = at.restarted(|services| services).await;
    for operation in [failed, undone] {
        assert_eq!(at.state(I, &operation).await, "failed", "it made nothing that is there");
    }
}

async fn a_cancelled_creation_stays_failed_after_its_delete(store: Store) {
    let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..TIMING }).await;
    for (plan, delete) in [("lasting", polled(&owned(I, "lasting"))), ("p", owned(I, "p"))] {
        let held = at.hold().await;
        let halted = at.put(&polled(I), instance(plan)).await.operation();
        let deleting = at.begin("DELETE", &delete, None);
        let is_halted = async || at.state(I, &halted).await == "failed";
        until("the creation is halted", is_halted).await;
        drop(held);
        assert!([200, 202].contains(&deleting.await.unwrap().status));
        assert_eq!(at.ended(I).await["state"], "succeeded");
        assert_eq!(at.state(I, &halted).await, "failed", "{plan}");
        at.delete(&delete).await.must(410);
    }
}

async fn a_failed_bind_stays_failed_after_its_delete(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.fake.fail("bind", Fault::Half);
    let failed = at.put(&polled(B), binding("lasting")).await.operation();
    assert_eq!(at.ended(B).await["state"], "failed");
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!(at.state(B, &failed).await, "failed");
}
