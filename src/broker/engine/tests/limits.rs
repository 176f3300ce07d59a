//! Limits of a backend, and plans with both synchronous and asynchronous verbs.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    super::*,
    fixture::{Bench, Opened, TIMING, i, polls, until, waits},
};
use crate::{
    broker::{
        backends::{
            BackendLimits,
            fake::{Fault, SLOW_BINDING, SLOW_INSTANCE},
        },
        store::State,
    },
    osb::OperationState,
};

/// A bench whose backend allows one operation at a time.
fn one_at_a_time() -> Bench {
    let mut bench = Bench::in_memory().with_latency(Duration::from_millis(1200));
    bench.limits = BackendLimits { concurrency: Some(1.try_into().unwrap()), ..BackendLimits::default() };
    bench
}

async fn provision(broker: &Opened, context: RequestContext, id: &str) -> Result<Status, Refusal> {
    broker.provision_as(context, &id.into(), "prompt", 1).await
}

/// A request that runs concurrently with the test.
fn beside(
    broker: &Opened,
    context: RequestContext,
    id: &'static str,
) -> tokio::task::JoinHandle<Result<Status, Refusal>> {
    let broker = broker.beside();
    tokio::spawn(async move { provision(&broker, context, id).await })
}

#[tokio::test(start_paused = true)]
async fn operations_of_one_backend_run_in_the_order_they_came() {
    let bench = one_at_a_time();
    let broker = bench.open();
    let mut answers = Vec::new();
    for id in ["d", "b", "c", "a"] {
        answers.push(beside(&broker, waits(), id));
        sleep(Duration::from_millis(1)).await;
    }
    for answer in answers.drain(..3) {
        assert_eq!(answer.await.unwrap().unwrap(), Status::Done);
    }
    let last = answers.remove(0).await.unwrap();
    assert!(matches!(last, Err(Refusal::Busy)), "{last:?}: its turn came after the time of a request");
    let order: Vec<_> = bench.witness.begun().into_iter().map(|(_, id)| id.to_string()).collect();
    assert_eq!((order, bench.witness.most_at_once()), (["d", "b", "c"].map(String::from).to_vec(), 1));
}

#[tokio::test(start_paused = true)]
async fn there_is_no_limit_by_default() {
    let mut bench = one_at_a_time();
    bench.limits = BackendLimits::default();
    let broker = bench.open();
    let answers = ["a", "b", "c", "d"].map(|id| beside(&broker, waits(), id));
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap(), Status::Done);
    }
    assert_eq!(bench.witness.most_at_once(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_in_vain_leaves_nothing_and_one_that_polls_is_recorded() {
    let bench = one_at_a_time();
    let broker = bench.open();
    broker.fake.be_at_it(usize::MAX);
    let first = beside(&broker, waits(), "i");
    broker.called("provision", 1).await;

    let begun = Instant::now();
    let refused = provision(&broker, waits(), "j").await;
    assert!(matches!(refused, Err(Refusal::Busy)), "{refused:?}");
    assert!(begun.elapsed() >= TIMING.answer && begun.elapsed() < 2 * TIMING.answer);
    assert!(broker.0.records.instance(&"j".into()).await.unwrap().is_none());
    assert_eq!(broker.0.leases.queues(), 1, "it waits for nothing any more");

    let Ok(Status::Accepted(operation)) = provision(&broker, polls(), "j").await else { panic!() };
    let polled = broker.last_operation(&"j".into(), Some(&operation)).await.unwrap();
    assert_eq!(polled.state, OperationState::InProgress);
    broker.fake.clear();
    assert_eq!(first.await.unwrap().unwrap(), Status::Done);
    broker.at_rest().await;
    let polled = broker.last_operation(&"j".into(), Some(&operation)).await.unwrap();
    assert_eq!((polled.state, bench.witness.most_at_once()), (OperationState::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn a_delete_halts_a_creation_that_waits_its_turn() {
    let bench = one_at_a_time();
    let broker = bench.open();
    broker.fake.be_at_it(usize::MAX);
    let _first = beside(&broker, waits(), "i");
    broker.called("provision", 1).await;
    let Ok(Status::Accepted(creation)) = provision(&broker, polls(), "j").await else { panic!() };
    let (deleting, id) = (broker.beside(), || InstanceId::from("j"));
    let deleted =
        tokio::spawn(
            async move { deleting.engine.deprovision(polls(), id(), "s".into(), "prompt".into()).await },
        );
    until(async || {
        broker.0.records.instance(&id()).await.unwrap().is_some_and(|found| found.state == State::Deleting)
    })
    .await;
    let polled = broker.last_operation(&id(), Some(&creation)).await.unwrap();
    assert_eq!(polled.state, OperationState::Failed);
    broker.fake.clear();
    assert!(deleted.await.unwrap().is_ok());
    broker.at_rest().await;
    assert!(broker.0.records.instance(&id()).await.unwrap().is_none());
    assert_eq!(bench.witness.begun().iter().filter(|(_, of)| *of == id()).count(), 1, "the delete's call");
}

#[tokio::test(start_paused = true)]
async fn what_waits_its_turn_is_left_to_the_next_broker() {
    let bench = one_at_a_time();
    let broker = bench.open();
    broker.fake.be_at_it(1_000_000);
    provision(&broker, polls(), "i").await.unwrap();
    provision(&broker, polls(), "j").await.unwrap();
    timeout(Duration::from_secs(3), broker.drain()).await.expect("it does not stop");
    let next = bench.open();
    next.fake.clear();
    bench.settle_well(&next, "the stop").await;
    assert!(next.instance(&i()).await.is_ok() && next.instance(&"j".into()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_start_in_a_second() {
    let mut bench = Bench::in_memory();
    bench.limits = BackendLimits { requests_per_second: NonZeroU32::new(2), ..BackendLimits::default() };
    let broker = bench.open();
    // Four pending answers and two final ones make six calls.
    broker.fake.be_at_it(4);
    let answers = ["a", "b"].map(|id| beside(&broker, waits(), id));
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap(), Status::Done);
    }
    let begun: Vec<_> = bench.witness.begun().into_iter().map(|(at, _)| at).collect();
    assert_eq!(begun.len(), 6);
    for pair in begun.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(500), "{:?}", pair[1] - pair[0]);
    }
    assert!(begun[5] - begun[0] < Duration::from_secs(3), "no slower than need be");
}

/// A repeated request is compared with the backend before it is answered.
#[tokio::test(start_paused = true)]
async fn calls_outside_of_operations_keep_the_rate_limit() {
    let mut bench = Bench::in_memory();
    bench.limits = BackendLimits { requests_per_second: NonZeroU32::new(2), ..BackendLimits::default() };
    let broker = bench.open();
    let (expiring, settling) = (broker.beside(), broker.beside());
    let background = tokio::spawn(async move { tokio::join!(expiring.expire(), settling.settle()) });
    assert_eq!(provision(&broker, waits(), "a").await.unwrap(), Status::Done);
    for _ in 0..4 {
        assert_eq!(provision(&broker, waits(), "a").await.unwrap(), Status::Already);
    }
    broker.stop();
    background.await.unwrap();
    let begun = bench.witness.all_begun();
    assert_eq!(begun.len(), 7, "a lockout, a completion of removals, a creation and four comparisons");
    for pair in begun.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(500), "{:?}", pair[1] - pair[0]);
    }
}

/// As with RDS: an instance takes minutes, a user a second.
#[tokio::test(start_paused = true)]
async fn polling_is_demanded_for_the_verbs_that_take_long_only() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    let is_demanded = |answer: Result<Status, Refusal>| matches!(answer, Err(Refusal::AsyncRequired));
    assert!(is_demanded(broker.provision(waits(), SLOW_INSTANCE).await));
    assert!(matches!(broker.provision(polls(), SLOW_INSTANCE).await, Ok(Status::Accepted(_))));
    broker.at_rest().await;
    assert_eq!(broker.bind(waits(), SLOW_INSTANCE).await.unwrap().status, Status::Done);
    assert_eq!(broker.bind(polls(), SLOW_INSTANCE).await.unwrap().status, Status::Already);
    assert_eq!(broker.unbind(waits(), SLOW_INSTANCE).await.unwrap(), Status::Done);
    assert!(is_demanded(broker.update(waits(), serde_json::json!({"parameters": {"size": 2}})).await));
    assert!(is_demanded(broker.deprovision(waits(), SLOW_INSTANCE).await));
    assert!(matches!(broker.deprovision(polls(), SLOW_INSTANCE).await, Ok(Status::Accepted(_))));
    broker.at_rest().await;
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_binding_may_take_longer_than_its_instance() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    assert_eq!(broker.provision(waits(), SLOW_BINDING).await.unwrap(), Status::Done);
    let bound = broker.bind(waits(), SLOW_BINDING).await;
    assert!(matches!(bound, Err(Refusal::AsyncRequired)), "{bound:?}");
    assert!(matches!(broker.bind(polls(), SLOW_BINDING).await.unwrap().status, Status::Accepted(_)));
    broker.at_rest().await;
    assert!(matches!(broker.unbind(waits(), SLOW_BINDING).await, Err(Refusal::AsyncRequired)));
    assert!(matches!(broker.unbind(polls(), SLOW_BINDING).await, Ok(Status::Accepted(_))));
    broker.at_rest().await;
    assert_eq!(broker.deprovision(waits(), SLOW_BINDING).await.unwrap(), Status::Done);
    assert!(bench.world().is_empty());
}

/// Only asynchronous verbs retry temporary errors.
#[tokio::test(start_paused = true)]
async fn a_passing_fault_ends_the_quick_verb_of_a_slow_plan() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.fake.fail("provision", Fault::Passing);
    broker.provision(polls(), SLOW_INSTANCE).await.unwrap();
    broker.at_rest().await;
    assert!(broker.instance(&i()).await.is_ok());
    broker.fake.fail("bind", Fault::Passing);
    broker.bind(polls(), SLOW_INSTANCE).await.unwrap_err();
}
