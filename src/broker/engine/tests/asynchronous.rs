//! Operations that a platform polls, and those for which no request waits any more.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{
    super::*,
    fixture::{Bench, b, bind_wanted, i, polls, until, waits},
};
use crate::broker::store::{Key, State};
use crate::{
    broker::backends::fake::{Fault, Fuse},
    osb::OperationState,
};

#[tokio::test(start_paused = true)]
async fn an_operation_outlives_its_request() {
    let mut bench = Bench::in_memory();
    bench.latency = Duration::from_millis(100);
    let broker = bench.open();
    let hung_up = tokio::time::timeout(Duration::from_millis(10), broker.provision(waits(), "prompt")).await;
    hung_up.unwrap_err();
    broker.at_rest().await;
    bench.settle_well(&broker, "the caller hung up").await;
    assert!(matches!(broker.provision(waits(), "prompt").await, Ok(Status::Already)));
    assert_eq!(bench.world().calls["provision"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_plan_that_takes_long_is_polled_under_one_name() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.fake.be_at_it(2000);
    let Ok(Status::Accepted(operation)) = broker.provision(polls(), "prompt").await else { panic!() };
    assert_eq!(broker.provision(polls(), "prompt").await.unwrap(), Status::Accepted(operation.clone()));
    assert!(matches!(broker.provision(waits(), "prompt").await, Err(Refusal::Concurrency(_))));
    broker.at_rest().await;
    assert_eq!(broker.last_operation(&i(), Some(&operation)).await.unwrap().state, OperationState::Succeeded);
    assert_eq!(broker.provision(polls(), "prompt").await.unwrap(), Status::Already);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_an_interrupted_creation_is_not_asked_to_poll() {
    let bench = Bench::in_memory();
    let _ = bench.open_until(Fuse::after(4)).provision(polls(), "prompt").await;
    let broker = bench.open();
    assert_eq!(broker.state().await, Some(State::Creating));
    broker.fake.be_at_it(2000);
    let answer = broker.provision(waits(), "prompt").await;
    assert!(matches!(answer, Ok(Status::Done)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_poll_gets_no_successor_on_a_lasting_plan() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(polls(), "lasting").await.unwrap();
    broker.at_rest().await;
    broker.bind(polls(), "lasting").await.unwrap();
    broker.at_rest().await;
    broker.fake.fail("bind", Fault::Before);
    broker.rotate(polls(), "b", "c").await.unwrap();
    broker.at_rest().await;
    let answer = broker.rotate(waits(), "b", "c").await;
    assert!(matches!(answer, Err(Refusal::AsyncRequired)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_operation_does_not_wait_for_ever() {
    let mut bench = Bench::in_memory();
    bench.timing.give_up = Duration::from_secs(30);
    let broker = bench.open();
    broker.fake.be_at_it(usize::MAX);
    let answer = tokio::time::timeout(Duration::from_mins(10), broker.provision(waits(), "prompt")).await;
    let refusal = answer.expect("it waits for ever").unwrap_err().to_string();
    assert!(refusal.contains("not done in time"), "{refusal}");
    assert_eq!(broker.state().await, Some(State::Failed));
}

#[tokio::test(start_paused = true)]
async fn passing_faults_are_outlasted_by_what_is_lasting_only() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    // A fast service answers at once, even to platforms that can poll.
    for context in [waits(), polls()] {
        broker.fake.fail("provision", Fault::Passing);
        broker.provision(context, "prompt").await.unwrap_err();
        assert_eq!(broker.state().await, Some(State::Failed));
    }
    broker.deprovision(waits(), "prompt").await.unwrap();
    for _ in 0..5 {
        broker.fake.fail("provision", Fault::Passing);
    }
    assert!(broker.provision(polls(), "lasting").await.is_ok());
    broker.at_rest().await;
    bench.settle_well(&broker, "the faults").await;
    assert!(broker.instance(&i()).await.is_ok());
}

/// A lock blocks the backend: the operation fails when platforms stop polling, and says so.
#[tokio::test(start_paused = true)]
async fn an_operation_that_is_blocked_ends_when_platforms_stop_polling() {
    for plan in ["prompt", "lasting"] {
        let mut bench = Bench::in_memory();
        bench.timing.give_up = Duration::from_secs(10);
        let broker = bench.open();
        broker.fake.fail("provision", Fault::Silence);
        let Ok(Status::Accepted(operation)) = broker.provision(polls(), plan).await else { panic!("{plan}") };
        let begun = tokio::time::Instant::now();
        broker.at_rest().await;
        assert!(begun.elapsed() <= Duration::from_secs(11), "{plan}: {:?}", begun.elapsed());
        let told = broker.last_operation(&i(), Some(&operation)).await.unwrap();
        assert_eq!(told.state, OperationState::Failed, "{plan}");
        assert!(told.description.unwrap().contains("time for which platforms poll"), "{plan}");
        assert_eq!(broker.state().await, Some(State::Failed), "{plan}");

        broker.fake.clear();
        broker.deprovision(polls(), plan).await.unwrap();
        broker.at_rest().await;
        assert!(bench.world().is_empty(), "{plan}");
    }
}

/// A blocked delete fails for the platform but stays recorded, and completes once nothing blocks it.
#[tokio::test(start_paused = true)]
async fn a_blocked_delete_fails_in_time_and_is_done_later() {
    let mut bench = Bench::in_memory();
    bench.timing.give_up = Duration::from_secs(10);
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.fake.fail("deprovision", Fault::Silence);
    let Ok(Status::Accepted(operation)) = broker.deprovision(polls(), "prompt").await else { panic!() };
    until(async || {
        let told = broker.last_operation(&i(), Some(&operation)).await.unwrap();
        told.state == OperationState::Failed
    })
    .await;
    assert_eq!(broker.state().await, Some(State::Deleting));
    broker.finish_all().await.unwrap();
    assert!(bench.world().is_empty());
    assert!(matches!(broker.last_operation(&i(), Some(&operation)).await, Err(Refusal::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn a_delete_halts_a_creation_and_each_has_its_own_operation() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.fake.be_at_it(usize::MAX);
    let Ok(Status::Accepted(creation)) = broker.provision(polls(), "lasting").await else { panic!() };
    broker.called("provision", 2).await;
    broker.fake.be_at_it(1000);
    let Ok(Status::Accepted(deletion)) = broker.deprovision(polls(), "lasting").await else { panic!() };
    assert_eq!(broker.last_operation(&i(), Some(&creation)).await.unwrap().state, OperationState::Failed);
    broker.at_rest().await;
    assert!(bench.world().is_empty());
    assert!(matches!(broker.last_operation(&i(), Some(&deletion)).await, Err(Refusal::Gone(_))));
    assert_eq!(broker.last().await.unwrap().state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_delete_halts_a_creation_that_others_wait_for() {
    let mut bench = Bench::in_memory();
    bench.latency = Duration::from_millis(50);
    let broker = bench.open();
    broker.fake.be_at_it(usize::MAX);
    let requests = [broker.beside(), broker.beside(), broker.beside()];
    let creations =
        requests.map(|broker| tokio::spawn(async move { broker.provision(waits(), "prompt").await }));
    broker.called("provision", 2).await;
    broker.fake.be_at_it(1000);
    let deletion = broker.deprovision(waits(), "prompt").await;
    assert!(matches!(deletion, Ok(Status::Done)), "{deletion:?}");
    for creation in creations {
        let answer = creation.await.unwrap();
        assert!(answer.is_err(), "{answer:?}");
    }
    bench.settle_well(&broker, "the delete").await;
    assert!(bench.world().databases.is_empty());
}

/// An unbind that a kill left unfinished interrupts no other binding.
#[tokio::test(start_paused = true)]
async fn an_unbind_halts_its_own_binding_only() {
    let mut bench = Bench::in_memory();
    bench.open().provision(waits(), "prompt").await.unwrap();
    let _ = bench.open_until(Fuse::after(6)).bind(waits(), "prompt").await;
    bench.latency = Duration::from_millis(500);
    let broker = bench.open();
    assert!(broker.is_recorded(&Key::binding(&i(), &b())).await);
    let other = broker.beside();
    let binding =
        tokio::spawn(
            async move { other.engine.bind(waits(), i(), "other".into(), bind_wanted("prompt")).await },
        );
    until(async || broker.is_recorded(&Key::binding(&i(), &"other".into())).await).await;
    broker.unbind(waits(), "prompt").await.unwrap();
    let binding = binding.await.unwrap();
    assert!(binding.is_ok(), "{binding:?}");
    bench.settle_well(&broker, "both").await;
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_unbind_is_available_after_its_instance_is_deleted() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.bind(waits(), "prompt").await.unwrap();
    broker.fake.fail("unbind", Fault::Before);
    broker.unbind(polls(), "prompt").await.unwrap_err();
    let operation = broker.0.records.binding(&i(), &b()).await.unwrap().unwrap().operation.id;
    broker.deprovision(waits(), "prompt").await.unwrap();
    let named = broker.last_binding_operation(&i(), &b(), Some(&operation)).await;
    assert!(matches!(named, Err(Refusal::Gone(_))), "{named:?}");
    assert_eq!(
        broker.last_binding_operation(&i(), &b(), None).await.unwrap().state,
        OperationState::Succeeded
    );
}

/// Credentials that may be revoked are not returned: the delete may have reached this binding.
#[tokio::test(start_paused = true)]
async fn credentials_on_a_half_deleted_instance_are_not_given_out() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.bind(waits(), "prompt").await.unwrap();
    broker.fake.fail("unbind", Fault::After);
    broker.deprovision(waits(), "prompt").await.unwrap_err();
    assert!(bench.world().logins.is_empty());
    let fetched = broker.binding(Caller::default(), i(), b()).await;
    assert!(matches!(fetched, Err(Refusal::NotFound(_))), "{fetched:?}");
    let again = broker.bind(waits(), "prompt").await;
    assert!(matches!(again, Err(Refusal::Concurrency(_))), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_on_a_backend_that_is_no_longer_configured_is_reported() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    let mut record = broker.0.records.instance(&i()).await.unwrap().unwrap();
    record.server = "old".into();
    let lease = broker.0.wait_for_lease(&i()).await.unwrap();
    lease.finish(vec![broker.0.records.put(&record)]).await.unwrap();
    let fetched = broker.instance(&i()).await.unwrap_err();
    assert!(fetched.to_string().contains("backend old is no longer configured"), "{fetched}");
    assert!(!fetched.user_message().contains("old"), "{}", fetched.user_message());
    let refusal = broker.deprovision(waits(), "prompt").await.unwrap_err().to_string();
    assert!(
        refusal.contains("the broker cannot carry this out at present") && refusal.contains("(reference "),
        "{refusal}"
    );
    assert!(!refusal.contains("old"), "the name of a server is the operator's: {refusal}");
}

#[tokio::test(start_paused = true)]
async fn one_of_many_equal_requests_makes_it_and_the_others_find_it() {
    let mut bench = Bench::in_memory();
    bench.latency = Duration::from_millis(10);
    let broker = bench.open();
    let all = (0..20).map(|_| broker.provision(waits(), "prompt"));
    let answers = futures::future::join_all(all).await;
    let done = answers.iter().filter(|answer| matches!(answer, Ok(Status::Done))).count();
    let already = answers.iter().filter(|answer| matches!(answer, Ok(Status::Already))).count();
    assert_eq!((done, already), (1, 19));
    let all = (0..20).map(|_| broker.bind(waits(), "prompt"));
    let bound = futures::future::join_all(all).await;
    let first = bound[0].as_ref().unwrap().bound.clone();
    assert!(bound.iter().all(|other| other.as_ref().unwrap().bound == first));
    assert_eq!(bench.world().calls["bind"], 1);
    sleep(Duration::from_millis(1)).await;
    let other = broker.update(waits(), json!({"parameters": {"size": 1}})).await;
    assert!(matches!(other, Ok(Status::Already)), "{other:?}");
}
