//! A broker that stops: operations with a waiting request complete; the next broker resumes the rest at once.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::time::timeout;

use super::{
    super::*,
    fixture::{Bench, Opened, i, polls, waits},
};
use crate::broker::backends::fake::Fault;
use crate::broker::store::State;

const LEASE: Duration = Duration::from_mins(5);

async fn drains_within(broker: &Opened, patience: Duration) {
    timeout(patience, broker.drain()).await.expect("it does not stop");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_ends_before_the_broker_does() {
    let bench = Bench::shared(LEASE).with_latency(Duration::from_secs(10));
    let broker = bench.open();
    let beside = broker.beside();
    let creating = tokio::spawn(async move { beside.provision(waits(), "prompt").await });
    broker.called("provision", 1).await;
    drains_within(&broker, Duration::from_secs(30)).await;
    assert!(matches!(creating.await.unwrap(), Ok(Status::Done)));
    assert!(!bench.memory().is_held(&i()));
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_is_polled_is_left_to_the_next_broker_at_once(
    #[values("prompt", "lasting")] plan: &'static str,
) {
    let bench = Bench::shared(LEASE);
    let broker = bench.open();
    broker.fake.be_at_it(1_000_000);
    let beside = broker.beside();
    let creating = tokio::spawn(async move { beside.provision(polls(), plan).await });
    broker.called("provision", 2).await;
    drains_within(&broker, Duration::from_secs(2)).await;
    let answer = creating.await.unwrap();
    assert!(matches!(answer, Ok(Status::Accepted(_))), "{answer:?}, but it goes on");
    assert!(!bench.memory().is_held(&i()), "the next one would have to wait");
    assert_eq!(broker.state().await, Some(State::Creating));
    broker.fake.be_at_it(0);
    let next = bench.open();
    assert_eq!(next.finish_all().await.unwrap(), 0);
    assert!(next.instance(&i()).await.is_ok());
}

/// The result of a call that ends within the grace period counts, so that the call is not repeated.
#[tokio::test(start_paused = true)]
async fn a_call_that_ends_in_time_is_not_repeated() {
    let bench = Bench::shared(LEASE).with_latency(Duration::from_millis(500));
    let broker = bench.open();
    let beside = broker.beside();
    let creating = tokio::spawn(async move { beside.provision(polls(), "prompt").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drains_within(&broker, Duration::from_secs(2)).await;
    assert!(matches!(creating.await.unwrap(), Ok(Status::Done)));
    assert_eq!(bench.world().calls["provision"], 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_a_recovery_does() {
    let bench = Bench::shared(LEASE);
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.fake.fail("deprovision", Fault::Before);
    broker.deprovision(waits(), "prompt").await.unwrap_err();
    broker.fake.be_at_it(1_000_000);
    let (recovering, interrupted) = (broker.engine.clone(), broker.engine.unfinished().await.unwrap());
    broker.spawn(async move { recovering.recover(interrupted).await });
    broker.called("deprovision", 3).await;
    drains_within(&broker, Duration::from_secs(4)).await;
    assert!(!bench.memory().is_held(&i()));
    broker.fake.be_at_it(0);
    bench.settle_well(&bench.open(), "the stop").await;
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_polled_is_not_waited_for_while_it_is_taken_back() {
    let bench = Bench::shared(LEASE);
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.fake.fail("update", Fault::Before);
    broker.fake.be_at_it(1_000_000);
    let beside = broker.beside();
    let updating =
        tokio::spawn(async move { beside.update(polls(), json!({"parameters": {"size": 2}})).await });
    broker.called("update", 3).await;
    drains_within(&broker, Duration::from_secs(2)).await;
    let answer = updating.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    broker.fake.be_at_it(0);
    let next = bench.open();
    bench.settle_well(&next, "the stop").await;
    assert_eq!(next.instance(&i()).await.unwrap().parameters.unwrap()["size"], 1);
}
