//! Recovery: resumes operations that were interrupted when this broker, or another broker of the store, was killed,
//! and retries failed deletes. Creations that no platform polls are marked as failed: the platform repeats or deletes
//! them.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;

use super::{
    super::{
        backends::InstanceSpec,
        store::{
            Change, Key, State, StoreError,
            records::{Binding, Instance, Operation, Outcome, Record},
        },
    },
    Engine, Refusal, Shared,
    bind::Bind,
    deprovision::Deprovision,
    driver::RetryPolicy,
    leases::LeaseGuard,
    provision::Provision,
    unbind::Unbind,
    update::Update,
};

/// How many operations to resume at once, so that requests still have capacity.
const AT_ONCE: usize = 32;

impl Engine {
    /// Resumes these operations at once, then unfinished ones until the engine stops, however long the backends are
    /// unreachable.
    pub(crate) async fn recover(&self, interrupted: Vec<Key>) {
        let timing = self.0.timing;
        let mut growing = timing.pauses();
        let stop = self.0.stop.clone();
        let mut interrupted = Some(interrupted);
        while !stop.is_cancelled() {
            let left = match interrupted.take() {
                Some(keys) => Ok(self.finish_each(keys).await),
                None => self.finish_all().await,
            };
            let pause = match left {
                Ok(0) => {
                    growing = timing.pauses();
                    timing.idle
                }
                Ok(left) => {
                    tracing::debug!(left, "operations are not finished; trying again");
                    growing.next().unwrap_or(timing.idle).min(timing.idle)
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for operations that were begun; trying again");
                    growing.next().unwrap_or(timing.longest_pause)
                }
            };
            self.seal_again().await;
            self.forget_tombstones().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Resumes each unfinished operation. Returns how many are left, including those that another broker has and those
    /// that take long.
    pub(crate) async fn finish_all(&self) -> Result<usize, StoreError> {
        Ok(self.finish_each(self.unfinished().await?).await)
    }

    /// The operations that are not finished, including those that run now.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        self.0.records.store.unfinished().await
    }

    async fn finish_each(&self, unfinished: Vec<Key>) -> usize {
        let finishing = unfinished.into_iter().map(async |key| {
            let engine = self.clone();
            let running = self.0.operations.spawn(async move { engine.finish_one(key).await });
            // An operation that takes longer continues in its own task.
            timeout(self.0.timing.answer, running).await
        });
        let ended = futures::stream::iter(finishing).buffer_unordered(AT_ONCE);
        ended.filter(|ended| std::future::ready(!matches!(ended, Ok(Ok(true))))).count().await
    }

    async fn finish_one(&self, key: Key) -> bool {
        if self.0.stop.is_cancelled() {
            return false;
        }
        match self.0.finish(&key).await {
            Ok(is_finished) => {
                if is_finished {
                    tracing::info!(%key, "what was begun earlier is finished, or left to the platform to repeat or delete");
                }
                is_finished
            }
            Err(Refusal::Interrupted) => false,
            Err(error) => {
                tracing::warn!(%key, %error, "cannot finish what was begun earlier; it is tried again");
                false
            }
        }
    }

    async fn forget_tombstones(&self) {
        if let Err(error) = self.0.records.store.forget_tombstones(self.0.timing.remember).await {
            tracing::warn!(%error, "cannot forget deletes that ended long ago");
        }
    }

    /// Re-encrypts records of former keys with the current key. Repeats, because other brokers may still use a former
    /// key.
    async fn seal_again(&self) {
        if !self.0.records.has_former_keys() {
            return;
        }
        let keys = match self.0.records.sealed_with_former_keys().await {
            Ok(keys) => keys,
            Err(error) => return tracing::warn!(%error, "cannot look for records under a former key"),
        };
        let (mut count, found) = (0, keys.len());
        for key in keys {
            if self.0.stop.is_cancelled() {
                return;
            }
            match self.0.seal_one_again(&key).await {
                Ok(()) => count += 1,
                Err(error) => tracing::warn!(%key, %error, "cannot seal a record with the present key"),
            }
        }
        if found > count {
            tracing::warn!(
                left = found - count,
                "records are still sealed with a former key; keep it, they are tried again"
            );
        } else if count > 0 {
            tracing::info!(count, "records were sealed with the present key, none is left");
        }
    }
}

impl Shared {
    async fn seal_one_again(&self, key: &Key) -> Result<(), Refusal> {
        let lease = self.wait_for_lease(&key.instance).await?;
        if let Some(held) = lease.lease() {
            self.records.seal_again(held, key).await?;
        }
        Ok(lease.release().await?)
    }

    /// Resumes the operation on `key`, if its lease is free. Returns whether nothing is left to do.
    async fn finish(&self, key: &Key) -> Result<bool, Refusal> {
        let Some(lease) = self.leases.acquire(&key.instance, Duration::ZERO).await? else { return Ok(false) };
        self.finish_leased(lease, key).await
    }

    /// Does the same under a lease. Reads the records again, because a request may have been faster.
    pub(super) async fn finish_leased(&self, lease: LeaseGuard, key: &Key) -> Result<bool, Refusal> {
        let Some(on) = self.records.instance(&key.instance).await? else {
            // A binding without an instance was queued while its instance was being deleted.
            let changes = key.binding.is_some().then(|| Change::Remove(key.clone()));
            lease.finish(changes.into_iter().collect()).await?;
            return Ok(true);
        };
        match &key.binding {
            None => self.finish_instance(lease, on).await?,
            Some(id) => match self.records.binding(&key.instance, id).await? {
                // The binding is resumed after the update of its instance.
                Some(record) if record.state == State::Creating && on.state == State::Updating => {
                    lease.release().await?;
                    return Ok(false);
                }
                Some(record) => self.finish_binding(lease, on, record).await?,
                None => lease.release().await?,
            },
        }
        Ok(true)
    }

    /// The retry policy of a resumed operation, for which no request waits.
    fn resumed(&self, operation: &Operation, on: &InstanceSpec) -> RetryPolicy {
        if operation.is_in_progress() && operation.is_asynchronous {
            self.retry_policy(operation, on)
        } else {
            RetryPolicy::Resumed
        }
    }

    async fn finish_instance(&self, lease: LeaseGuard, mut record: Instance) -> Result<(), Refusal> {
        let on = record.spec.clone();
        let retry_policy = self.resumed(&record.operation, &on);
        match record.state {
            State::Creating if record.operation.is_asynchronous => {
                self.run::<Provision>(lease, &on, record, retry_policy, None).await
            }
            State::Creating => self.give_up(lease, record).await,
            State::Updating => {
                // The caller got no answer, and may not want a partial change.
                if !record.operation.is_asynchronous
                    && let Some(change) = &mut record.change
                {
                    change.reverting.get_or_insert_with(|| Refusal::Interrupted.to_string());
                }
                match self.run::<Update>(lease, &on, record, retry_policy, None).await {
                    Err(Refusal::Update { is_taken_back: true, .. }) => Ok(()),
                    other => other,
                }
            }
            State::Deleting => self.run::<Deprovision>(lease, &on, record, retry_policy, None).await,
            State::Ready | State::Failed => Ok(lease.release().await?),
        }
    }

    async fn finish_binding(
        &self,
        lease: LeaseGuard,
        on: Instance,
        mut record: Binding,
    ) -> Result<(), Refusal> {
        let retry_policy = self.resumed(&record.operation, &on.spec);
        match record.state {
            State::Creating if record.operation.is_asynchronous && on.state == State::Ready => {
                if std::mem::take(&mut record.is_queued) {
                    lease.commit(vec![self.records.put(&record)]).await?;
                }
                self.run::<Bind>(lease, &on.spec, record, retry_policy, None).await.map(drop)
            }
            State::Creating => self.give_up(lease, record).await,
            State::Deleting => self.run::<Unbind>(lease, &on.spec, record, retry_policy, None).await,
            State::Ready | State::Failed | State::Updating => Ok(lease.release().await?),
        }
    }

    /// Marks a creation that no platform polls as failed: the platform repeats it or deletes what it left.
    async fn give_up(&self, lease: LeaseGuard, mut record: impl Record) -> Result<(), Refusal> {
        record.set_state(State::Failed);
        record.operation_mut().outcome = Outcome::Failed(Refusal::Interrupted.to_string());
        Ok(lease.finish(vec![self.records.put(&record)]).await?)
    }
}
