//! Kills the broker before and after every write, lease and call, reopens it, and repeats the request or not.

use rstest::rstest;
use serde_json::json;

use super::{
    super::*,
    fixture::{Bench, Opened, b, i, polls, until, waits},
};
use crate::broker::backends::fake::Fuse;
use crate::broker::store::State;

/// The operation that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Provision,
    Update,
    Bind,
    Rotate,
    Unbind,
    Deprovision,
}

/// How the operation was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Waiting,
    Polling,
    Asynchronous,
}

impl How {
    fn plan(self) -> &'static str {
        if self == Self::Asynchronous { "lasting" } else { "prompt" }
    }

    fn context(self) -> RequestContext {
        if self == Self::Waiting { waits() } else { polls() }
    }
}

/// Sends the request and waits for the end of the operation.
async fn ask(broker: &Opened, what: What, how: How) -> Result<Status, Refusal> {
    let (context, plan) = (how.context(), how.plan());
    let status = match what {
        What::Provision => broker.provision(context, plan).await,
        What::Update => broker.update(context, json!({"parameters": {"size": 2}})).await,
        What::Bind => broker.bind(context, plan).await.map(|result| result.status),
        What::Rotate => broker.rotate(context, "b", "c").await.map(|result| result.status),
        What::Unbind => broker.unbind(context, plan).await,
        What::Deprovision => broker.deprovision(context, plan).await,
    };
    broker.at_rest().await;
    status
}

async fn prepare(broker: &Opened, what: What, how: How) {
    let before: &[What] = match what {
        What::Provision => &[],
        What::Update | What::Bind => &[What::Provision],
        What::Rotate | What::Unbind | What::Deprovision => &[What::Provision, What::Bind],
    };
    for what in before {
        ask(broker, *what, how).await.unwrap();
    }
}

/// Runs `then` on a bench for each step before which the operation can be killed, with a description of the step.
async fn killed(bench: fn() -> Bench, what: What, how: How, then: impl AsyncFn(&Bench, &str)) {
    for steps in 0.. {
        let bench = bench();
        prepare(&bench.open(), what, how).await;
        let broker = bench.open_until(Fuse::after(steps));
        let outcome = ask(&broker, what, how).await;
        if !broker.fate.fuse.is_gone() {
            assert!(outcome.is_ok() && steps > 5, "{outcome:?} in {steps} steps");
            return;
        }
        broker.drain().await;
        then(&bench, &format!("{what:?} {how:?} was killed after {steps} steps: {}", broker.fate.trail()))
            .await;
    }
}

/// Whether the instance or binding is as the operation wants it.
async fn is_done(broker: &Opened, what: What) -> bool {
    match what {
        What::Provision => broker.instance(&i()).await.is_ok(),
        What::Update => broker
            .instance(&i())
            .await
            .is_ok_and(|fetched| fetched.parameters.is_some_and(|parameters| parameters["size"] == 2)),
        What::Bind => broker.binding(Caller::default(), i(), b()).await.is_ok(),
        What::Rotate => broker.binding(Caller::default(), i(), "c".into()).await.is_ok(),
        What::Unbind => broker.0.records.binding(&i(), &b()).await.unwrap().is_none(),
        What::Deprovision => broker.0.records.instance(&i()).await.unwrap().is_none(),
    }
}

fn is_delete(what: What) -> bool {
    matches!(what, What::Unbind | What::Deprovision)
}

async fn is_continued_by_the_same_request(bench: fn() -> Bench, what: What, how: How) {
    killed(bench, what, how, async |bench, killed| {
        let broker = bench.open();
        let outcome = ask(&broker, what, how).await;
        match outcome {
            Ok(_) => {}
            Err(Refusal::Gone(_)) if is_delete(what) => {}
            other => panic!("{other:?} after {killed}"),
        }
        assert!(is_done(&broker, what).await, "after {killed}");
        assert_eq!(bench.discrepancies(&broker).await, Vec::<String>::new(), "after {killed}");
        match ask(&broker, what, how).await {
            Ok(Status::Already) => assert!(!is_delete(what)),
            Err(Refusal::Gone(_)) => assert!(is_delete(what)),
            other => panic!("{other:?} when it is done, after {killed}"),
        }
    })
    .await;
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_was_killed_is_continued_by_the_same_request(
    #[values(What::Provision, What::Update, What::Bind, What::Rotate, What::Unbind, What::Deprovision)]
    what: What,
    #[values(How::Waiting, How::Polling, How::Asynchronous)] how: How,
) {
    is_continued_by_the_same_request(Bench::in_memory, what, how).await;
}

#[rstest]
#[tokio::test]
async fn what_was_killed_on_the_embedded_store_is_continued(
    #[values(What::Provision, What::Update, What::Bind, What::Unbind, What::Deprovision)] what: What,
) {
    is_continued_by_the_same_request(Bench::in_file, what, How::Waiting).await;
}

/// Without any repeated request, polled operations and deletes complete, other updates are reverted, and other
/// creations either exist or can be deleted.
#[rstest]
#[tokio::test(start_paused = true)]
async fn what_was_killed_is_brought_to_an_end_by_the_next_broker(
    #[values(What::Provision, What::Update, What::Bind, What::Rotate, What::Unbind, What::Deprovision)]
    what: What,
    #[values(How::Waiting, How::Polling, How::Asynchronous)] how: How,
) {
    killed(Bench::in_memory, what, how, async |bench, killed| {
        let broker = bench.open();
        let is_begun = match what {
            What::Provision => broker.state().await.is_some(),
            What::Update => broker.state().await != Some(State::Ready) || is_done(&broker, what).await,
            What::Bind => broker.0.records.binding(&i(), &b()).await.unwrap().is_some(),
            What::Rotate => broker.0.records.binding(&i(), &"c".into()).await.unwrap().is_some(),
            What::Deprovision => broker.state().await != Some(State::Ready),
            What::Unbind => {
                let found = broker.0.records.binding(&i(), &b()).await.unwrap();
                found.is_none_or(|found| found.state != State::Ready)
            }
        };
        let was_done = is_done(&broker, what).await;
        bench.settle_well(&broker, killed).await;
        let is_finished = is_begun && (how != How::Waiting || is_delete(what) || was_done);
        assert_eq!(is_done(&broker, what).await, is_finished, "after {killed}");
    })
    .await;
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn what_was_killed_can_be_deleted(
    #[values(What::Provision, What::Update, What::Bind, What::Rotate, What::Unbind, What::Deprovision)]
    what: What,
    #[values(How::Waiting, How::Polling, How::Asynchronous)] how: How,
    #[values(false, true)] recovers: bool,
) {
    killed(Bench::in_memory, what, how, async |bench, killed| {
        let broker = bench.open();
        if recovers {
            bench.settle(&broker).await;
        }
        let outcome = ask(&broker, What::Deprovision, how).await;
        assert!(matches!(outcome, Ok(_) | Err(Refusal::Gone(_))), "{outcome:?} after {killed}");
        assert!(bench.world().is_empty(), "{:?} after {killed}", bench.world());
        let outcome = ask(&broker, What::Deprovision, how).await;
        assert!(matches!(outcome, Err(Refusal::Gone(_))), "{outcome:?} after {killed}");
        assert_eq!(bench.discrepancies(&broker).await, Vec::<String>::new(), "after {killed}");
    })
    .await;
}

/// Kills the next broker, too, at every step of its recovery.
#[rstest]
#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_killed_is_recovered(
    #[values(What::Provision, What::Update, What::Bind, What::Unbind, What::Deprovision)] what: What,
    #[values(How::Waiting, How::Polling)] how: How,
) {
    for steps in 0..12 {
        killed(Bench::in_memory, what, how, async |bench, killed| {
            let second = bench.open_until(Fuse::after(steps));
            let _ = second.finish_all().await;
            second.drain().await;
            let broker = bench.open();
            bench.settle_well(&broker, &format!("{killed}; then {}", second.fate.trail())).await;
            ask(&broker, What::Deprovision, how).await.ok();
            assert!(bench.world().is_empty());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_bound_on_half_an_instance() {
    killed(Bench::in_memory, What::Provision, How::Waiting, async |bench, killed| {
        let broker = bench.open();
        let is_ready = broker.instance(&i()).await.is_ok();
        match broker.bind(waits(), "prompt").await {
            Ok(_) => assert!(is_ready, "after {killed}"),
            Err(Refusal::NotFound(_) | Refusal::NotReady(_)) => assert!(bench.world().logins.is_empty()),
            Err(other) => panic!("{other} after {killed}"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_leaves_what_cannot_be_deleted_for_later() {
    let bench = Bench::in_memory();
    prepare(&bench.open(), What::Deprovision, How::Waiting).await;
    // The lease and the intent take two steps each.
    ask(&bench.open_until(Fuse::after(4)), What::Deprovision, How::Waiting).await.unwrap_err();
    let away = bench.open();
    away.fake.fail("unbind", crate::broker::backends::fake::Fault::Before);
    assert_eq!(away.finish_all().await.unwrap(), 1);
    assert_eq!(bench.open().finish_all().await.unwrap(), 0);
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_later_is_tried_again() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    let (recovering, interrupted) = (broker.engine.clone(), broker.engine.unfinished().await.unwrap());
    tokio::spawn(async move { recovering.recover(interrupted).await });
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    prepare(&broker, What::Deprovision, How::Waiting).await;
    broker.fake.fail("deprovision", crate::broker::backends::fake::Fault::Half);
    broker.deprovision(waits(), "prompt").await.unwrap_err();
    assert!(!bench.world().is_empty());
    until(async || bench.world().is_empty()).await;
    broker.drain().await;
}

/// A platform whose delete failed just after the start repeats the delete itself.
#[tokio::test(start_paused = true)]
async fn a_start_resumes_only_what_began_before() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    let (recovering, interrupted) = (broker.engine.clone(), broker.engine.unfinished().await.unwrap());
    prepare(&broker, What::Deprovision, How::Waiting).await;
    broker.fake.fail("deprovision", crate::broker::backends::fake::Fault::Half);
    broker.deprovision(waits(), "prompt").await.unwrap_err();
    tokio::spawn(async move { recovering.recover(interrupted).await });
    tokio::time::sleep(super::fixture::TIMING.idle / 2).await;
    assert!(!bench.world().is_empty());
    until(async || bench.world().is_empty()).await;
    broker.drain().await;
}
