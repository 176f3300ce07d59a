//! Updates that fail, and updates that conflict with other operations.

use rstest::rstest;
use serde_json::json;

use super::{
    super::*,
    fixture::{Bench, Opened, i, polls, until, waits},
};
use crate::broker::store::State;
use crate::{
    broker::backends::fake::{Fault, Fuse},
    osb::OperationState,
};

async fn size(broker: &Opened) -> u64 {
    let fetched = broker.instance(&i()).await.unwrap();
    fetched.parameters.unwrap()["size"].as_u64().unwrap()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_failed_update_leaves_everything_as_it_was(
    #[values(Fault::Before, Fault::Half, Fault::After, Fault::Silence)] fault: Fault,
    #[values(0, 1, 2)] failing_reversals: usize,
) {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.fake.fail("update", fault);
    for _ in 0..failing_reversals {
        broker.fake.fail("update", Fault::Half);
    }
    let refusal = broker.update(waits(), json!({"plan_id": "other", "parameters": {"size": 2}})).await;
    let is_back = failing_reversals == 0;
    assert!(
        matches!(&refusal, Err(Refusal::Update { is_taken_back, .. }) if *is_taken_back == is_back),
        "{refusal:?}"
    );
    bench.settle_well(&broker, "the failure").await;
    assert_eq!(size(&broker).await, 1);
    let last = broker.last().await.unwrap();
    assert_eq!((last.state, last.instance_usable), (OperationState::Failed, Some(true)));
}

/// A 500 would mean that nothing was changed.
#[tokio::test(start_paused = true)]
async fn an_outage_at_the_end_of_a_polled_update_is_no_refusal() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    let (updating, permits) = (broker.beside(), broker.fake.permits.clone());
    let all = permits.acquire_many(1000).await.unwrap();
    let update =
        tokio::spawn(async move { updating.update(polls(), json!({"parameters": {"size": 2}})).await });
    until(async || broker.state().await == Some(State::Updating)).await;
    broker.fate.refused.store(1, std::sync::atomic::Ordering::SeqCst);
    drop(all);
    let answer = update.await.unwrap();
    bench.settle_well(&broker, "the outage").await;
    assert_eq!(size(&broker).await, 2, "it goes on");
    assert!(matches!(answer, Ok(Status::Accepted(_))), "{answer:?}, but the change was made");
}

/// spec.md, "Blocking Operations", and the 202 of a repeated update.
#[tokio::test(start_paused = true)]
async fn a_polled_update_that_is_taken_back_is_still_the_one_to_poll() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.fake.fail("update", Fault::Before);
    broker.fake.fail("update", Fault::Before);
    let change = || json!({"parameters": {"size": 2}});
    broker.update(polls(), change()).await.unwrap_err();
    let operation = broker.0.records.instance(&i()).await.unwrap().unwrap().operation;
    assert!(operation.is_in_progress());
    let again = broker.update(polls(), change()).await;
    assert!(matches!(&again, Ok(Status::Accepted(id)) if *id == operation.id), "{again:?}");
    let other = broker.update(polls(), json!({"parameters": {"size": 3}})).await;
    assert!(matches!(other, Err(Refusal::Concurrency(_))), "{other:?}");
    bench.settle_well(&broker, "the second attempt").await;
    assert_eq!(size(&broker).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_an_interrupted_update_is_not_asked_to_poll() {
    let bench = Bench::in_memory();
    bench.open().provision(waits(), "prompt").await.unwrap();
    // The broker is killed after the lease and the intent are recorded.
    let _ = bench.open_until(Fuse::after(4)).update(polls(), json!({"parameters": {"size": 2}})).await;
    let broker = bench.open();
    assert_eq!(broker.state().await, Some(State::Updating));
    broker.fake.be_at_it(2000);
    let answer = broker.update(waits(), json!({"parameters": {"size": 2}})).await;
    assert!(matches!(answer, Ok(Status::Done)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_update_is_deleted_with_its_instance_whichever_plan_is_named() {
    for plan in ["prompt", "other"] {
        let bench = Bench::in_memory();
        bench.open().provision(waits(), "prompt").await.unwrap();
        let cut_off = bench.open_until(Fuse::after(6));
        let _ = cut_off.update(waits(), json!({"plan_id": "other"})).await;
        let broker = bench.open();
        assert_eq!(broker.state().await, Some(State::Updating));
        assert!(broker.deprovision(waits(), plan).await.is_ok());
        assert!(bench.world().is_empty());
    }
}
