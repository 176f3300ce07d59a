//! Random requests, sequential and concurrent, to one broker or two, with faults, kills, restarts and full disks.
//! `model_outcomes` and [`Bench::discrepancies`] define what must hold. `BINDERY_SOAK_CASES` sets the number of cases.

use std::time::Duration;

use futures::future::join_all;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    super::*,
    fixture::{Bench, Opened, bind_wanted, password_of},
    model_outcomes::{Answer, Beliefs},
};
use crate::broker::backends::fake::{Fault, Fuse};

/// A request. The sets of instances, bindings and sizes are small, so that requests conflict.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Provision { plan: &'static str, size: u64 },
    Update { plan: Option<&'static str>, size: Option<u64> },
    Bind { id: &'static str },
    Rotate { from: &'static str, id: &'static str },
    Unbind { id: &'static str },
    Deprovision,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) on: &'static str,
    pub(super) ask: Ask,
    polls: bool,
    at: usize,
    /// Milliseconds.
    later_by: u64,
    hangs_up_after: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Calls(Vec<Call>),
    Fault(&'static str, Fault),
    AtIt(usize),
    FullDisk { at: usize, writes_before: usize },
    Restart { at: usize, gracefully: bool, lives_for: Option<usize> },
    Wait(u64),
    Settle,
}

fn call() -> impl Strategy<Value = Call> {
    let plan = || select(vec!["prompt", "other", "lasting"]);
    let binding = || select(vec!["a", "b", "c"]);
    let ask = prop_oneof![
        4 => (plan(), 1..3_u64).prop_map(|(plan, size)| Ask::Provision { plan, size }),
        3 => (proptest::option::of(plan()), proptest::option::of(1..4_u64))
            .prop_map(|(plan, size)| Ask::Update { plan, size }),
        4 => binding().prop_map(|id| Ask::Bind { id }),
        1 => (binding(), binding()).prop_map(|(from, id)| Ask::Rotate { from, id }),
        2 => binding().prop_map(|id| Ask::Unbind { id }),
        2 => Just(Ask::Deprovision),
    ];
    let hangs_up = proptest::option::weighted(0.1, 1..60_u64);
    (select(vec!["i", "i", "j"]), ask, any::<bool>(), 0..2_usize, 0..60_u64, hangs_up).prop_map(
        |(on, ask, polls, at, later_by, hangs_up_after)| Call {
            on,
            ask,
            polls,
            at,
            later_by,
            hangs_up_after,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let calls = || select(vec!["provision", "update", "bind", "unbind", "deprovision"]);
    let faults = || select(vec![Fault::Before, Fault::After, Fault::Half, Fault::Passing, Fault::Silence]);
    prop_oneof![
        10 => vec(call(), 1..2).prop_map(Step::Calls),
        4 => vec(call(), 2..6).prop_map(Step::Calls),
        3 => (calls(), faults()).prop_map(|(call, fault)| Step::Fault(call, fault)),
        1 => (1..1500_usize).prop_map(Step::AtIt),
        1 => (0..2_usize, 0..3_usize).prop_map(|(at, writes_before)| Step::FullDisk { at, writes_before }),
        3 => (0..2_usize, any::<bool>(), proptest::option::of(0..25_usize))
            .prop_map(|(at, gracefully, lives_for)| Step::Restart { at, gracefully, lives_for }),
        1 => (1..8000_u64).prop_map(Step::Wait),
        1 => Just(Step::Settle),
    ]
}

/// A run. Its history is printed when it fails.
struct Run {
    bench: Bench,
    brokers: Vec<Opened>,
    recovers: bool,
    beliefs: Beliefs,
    /// Whether a failure may have a legitimate cause.
    is_troubled: bool,
}

impl Run {
    fn new(replicas: usize, recovers: bool) -> Self {
        let lease = Duration::from_secs(4);
        let kept = if replicas == 1 { Bench::in_memory() } else { Bench::shared(lease) };
        let bench = kept.with_latency(Duration::from_millis(20));
        let brokers = (0..replicas).map(|_| bench.open()).collect();
        let run = Self { bench, brokers, recovers, beliefs: Beliefs::default(), is_troubled: false };
        run.brokers.iter().for_each(|broker| run.recover(broker));
        run
    }

    fn recover(&self, broker: &Opened) {
        if self.recovers {
            let recovering = broker.engine.clone();
            tokio::spawn(async move {
                let interrupted = recovering.unfinished().await.unwrap_or_default();
                recovering.recover(interrupted).await;
            });
        }
    }

    /// The broker, or a new one if it is dead.
    fn broker(&mut self, at: usize) -> &Opened {
        let at = at % self.brokers.len();
        if self.brokers[at].fate.fuse.is_gone() {
            self.replace(at, Fuse::never());
        }
        &self.brokers[at]
    }

    fn replace(&mut self, at: usize, fuse: Fuse) {
        self.brokers[at].engine.stop();
        self.brokers[at] = self.bench.open_until(fuse);
        self.recover(&self.brokers[at]);
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Calls(calls) => return self.call(calls).await,
            Step::Fault(call, fault) => {
                self.is_troubled = true;
                self.broker(0).fake.fail(call, *fault);
            }
            Step::AtIt(times) => self.broker(0).fake.be_at_it(*times),
            Step::FullDisk { at, writes_before } => {
                self.is_troubled = true;
                let fate = self.broker(*at).fate.clone();
                fate.refused_after.store(*writes_before, std::sync::atomic::Ordering::SeqCst);
                fate.refused.store(2, std::sync::atomic::Ordering::SeqCst);
            }
            Step::Restart { at, gracefully, lives_for } => {
                self.is_troubled |= lives_for.is_some();
                let at = at % self.brokers.len();
                // A broker that is not dead must end before the next one of an embedded store starts.
                if *gracefully || self.brokers.len() == 1 || !self.brokers[at].fate.fuse.is_gone() {
                    let drained = timeout(Duration::from_mins(5), self.brokers[at].drain()).await;
                    drained.map_err(|_| "a broker does not stop")?;
                }
                self.replace(at, lives_for.map_or_else(Fuse::never, Fuse::after));
            }
            Step::Wait(milliseconds) => sleep(Duration::from_millis(*milliseconds)).await,
            Step::Settle => return self.settle().await,
        }
        Ok(())
    }

    async fn call(&mut self, calls: &[Call]) -> Result<(), String> {
        let mut asked = Vec::new();
        for call in calls {
            let broker = self.broker(call.at).beside();
            let call = call.clone();
            asked.push(async move {
                sleep(Duration::from_millis(call.later_by)).await;
                let patience = Duration::from_millis(call.hangs_up_after.unwrap_or(600_000));
                match timeout(patience, ask(&broker, &call)).await {
                    Ok(Answer::Failed(_)) if broker.fate.fuse.is_gone() => Answer::Lost,
                    Ok(answer) => answer,
                    Err(_) => Answer::HungUp,
                }
            });
        }
        let answers = join_all(asked).await;
        let answers: Vec<_> = calls.iter().cloned().zip(answers).collect();
        let deletes = |call: &Call| matches!(call.ask, Ask::Deprovision | Ask::Unbind { .. });
        for (call, answer) in &answers {
            if let Answer::Failed(why) = answer
                && !self.is_troubled
                && !(why.contains("halted") && calls.iter().any(deletes))
            {
                return Err(format!("{call:?} failed without a reason: {why}"));
            }
            if call.hangs_up_after.is_some() && calls.iter().any(deletes) {
                // The request may interrupt a creation at any time.
                self.is_troubled = true;
            }
        }
        self.beliefs.learn(&answers)
    }

    /// Completes all operations without further faults, and checks the result.
    async fn settle(&mut self) -> Result<(), String> {
        for at in 0..self.brokers.len() {
            self.broker(at);
            let drained = timeout(Duration::from_mins(5), self.brokers[at].drain()).await;
            drained.map_err(|_| "a broker does not stop")?;
            self.replace(at, Fuse::never());
        }
        self.broker(0).fake.clear();
        // Longer than the lease of a broker that was killed.
        sleep(Duration::from_secs(5)).await;
        self.bench.settle(&self.brokers[0]).await;
        let wrong = self.bench.discrepancies(&self.brokers[0]).await;
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        self.is_troubled = false;
        self.beliefs.check(&self.brokers[0]).await
    }

    /// Checks that everything can be deleted.
    async fn clear(&mut self) -> Result<(), String> {
        self.settle().await?;
        for on in ["i", "j"] {
            let call =
                Call { on, ask: Ask::Deprovision, polls: true, at: 0, later_by: 0, hangs_up_after: None };
            self.call(&[call]).await?;
        }
        self.settle().await?;
        let instances = self.brokers[0].0.records.store.instances().await.unwrap();
        let world = self.bench.world();
        if instances.is_empty() && world.is_empty() {
            Ok(())
        } else {
            Err(format!("left: {instances:?}, {world:?}"))
        }
    }
}

/// The instance's plan, as the platform knows it.
async fn plan(broker: &Opened, on: &'static str) -> String {
    let found = broker.0.records.instance(&on.into()).await.ok().flatten();
    found.map_or_else(|| "prompt".to_owned(), |found| found.spec.plan_id.as_str().to_owned())
}

async fn ask(broker: &Opened, call: &Call) -> Answer {
    let context = RequestContext { accepts_incomplete: call.polls, ..RequestContext::default() };
    let on = InstanceId::from(call.on);
    let plan_id = plan(broker, call.on).await;
    let answer = match &call.ask {
        Ask::Provision { plan, size } => broker.provision_as(context, &on, plan, *size).await,
        Ask::Update { plan, size } => {
            let mut changes = json!({});
            if let Some(plan) = plan {
                changes["plan_id"] = (*plan).into();
            }
            if let Some(size) = size {
                changes["parameters"] = json!({"size": size});
            }
            broker.update_of(context, &on, changes).await
        }
        Ask::Bind { id } => {
            return bound(broker.engine.bind(context, on, (*id).into(), bind_wanted(&plan_id)).await);
        }
        Ask::Rotate { from, id } => {
            let wanted = BindWanted::Successor((*from).into());
            return bound(broker.engine.bind(context, on, (*id).into(), wanted).await);
        }
        Ask::Unbind { id } => {
            broker.engine.unbind(context, on, (*id).into(), "s".into(), plan_id.as_str().into()).await
        }
        Ask::Deprovision => broker.engine.deprovision(context, on, "s".into(), plan_id.as_str().into()).await,
    };
    match answer {
        Ok(Status::Done | Status::Already) => Answer::Done(None),
        Ok(Status::Accepted(operation)) => Answer::Accepted(operation),
        Err(refusal) => refused(&refusal),
    }
}

fn bound(answer: Result<BindResult, Refusal>) -> Answer {
    match answer {
        Ok(BindResult { status: Status::Accepted(operation), .. }) => Answer::Accepted(operation),
        Ok(BindResult { bound, .. }) => Answer::Done(password_of(&bound.unwrap())),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Gone(_) => Answer::Done(None),
        Refusal::Service(_)
        | Refusal::Update { .. }
        | Refusal::Delete(_)
        | Refusal::Halted
        | Refusal::Store(_)
        | Refusal::Cipher(_)
        | Refusal::UnknownBackend(_)
        | Refusal::Interrupted => Answer::Failed(refusal.to_string()),
        _ => Answer::Refused,
    }
}

async fn run(replicas: usize, recovers: bool, steps: &[Step]) -> Result<(), String> {
    let mut run = Run::new(replicas, recovers);
    for (number, step) in steps.iter().enumerate() {
        let taken = timeout(Duration::from_hours(3), run.take(step)).await;
        taken
            .unwrap_or_else(|_| Err("it does not end".to_owned()))
            .map_err(|why| format!("step {number} ({step:?}): {why}"))?;
    }
    run.clear().await.map_err(|why| format!("at the end: {why}"))
}

fn cases() -> u32 {
    std::env::var("BINDERY_SOAK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn backend_records_and_answers_agree(
        replicas in 1..3_usize, recovers in any::<bool>(), steps in vec(step(), 1..20),
    ) {
        let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let ended = paused.unwrap().block_on(run(replicas, recovers, &steps));
        prop_assert!(ended.is_ok(), "{}", ended.unwrap_err());
    }
}
