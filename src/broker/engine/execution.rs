//! Runs recorded work, for requests as for recovery and the queue: waits for the lease and for a slot of the backend,
//! drives the backend, records the outcome, and audits.

use std::time::Duration;

use super::{
    super::{
        backends::{ExecutionMode, InstanceSpec, ServiceError},
        store::{
            Change, Key,
            records::{Outcome, Record, Verb},
        },
    },
    Refusal, RequestContext, Shared, audit,
    driver::{Ended, RetryPolicy, Run},
    leases::LeaseGuard,
    limits::Slot,
    operation::{Conclusion, Work},
    tombstone,
};
use crate::{
    broker::config::BackendName,
    osb::{InstanceId, PlanId, ServiceId},
};

impl Shared {
    /// Waits for the instance's lease, up to the limit for requests.
    pub(super) async fn wait_for_lease(&self, instance: &InstanceId) -> Result<LeaseGuard, Refusal> {
        let lease = self.leases.acquire(instance, self.timing.queue).await?;
        lease.ok_or_else(|| Refusal::Concurrency(instance.clone()))
    }

    /// How long a request waits before it is queued; not at all behind an operation that takes long.
    pub(super) async fn patience(
        &self,
        context: &RequestContext,
        instance: &InstanceId,
    ) -> Result<Duration, Refusal> {
        let found = if context.accepts_incomplete { self.records.instance(instance).await? } else { None };
        let takes_long = found.is_some_and(|found| {
            let verbs: &[Verb] = if found.operation.is_in_progress() {
                &[found.operation.verb]
            } else {
                &[Verb::Bind, Verb::Unbind]
            };
            let InstanceSpec { service_id, plan_id, .. } = &found.spec;
            verbs.iter().any(|verb| self.is_asynchronous(*verb, service_id, plan_id))
        });
        Ok(if takes_long { Duration::ZERO } else { self.timing.queue })
    }

    /// Interrupts the creation of an instance or a binding, and acquires the lease.
    pub(super) async fn halt(&self, created: &Key) -> Result<LeaseGuard, Refusal> {
        // Also cover the lease of a broker that is killed meanwhile: an error now would leave the creation
        // interrupted.
        let expiry = self.records.store.lease_duration().unwrap_or_default();
        let patience = self.timing.halt + 2 * expiry + self.timing.queue;
        let lease = self.leases.halt(created, patience).await?;
        lease.ok_or_else(|| Refusal::Concurrency(created.instance.clone()))
    }

    /// Runs recorded work to its end: drives the backend, records the outcome, and audits operations without a waiting
    /// request. Interrupted work stays as recorded.
    pub(super) async fn run<W: Work>(
        &self,
        lease: LeaseGuard,
        on: &InstanceSpec,
        mut record: W::Record,
        retry_policy: RetryPolicy,
        slot: Option<Slot>,
    ) -> Result<W::Done, Refusal> {
        let server = record.server().clone();
        if !W::VERB.is_deletion() {
            self.provider(&server)?;
        }
        if W::VERB.is_creation() {
            lease.create(&record.key());
        }
        let slot = match slot {
            Some(slot) => Ok(slot),
            None => self.slot(&server, &lease, W::VERB, retry_policy).await,
        };
        let driven = match slot {
            Ok(slot) => {
                let (lease, server, slot) = (&lease, &server, &slot);
                let run = Run { engine: self, lease, server, on, retry_policy, verb: W::VERB, slot };
                W::drive(&run, &mut record).await
            }
            Err(ended) => Err(ended.into()),
        };
        if matches!(driven, Err(Refusal::Interrupted)) {
            return driven;
        }
        let message = driven.as_ref().err().map(Refusal::user_message);
        let conclusion = W::conclude(&mut record, driven.as_ref().err());
        if matches!(conclusion, Conclusion::Unfinished) {
            lease.release().await?;
            return driven;
        }
        record.operation_mut().outcome = message.clone().map_or(Outcome::Succeeded, Outcome::Failed);
        lease.finish(self.changes(&record, &conclusion)).await?;
        if record.operation().is_asynchronous {
            audit::ended(&record.key(), record.operation());
        }
        driven.map_err(|refusal| W::refusal(refusal, message.unwrap_or_default()))
    }

    /// Waits for a slot within the backend's limits.
    async fn slot(
        &self,
        backend: &BackendName,
        lease: &LeaseGuard,
        verb: Verb,
        retry_policy: RetryPolicy,
    ) -> Result<Slot, Ended> {
        // The calls themselves report a backend that is no longer configured.
        let Some(limits) = self.limits.get(backend) else { return Ok(Slot::default()) };
        let too_late = async {
            match retry_policy.end() {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = self.ended(lease, verb, retry_policy) => Err(ended),
            slot = limits.slot() => Ok(slot),
            () = too_late => Err(Ended::Failed(ServiceError::new(
                backend,
                "not begun in the time for which platforms poll, for other operations are under way; try again later",
            ))),
        }
    }

    /// Waits for the slot of an operation for which a request waits. Nothing is recorded before, so that a request
    /// that times out leaves nothing.
    pub(super) async fn slot_for_waiting_request<W: Work>(
        &self,
        lease: &LeaseGuard,
        record: &W::Record,
    ) -> Result<Slot, Refusal> {
        if W::VERB.is_creation() {
            lease.create(&record.key());
        }
        let slot = self.slot(record.server(), lease, W::VERB, RetryPolicy::Once);
        match tokio::time::timeout(self.timing.answer, slot).await {
            Ok(slot) => Ok(slot?),
            Err(_) => Err(Refusal::Busy),
        }
    }

    fn changes(&self, record: &impl Record, conclusion: &Conclusion) -> Vec<Change> {
        match conclusion {
            Conclusion::Recorded => vec![self.records.put(record)],
            Conclusion::Removed => {
                [Change::Remove(record.key())].into_iter().chain(tombstone::of(record)).collect()
            }
            Conclusion::Unfinished => Vec::new(),
        }
    }

    /// Whether an operation takes longer than a request. False for a plan that is no longer offered.
    pub(super) fn is_asynchronous(&self, verb: Verb, service_id: &ServiceId, plan_id: &PlanId) -> bool {
        let server = self.offer.plan(service_id, plan_id).map(|offered| offered.server);
        let provider = server.and_then(|server| self.provider(server));
        provider.is_ok_and(|provider| provider.execution_mode(plan_id, verb) == ExecutionMode::Asynchronous)
    }
}
