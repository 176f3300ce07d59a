//! Several brokers on one store: who has an instance's lease, and what happens when it is lost.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    super::*,
    fixture::{Bench, i, polls, until, waits},
};
use crate::broker::backends::fake::{Fault, Fuse};
use crate::broker::store::State;

const LEASE: Duration = Duration::from_secs(10);

fn bench() -> Bench {
    Bench::shared(LEASE).with_latency(Duration::from_millis(20))
}

#[tokio::test(start_paused = true)]
async fn a_lease_lasts_as_long_as_the_call() {
    let mut bench = Bench::shared(LEASE);
    bench.latency = Duration::from_secs(18);
    let (one, two) = (bench.open(), bench.open());
    let beside = one.beside();
    let creating = tokio::spawn(async move { beside.provision(waits(), "prompt").await });
    one.called("provision", 1).await;
    assert!(matches!(two.provision(waits(), "prompt").await, Err(Refusal::Concurrency(_))));
    assert!(two.finish_all().await.unwrap() == 1, "taken from one that lives");
    assert!(matches!(creating.await.unwrap(), Ok(Status::Done)));
    bench.settle_well(&two, "both").await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_at_one_broker_halts_the_creation_at_another() {
    let bench = bench();
    let (one, two) = (bench.open(), bench.open());
    one.fake.be_at_it(usize::MAX);
    let beside = one.beside();
    let creating = tokio::spawn(async move { beside.provision(waits(), "prompt").await });
    one.called("provision", 2).await;
    one.fake.be_at_it(100);
    assert!(matches!(two.deprovision(waits(), "prompt").await, Ok(Status::Done)));
    assert!(matches!(creating.await.unwrap(), Err(Refusal::Halted)));
    bench.settle_well(&two, "the delete").await;
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_for_a_broker_that_was_killed_while_creating() {
    let bench = bench();
    let dead = bench.open_until(Fuse::after(6));
    let _ = dead.provision(waits(), "prompt").await;
    let two = bench.open();
    assert!(bench.memory().is_held(&i()));
    let deleted = two.deprovision(waits(), "prompt").await;
    assert!(matches!(deleted, Ok(Status::Done)), "{deleted:?}");
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_renew_stops_before_another_begins() {
    let bench = bench();
    let (one, two) = (bench.open(), bench.open());
    one.fake.fail("provision", Fault::Silence);
    let beside = one.beside();
    let creating = tokio::spawn(async move { beside.provision(polls(), "prompt").await });
    one.called("provision", 1).await;
    one.fate.deaf.store(true, Ordering::SeqCst);
    assert!(matches!(creating.await.unwrap(), Ok(Status::Accepted(_))));
    until(async || !bench.memory().is_held(&i())).await;
    // The witness fails the test if the first broker's call is still running.
    assert_eq!(two.finish_all().await.unwrap(), 0);
    bench.settle_well(&two, "the first one lost it").await;
    assert!(two.instance(&i()).await.is_ok());
}

/// A lease is lost within its duration counted from the request, even if the store answered late.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_granted_late_expires_in_time() {
    let bench = bench();
    let broker = bench.open();
    let asked = tokio::time::Instant::now();
    broker.fate.deaf.store(true, Ordering::SeqCst);
    broker.fate.slow.store(6000, Ordering::SeqCst);
    let lease = broker.0.leases.acquire(&i(), Duration::ZERO).await.unwrap().unwrap();
    timeout(LEASE, lease.lost.cancelled()).await.expect("it is never lost");
    assert!(asked.elapsed() < LEASE, "lost after {:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_in_the_middle_is_not_recorded_over_another_ones_work() {
    for call in ["provision", "update", "deprovision"] {
        let bench = bench();
        let (one, two) = (bench.open(), bench.open());
        if call != "provision" {
            one.provision(waits(), "prompt").await.unwrap();
        }
        let all = one.fake.permits.clone().acquire_many_owned(1000).await.unwrap();
        let beside = one.beside();
        let running = tokio::spawn(async move {
            match call {
                "provision" => beside.provision(waits(), "prompt").await,
                "update" => beside.update(waits(), json!({"parameters": {"size": 2}})).await,
                _ => beside.deprovision(waits(), "prompt").await,
            }
        });
        until(async || one.state().await.is_some_and(State::is_unfinished)).await;
        bench.memory().expire(&i());
        // Longer than the interval of renewals.
        sleep(Duration::from_secs(3)).await;
        drop(all);
        let answer = running.await.unwrap();
        assert!(answer.is_err(), "{call}: {answer:?}");
        bench.settle_well(&two, call).await;
        two.deprovision(waits(), "prompt").await.ok();
        assert!(bench.world().is_empty(), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_brokers_make_one_thing_of_many_equal_requests() {
    let bench = bench();
    let (one, two) = (bench.open(), bench.open());
    let all = (0..10).map(|number| {
        let broker = if number % 2 == 0 { one.beside() } else { two.beside() };
        async move { broker.provision(waits(), "prompt").await }
    });
    let answers = futures::future::join_all(all).await;
    let done = answers.iter().filter(|answer| matches!(answer, Ok(Status::Done))).count();
    assert_eq!(done, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Refusal::Concurrency(_)))));
    let all = (0..10).map(|number| {
        let broker = if number % 2 == 0 { one.beside() } else { two.beside() };
        async move { broker.bind(waits(), "prompt").await }
    });
    let answers: Vec<_> = futures::future::join_all(all).await.into_iter().flatten().collect();
    assert!(answers.iter().all(|answer| answer.bound == answers[0].bound) && !answers.is_empty());
    bench.settle_well(&one, "all").await;
}

#[tokio::test(start_paused = true)]
async fn no_queue_is_left_behind() {
    let bench = bench();
    let (one, two) = (bench.open(), bench.open());
    let lease = one.0.leases.acquire(&i(), Duration::ZERO).await.unwrap().unwrap();
    assert!(two.0.leases.acquire(&i(), Duration::from_secs(1)).await.unwrap().is_none());
    two.fate.refuse_leases.store(true, Ordering::SeqCst);
    assert!(two.0.leases.acquire(&i(), Duration::ZERO).await.is_err());
    drop(lease);
    assert_eq!((one.0.leases.queues(), two.0.leases.queues()), (0, 0));
}
