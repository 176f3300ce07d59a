//! Calls to backends until they are done: again while the backend is at it, again after a fault that may pass if the
//! operation is asynchronous, and no longer when the instance is wanted for a delete, lost, or the broker stops.

use std::{pin::pin, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        backends::{InstanceSpec, Pending, Progress, ServiceError},
        store::{Change, records::Operation},
    },
    Refusal, Shared,
    leases::Held,
};
use crate::broker::config::BackendName;

/// A call to a backend.
pub(super) type Call<'a, T> = BoxFuture<'a, Result<Progress<T>, ServiceError>>;

/// How an operation is pursued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// One fault ends it, for somebody waits.
    Once,
    /// One fault ends it, for it is tried again later; so does a stop, for it is taken up again.
    Retried,
    /// One fault ends it, and so does this time: no platform polls for it any longer.
    By(Timestamp),
    /// It goes on through passing faults until then.
    Until(Timestamp),
}

impl RetryPolicy {
    /// When it ends in any case, by the clock that pauses are measured with.
    fn end(self) -> Option<Instant> {
        let end = match self {
            Self::Once | Self::Retried => return None,
            Self::By(end) | Self::Until(end) => end,
        };
        let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

/// A length of time, or what is left until the end.
fn until(end: Option<Instant>, limit: Duration) -> Duration {
    end.map_or(limit, |end| limit.min(end.saturating_duration_since(Instant::now())))
}

/// Why calling came to an end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The backend could not do it.
    Failed(ServiceError),
    /// A delete wants the instance.
    Halted,
    /// Nothing may be written any more: another broker has the instance, or this one stops. What is recorded is taken up.
    Left,
}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(error) => {
                tracing::warn!(reference = error.reference(), %error, "a backend could not do what it was asked to");
                Self::Service(error)
            }
            Ended::Halted => Self::Halted,
            Ended::Left => Self::Interrupted,
        }
    }
}

impl Shared {
    /// How an operation is pursued that has just begun, or is taken up again. Of a prompt service a fault is told at once:
    /// it has tried again already, and platforms show what they are told. When platforms have stopped polling (the plan's
    /// `maximum_polling_duration`), an operation has failed, also one that a lock in the backend keeps from answering.
    pub(super) fn retry_policy(&self, operation: &Operation, of: &InstanceSpec) -> RetryPolicy {
        if !operation.is_asynchronous {
            return RetryPolicy::Once;
        }
        let polling = self.polling(&of.service_id, &of.plan_id);
        let patience = polling.map_or(self.timing.give_up, Duration::from_secs);
        let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
        let end = operation.begun_at.saturating_add(patience).unwrap_or(Timestamp::MAX);
        if self.is_lasting(&of.service_id, &of.plan_id) {
            RetryPolicy::Until(end)
        } else {
            RetryPolicy::By(end)
        }
    }

    /// Calls until it is done. `told` gets what the backend says it is at, whenever that changes, and answers how that is
    /// written down. A call that is made while the instance is wanted elsewhere has a while to end, so that nothing of it
    /// happens later.
    pub(super) async fn drive<'a, T>(
        &self,
        held: &Held,
        server: &BackendName,
        retry_policy: RetryPolicy,
        may_halt: bool,
        call: impl Fn() -> Call<'a, T>,
        mut told: impl FnMut(String) -> Change,
    ) -> Result<T, Ended> {
        let mut pauses = self.pauses();
        let mut last = None;
        let begun = Instant::now();
        let end = retry_policy.end();
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        loop {
            let pause = match self.call(held, server, (retry_policy, end), may_halt, call()).await? {
                Ok(Progress::Done(done)) => return Ok(done),
                Ok(Progress::Pending(Pending { description, again_after })) => {
                    let is_late = match retry_policy {
                        RetryPolicy::By(_) | RetryPolicy::Until(_) => is_over(),
                        RetryPolicy::Once | RetryPolicy::Retried => begun.elapsed() >= self.timing.give_up,
                    };
                    if is_late {
                        let problem = format!("not done in time, still at: {description}");
                        return Err(Ended::Failed(ServiceError::new("behind the plan", problem)));
                    }
                    pauses = self.pauses();
                    if last.as_ref() != Some(&description) {
                        self.show(held, told(description.clone())).await;
                        last = Some(description);
                    }
                    again_after
                }
                Err(error) => match retry_policy {
                    RetryPolicy::Until(_) if error.is_passing() && !is_over() => {
                        tracing::warn!(%error, "an operation meets an obstacle; trying again");
                        pauses.next().unwrap_or(self.timing.longest_pause)
                    }
                    _ => return Err(Ended::Failed(error)),
                },
            };
            tokio::select! {
                () = sleep(until(end, pause)) => {}
                ended = self.ended(held, retry_policy, may_halt) => return Err(ended),
            }
        }
    }

    async fn call<T>(
        &self,
        held: &Held,
        server: &BackendName,
        (retry_policy, end): (RetryPolicy, Option<Instant>),
        may_halt: bool,
        call: Call<'_, T>,
    ) -> Result<Result<Progress<T>, ServiceError>, Ended> {
        let limit = until(end, self.timing.call);
        let mut running = pin!(timeout(limit, async {
            // Never closed. A backend has room for so many calls of ours.
            let _permit = match self.calls.get(server) {
                Some(calls) => calls.acquire().await.ok(),
                None => None,
            };
            call.await
        }));
        let answer = tokio::select! {
            answer = &mut running => answer,
            ended = self.ended(held, retry_policy, may_halt) => {
                let last = tokio::select! {
                    last = timeout(self.timing.halt, running) => last,
                    () = held.lost.cancelled() => return Err(Ended::Left),
                };
                return match (ended, last) {
                    // A stop need not undo what is done; the next broker would do it again.
                    (Ended::Left, Ok(Ok(Ok(Progress::Done(done))))) => Ok(Ok(Progress::Done(done))),
                    (ended, _) => Err(ended),
                };
            }
        };
        Ok(answer.unwrap_or_else(|_| {
            let problem = if limit < self.timing.call {
                "not done in the time for which platforms poll; what blocks it, such as a lock, is still there".to_owned()
            } else {
                format!("the service did not answer within {} s", self.timing.call.as_secs())
            };
            Err(ServiceError::new("behind the plan", problem).passing())
        }))
    }

    /// Waits for a reason to make no further call.
    async fn ended(&self, held: &Held, retry_policy: RetryPolicy, may_halt: bool) -> Ended {
        tokio::select! {
            () = held.lost.cancelled() => Ended::Left,
            () = held.interrupted.cancelled(), if may_halt => Ended::Halted,
            // What somebody waits for is brought to its end; the rest is taken up by the next broker.
            () = self.stop.cancelled(), if retry_policy != RetryPolicy::Once => Ended::Left,
        }
    }

    /// Writes down what a backend is at; when that fails it is only not told.
    async fn show(&self, held: &Held, change: Change) {
        if let Err(error) = held.commit(vec![change]).await {
            tracing::warn!(%error, "cannot record how far an operation is");
        }
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::default()
            .with_min_delay(self.timing.first_pause)
            .with_max_delay(self.timing.longest_pause)
            .without_max_times()
            .with_jitter()
            .build()
    }
}
