//! Calls backends until the work is done: polls while the backend is busy, retries temporary errors of asynchronous
//! operations, and ends early when a delete interrupts the operation, the lease is lost, or the broker stops.

use std::{pin::pin, time::Duration};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        backends::{InstanceSpec, Pending, Progress, ServiceError},
        store::records::{Operation, Outcome, Record, Verb},
    },
    Refusal, Shared,
    leases::LeaseGuard,
    limits::Slot,
};
use crate::broker::config::BackendName;

/// A call to a backend.
pub(super) type Call<'a, T> = BoxFuture<'a, Result<Progress<T>, ServiceError>>;

/// When an operation stops retrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// After the first error: a caller waits for the result.
    Once,
    /// After the first error or when the broker stops: recovery resumes the operation later.
    Resumed,
    /// After the first error, or at this time, when platforms stop polling.
    By(Timestamp),
    /// At this time; retries temporary errors until then.
    Until(Timestamp),
}

impl RetryPolicy {
    /// The deadline, by the clock that measures pauses.
    pub(super) fn end(self) -> Option<Instant> {
        let end = match self {
            Self::Once | Self::Resumed => return None,
            Self::By(end) | Self::Until(end) => end,
        };
        let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

/// `limit`, or the time until the deadline if that is shorter.
fn until(end: Option<Instant>, limit: Duration) -> Duration {
    end.map_or(limit, |end| limit.min(end.saturating_duration_since(Instant::now())))
}

/// Why the calls ended without success.
#[derive(Debug)]
pub(super) enum Ended {
    /// The backend reported an error.
    Failed(ServiceError),
    /// A delete of the instance interrupted the operation.
    Halted,
    /// The operation must not write any more, because another broker has the lease or this broker stops. It is resumed
    /// later.
    Left,
}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(error) => {
                tracing::warn!(reference = error.reference(), %error, "a backend could not do what was requested");
                Self::Service(error)
            }
            Ended::Halted => Self::Halted,
            Ended::Left => Self::Interrupted,
        }
    }
}

impl Shared {
    /// The retry policy of an operation that begins or is resumed. An error of a synchronous service ends the
    /// operation at once: the service has already retried, and platforms show the error. Every operation fails when
    /// platforms stop polling (the plan's `maximum_polling_duration`), even one that a lock in the backend blocks.
    pub(super) fn retry_policy(&self, operation: &Operation, on: &InstanceSpec) -> RetryPolicy {
        if !operation.is_asynchronous {
            return RetryPolicy::Once;
        }
        let polling = self.offer.plan(&on.service_id, &on.plan_id).ok();
        let polling = polling.and_then(|offered| offered.plan.maximum_polling_duration);
        let patience = polling.map_or(self.timing.give_up, Duration::from_secs);
        let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
        let end = operation.begun_at.saturating_add(patience).unwrap_or(Timestamp::MAX);
        if self.is_asynchronous(operation.verb, &on.service_id, &on.plan_id) {
            RetryPolicy::Until(end)
        } else {
            RetryPolicy::By(end)
        }
    }

    /// Waits for a reason to make no more calls.
    pub(super) async fn ended(&self, lease: &LeaseGuard, verb: Verb, retry_policy: RetryPolicy) -> Ended {
        tokio::select! {
            () = lease.lost.cancelled() => Ended::Left,
            () = lease.interrupted.cancelled(), if verb.is_creation() => Ended::Halted,
            // Complete what a caller waits for; the next broker resumes the rest.
            () = self.stop.cancelled(), if retry_policy != RetryPolicy::Once => Ended::Left,
        }
    }
}

/// The calls of one operation.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) engine: &'a Shared,
    pub(super) lease: &'a LeaseGuard,
    pub(super) server: &'a BackendName,
    /// The instance that the operation works on.
    pub(super) on: &'a InstanceSpec,
    pub(super) retry_policy: RetryPolicy,
    pub(super) verb: Verb,
    pub(super) slot: &'a Slot,
}

impl Run<'_> {
    /// Repeats a call until it is done. Writes the backend's progress to `record`. When a delete interrupts the
    /// operation, the current call gets some time to end, so that none of its effects come later.
    pub(super) async fn drive<'c, T>(
        &self,
        record: &impl Record,
        call: impl Fn() -> Call<'c, T>,
    ) -> Result<T, Ended> {
        let timing = &self.engine.timing;
        let mut pauses = self.engine.timing.pauses();
        let mut last = None;
        let begun = Instant::now();
        let end = self.retry_policy.end();
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        loop {
            tokio::select! {
                () = self.slot.start_call() => {}
                ended = self.ended() => return Err(ended),
            }
            let pause = match self.call(end, call()).await? {
                Ok(Progress::Done(done)) => return Ok(done),
                Ok(Progress::Pending(Pending { description, again_after })) => {
                    if is_over() || end.is_none() && begun.elapsed() >= timing.give_up {
                        let problem = format!("not done in time, still at: {description}");
                        return Err(Ended::Failed(ServiceError::new("behind the plan", problem)));
                    }
                    pauses = self.engine.timing.pauses();
                    if last.as_ref() != Some(&description) {
                        self.show(record, &description).await;
                        last = Some(description);
                    }
                    again_after
                }
                Err(error) => match self.retry_policy {
                    RetryPolicy::Until(_) if error.is_passing() && !is_over() => {
                        tracing::warn!(%error, "an operation meets an obstacle; trying again");
                        pauses.next().unwrap_or(timing.longest_pause)
                    }
                    _ => return Err(Ended::Failed(error)),
                },
            };
            tokio::select! {
                () = sleep(until(end, pause)) => {}
                ended = self.ended() => return Err(ended),
            }
        }
    }

    async fn call<T>(
        &self,
        end: Option<Instant>,
        call: Call<'_, T>,
    ) -> Result<Result<Progress<T>, ServiceError>, Ended> {
        let timing = &self.engine.timing;
        let limit = until(end, timing.call);
        let mut running = pin!(timeout(limit, async {
            let _permit = match self.engine.limits.get(self.server) {
                Some(limits) => limits.call().await,
                None => None,
            };
            call.await
        }));
        let answer = tokio::select! {
            answer = &mut running => answer,
            ended = self.ended() => {
                let last = tokio::select! {
                    last = timeout(timing.halt, running) => last,
                    () = self.lease.lost.cancelled() => return Err(Ended::Left),
                };
                return match (ended, last) {
                    // The result arrived despite the stop; keep it, or the next broker would repeat the call.
                    (Ended::Left, Ok(Ok(Ok(Progress::Done(done))))) => Ok(Ok(Progress::Done(done))),
                    (ended, _) => Err(ended),
                };
            }
        };
        Ok(answer.unwrap_or_else(|_| {
            let problem = if limit < timing.call {
                "not done in the time for which platforms poll; what blocks it, such as a lock, is still there".to_owned()
            } else {
                format!("the service did not answer within {} s", timing.call.as_secs())
            };
            Err(ServiceError::new("behind the plan", problem).passing())
        }))
    }

    async fn ended(&self) -> Ended {
        self.engine.ended(self.lease, self.verb, self.retry_policy).await
    }

    /// Records the progress of an operation; the operation continues if that fails.
    async fn show(&self, record: &impl Record, description: &str) {
        let mut shown = record.clone();
        shown.operation_mut().outcome = Outcome::InProgress(Some(description.to_owned()));
        if let Err(error) = self.lease.commit(vec![self.engine.records.put(&shown)]).await {
            tracing::warn!(%error, "cannot record how far an operation is");
        }
    }
}
