//! The life cycle of an operation, the same for every verb: acquire the instance's lease, record the intent, drive the
//! backend, record the outcome, and audit. A verb implements the checks of [`Request`] and the calls of [`Work`].
//! Requests begin here; `execution` runs the recorded work.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::{
    super::{
        backends::InstanceSpec,
        store::{
            Change, Key, State,
            records::{Operation, Record, Verb},
        },
    },
    Engine, Refusal, RequestContext, Shared, Status,
    audit::{Audit, AuditOutcome},
    driver::Run,
    leases::LeaseGuard,
};
use crate::osb::{InstanceId, PlanId, ServiceId};

/// A verb's checks before anything is recorded, and its answers.
#[async_trait]
pub(super) trait Request: Send + Sync + Sized + 'static {
    type Work: Work;
    type Answer: AuditOutcome + Send + 'static;

    fn instance(&self) -> &InstanceId;

    /// What the request does while another operation has the instance's lease.
    async fn while_busy(&self, scope: &Scope<'_>) -> Result<Busy<Self>, Refusal>;

    /// Queues the request behind the operation that has the lease. Returns the id of the new operation, or `None` if
    /// the request must wait.
    async fn enqueue(&self, _scope: &Scope<'_>) -> Result<Option<String>, Refusal> {
        Ok(None)
    }

    /// Checks the request against the records, under the lease.
    async fn plan(&self, scope: &Scope<'_>) -> Result<Next<Self>, Refusal>;

    /// The answer; `done` is present once the work is complete.
    fn answer(&self, status: Status, done: Option<<Self::Work as Work>::Done>) -> Self::Answer;
}

/// What a request does while another operation has the lease.
pub(super) enum Busy<R: Request> {
    /// Answers from the records.
    Answer(R::Answer),
    /// The running operation does what the request asks for; the platform polls it.
    Poll(String),
    /// Interrupts the creation of what the request deletes.
    Halt(Key),
    /// Waits for the lease.
    Wait,
}

/// What a request does once it has the lease.
pub(super) enum Next<R: Request> {
    /// Records the intent and starts the work on this instance.
    Begin(Box<InstanceSpec>, <R::Work as Work>::Record),
    /// Commits these changes, if any, and answers.
    Answer(Vec<Change>, R::Answer),
}

impl<R: Request> Next<R> {
    pub(super) fn begin(on: InstanceSpec, record: <R::Work as Work>::Record) -> Self {
        Self::Begin(Box::new(on), record)
    }
}

/// A verb's work on the backend, and its effect on the record.
#[async_trait]
pub(super) trait Work: 'static {
    type Record: Record;
    type Done: Send + 'static;
    const VERB: Verb;

    /// Calls the backend until it is done.
    async fn drive(run: &Run<'_>, record: &mut Self::Record) -> Result<Self::Done, Refusal>;

    /// Updates the record at the end of the work.
    fn conclude(record: &mut Self::Record, failure: Option<&Refusal>) -> Conclusion {
        match (Self::VERB.is_deletion(), failure) {
            (true, None) => return Conclusion::Removed,
            (true, Some(_)) => {}
            (false, None) => record.set_state(State::Ready),
            (false, Some(_)) => record.set_state(State::Failed),
        }
        Conclusion::Recorded
    }

    /// The error for the caller; `message` is the recorded one.
    fn refusal(refusal: Refusal, _message: String) -> Refusal {
        refusal
    }

    /// The error for the caller when the outcome could not be recorded.
    fn unrecorded(refusal: Refusal) -> Refusal {
        refusal
    }

    /// Whether the work takes longer than a request.
    fn is_asynchronous(engine: &Shared, on: &InstanceSpec, _record: &Self::Record) -> bool {
        engine.is_asynchronous(Self::VERB, &on.service_id, &on.plan_id)
    }
}

/// What happens to the record when its work ends.
pub(super) enum Conclusion {
    /// The record is written with the outcome.
    Recorded,
    /// The record is removed; a tombstone serves platforms that still poll.
    Removed,
    /// The record stays as it is, and recovery resumes the work.
    Unfinished,
}

/// The lease, or an answer without it.
enum Acquired<A> {
    Lease(LeaseGuard),
    Answer(A),
}

/// A request in progress.
pub(super) struct Scope<'a> {
    pub(super) engine: &'a Arc<Shared>,
    pub(super) context: &'a RequestContext,
}

impl Engine {
    /// Runs a request: `checked` compares it with the catalog; the rest is the same for every verb.
    pub(super) async fn perform<R: Request>(
        &self,
        context: RequestContext,
        audit: Audit,
        checked: impl FnOnce(&Scope<'_>) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R::Answer, Refusal> {
        self.audited(audit, async move |engine| {
            let scope = Scope { engine: &engine, context: &context };
            let request = checked(&scope)?;
            scope.perform(&request).await
        })
        .await
    }
}

impl Scope<'_> {
    async fn perform<R: Request>(&self, request: &R) -> Result<R::Answer, Refusal> {
        let lease = match self.acquire(request).await? {
            Acquired::Lease(lease) => lease,
            Acquired::Answer(answer) => return Ok(answer),
        };
        match request.plan(self).await? {
            Next::Begin(on, record) => self.begin(request, lease, *on, record).await,
            Next::Answer(changes, answer) => {
                lease.finish(changes).await?;
                Ok(answer)
            }
        }
    }

    async fn acquire<R: Request>(&self, request: &R) -> Result<Acquired<R::Answer>, Refusal> {
        let (Self { engine, context }, instance) = (self, request.instance());
        if let Some(lease) = engine.leases.acquire(instance, Duration::ZERO).await? {
            return Ok(Acquired::Lease(lease));
        }
        let accepted = |operation| Ok(Acquired::Answer(request.answer(Status::Accepted(operation), None)));
        match request.while_busy(self).await? {
            Busy::Answer(answer) => return Ok(Acquired::Answer(answer)),
            Busy::Poll(operation) => return accepted(operation),
            Busy::Halt(created) => return engine.halt(&created).await.map(Acquired::Lease),
            Busy::Wait => {}
        }
        let patience = engine.patience(context, instance).await?;
        if let Some(lease) = engine.leases.acquire(instance, patience).await? {
            return Ok(Acquired::Lease(lease));
        }
        if context.accepts_incomplete
            && let Some(operation) = request.enqueue(self).await?
        {
            return accepted(operation);
        }
        if patience.is_zero() {
            return engine.wait_for_lease(instance).await.map(Acquired::Lease);
        }
        Err(Refusal::Concurrency(instance.clone()))
    }

    /// Records the intent, runs the work in its own task, and waits for the outcome as long as the platform does.
    async fn begin<R: Request>(
        &self,
        request: &R,
        lease: LeaseGuard,
        on: InstanceSpec,
        record: <R::Work as Work>::Record,
    ) -> Result<R::Answer, Refusal> {
        let engine = self.engine.clone();
        let slot = if self.context.accepts_incomplete {
            None
        } else {
            Some(engine.slot_for_waiting_request::<R::Work>(&lease, &record).await?)
        };
        lease.commit(vec![engine.records.put(&record)]).await?;
        let operation = record.operation().id.clone();
        let is_asynchronous = R::Work::is_asynchronous(&engine, &on, &record);
        let retry_policy = engine.retry_policy(record.operation(), &on);
        let running = self
            .engine
            .operations
            .spawn(async move { engine.run::<R::Work>(lease, &on, record, retry_policy, slot).await });
        match self.outcome(is_asynchronous, running).await {
            Ok(Some(done)) => Ok(request.answer(Status::Done, Some(done))),
            Ok(None) => Ok(request.answer(Status::Accepted(operation), None)),
            Err(refusal @ (Refusal::Store(_) | Refusal::Interrupted)) => Err(R::Work::unrecorded(refusal)),
            Err(refusal) => Err(refusal),
        }
    }

    /// The outcome of an operation, or `None` if the platform must poll for it.
    async fn outcome<T>(
        &self,
        is_asynchronous: bool,
        running: JoinHandle<Result<T, Refusal>>,
    ) -> Result<Option<T>, Refusal> {
        let ended = |joined: Result<Result<T, Refusal>, _>| joined.unwrap_or(Err(Refusal::Interrupted));
        if !self.context.accepts_incomplete {
            return ended(running.await).map(Some);
        }
        if is_asynchronous {
            return Ok(None);
        }
        match tokio::time::timeout(self.engine.timing.answer, running).await {
            Ok(joined) => match ended(joined) {
                // The intent is recorded and will be resumed, so an error would be wrong.
                Err(Refusal::Interrupted | Refusal::Store(_)) => Ok(None),
                outcome => outcome.map(Some),
            },
            Err(_) => Ok(None),
        }
    }

    /// Rejects a platform that cannot poll when the operation requires polling.
    pub(super) fn require_polling(
        &self,
        verb: Verb,
        service_id: &ServiceId,
        plan_id: &PlanId,
    ) -> Result<(), Refusal> {
        if !self.context.accepts_incomplete && self.engine.is_asynchronous(verb, service_id, plan_id) {
            return Err(Refusal::AsyncRequired);
        }
        Ok(())
    }

    /// What a request does while this operation has the lease: it waits for a synchronous operation, polls an
    /// asynchronous one of the same verb, and fails otherwise.
    pub(super) fn busy_with<R: Request>(
        &self,
        request: &R,
        operation: &Operation,
    ) -> Result<Busy<R>, Refusal> {
        if !operation.is_in_progress() || !operation.is_asynchronous {
            return Ok(Busy::Wait);
        }
        if operation.verb == R::Work::VERB && self.context.accepts_incomplete {
            return Ok(Busy::Poll(operation.id.clone()));
        }
        Err(Refusal::Concurrency(request.instance().clone()))
    }

    /// A new operation of this request.
    pub(super) fn operation(&self, verb: Verb) -> Operation {
        Operation {
            is_asynchronous: self.context.accepts_incomplete,
            ..Operation::begin(verb, self.context.caller.0.clone())
        }
    }

    /// Resumes an interrupted creation, or restarts a failed one.
    pub(super) fn create_again<R: Record>(&self, mut record: R, verb: Verb) -> R {
        if record.state() == State::Failed {
            record.begin(self.operation(verb));
        }
        record.operation_mut().is_asynchronous |= self.context.accepts_incomplete;
        record.set_state(State::Creating);
        record
    }

    /// Begins a deletion, or resumes the current one.
    pub(super) fn delete<R: Record>(&self, mut record: R, verb: Verb) -> R {
        if record.state() != State::Deleting || !record.operation().is_in_progress() {
            record.begin(self.operation(verb));
        }
        record.operation_mut().is_asynchronous |= self.context.accepts_incomplete;
        record.set_state(State::Deleting);
        record
    }
}
