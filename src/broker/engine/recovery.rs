//! Going on with what was begun: operations that the last run, or another broker of the store, was killed in, and deletes
//! that failed. Creations that no platform polls are marked as failed, for the platform repeats or deletes them.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use tokio::time::timeout;

use super::{
    super::{
        backends::InstanceSpec,
        store::{
            Change, Key, State, StoreError,
            records::{Binding, Instance, Operation, Outcome},
        },
    },
    Engine, Refusal, Shared,
    driver::RetryPolicy,
    leases::Held,
};

/// So many are begun at once, so that requests find room beside them.
const AT_ONCE: usize = 32;

impl Engine {
    /// Finishes what was begun, however long the backends stay away, and looks for more until it is stopped.
    pub(crate) async fn recover(&self) {
        let timing = self.0.timing;
        let pauses = || {
            ExponentialBuilder::default()
                .with_min_delay(timing.first_pause)
                .with_max_delay(timing.longest_pause)
                .without_max_times()
                .with_jitter()
                .build()
        };
        let mut growing = pauses();
        let stop = self.0.stop.clone();
        while !stop.is_cancelled() {
            let pause = match self.finish_all().await {
                Ok(0) => {
                    growing = pauses();
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
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Goes on with each; answers how many are left, those among them that somebody has in hand and those that take long.
    pub(crate) async fn finish_all(&self) -> Result<usize, StoreError> {
        if let Err(error) = self.0.records.store.forget_tombstones(self.0.timing.remember).await {
            tracing::warn!(%error, "cannot forget deletes that ended long ago");
        }
        let unfinished = self.0.records.store.unfinished().await?;
        let finishing = unfinished.into_iter().map(async |key| {
            let engine = self.clone();
            let running = self.0.operations.spawn(async move { engine.finish_one(key).await });
            // What takes long goes on by itself.
            timeout(self.0.timing.answer, running).await
        });
        let ended = futures::stream::iter(finishing).buffer_unordered(AT_ONCE);
        Ok(ended.filter(|ended| std::future::ready(!matches!(ended, Ok(Ok(true))))).count().await)
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

    /// Seals with the present key what a former one sealed, as often as there is something: brokers beside may not have the
    /// present key yet.
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
        let held = self.queue(&key.instance).await?;
        if let Some(hold) = held.hold() {
            self.records.seal_again(hold, key).await?;
        }
        Ok(held.release().await?)
    }

    /// Whether nothing is left to do. Looks again under the hold: a request may have been faster.
    async fn finish(&self, key: &Key) -> Result<bool, Refusal> {
        let Some(held) = self.holds.take(&key.instance, Duration::ZERO).await? else { return Ok(false) };
        self.finish_held(held, key).await
    }

    /// The same, of an instance that this broker holds.
    pub(super) async fn finish_held(&self, held: Held, key: &Key) -> Result<bool, Refusal> {
        let Some(on) = self.records.instance(&key.instance).await? else {
            // Of a binding this is what was recorded beside the end of its instance's delete.
            let changes = key.binding.is_some().then(|| Change::Remove(key.clone()));
            held.conclude(changes.into_iter().collect()).await?;
            return Ok(true);
        };
        match &key.binding {
            None => self.finish_instance(held, on).await?,
            Some(id) => match self.records.binding(&key.instance, id).await? {
                // It is taken up when the instance is as it was, or as it is to be.
                Some(record) if record.state == State::Creating && on.state == State::Updating => {
                    held.release().await?;
                    return Ok(false);
                }
                Some(record) => self.finish_binding(held, on, record).await?,
                None => held.release().await?,
            },
        }
        Ok(true)
    }

    /// Nobody waits for what is taken up.
    fn resumed(&self, operation: &Operation, of: &InstanceSpec) -> RetryPolicy {
        if operation.is_in_progress() && operation.is_asynchronous {
            self.retry_policy(operation, of)
        } else {
            RetryPolicy::Retried
        }
    }

    async fn finish_instance(&self, held: Held, mut record: Instance) -> Result<(), Refusal> {
        let retry_policy = self.resumed(&record.operation, &record.spec);
        match record.state {
            State::Creating if record.operation.is_asynchronous => {
                self.create_instance(held, record, retry_policy).await
            }
            State::Creating => {
                record.state = State::Failed;
                record.operation.outcome = Outcome::Failed(Refusal::Interrupted.to_string());
                Ok(held.conclude(vec![self.records.put_instance(&record)]).await?)
            }
            State::Updating => match self.resume_change(held, record, retry_policy).await {
                Err(Refusal::Update { is_taken_back: true, .. }) => Ok(()),
                other => other,
            },
            State::Deleting => self.delete_instance(held, record, retry_policy).await,
            State::Ready | State::Failed => Ok(held.release().await?),
        }
    }

    /// Takes a change back whose caller was left without an answer: it may not have wanted half of it.
    async fn resume_change(
        &self,
        held: Held,
        mut record: Instance,
        retry_policy: RetryPolicy,
    ) -> Result<(), Refusal> {
        if !record.operation.is_asynchronous
            && let Some(change) = &mut record.change
        {
            change.reverting.get_or_insert_with(|| Refusal::Interrupted.to_string());
        }
        self.change_instance(held, record, retry_policy).await
    }

    async fn finish_binding(&self, held: Held, on: Instance, mut record: Binding) -> Result<(), Refusal> {
        let retry_policy = self.resumed(&record.operation, &on.spec);
        match record.state {
            State::Creating if record.operation.is_asynchronous && on.state == State::Ready => {
                if std::mem::take(&mut record.is_queued) {
                    held.commit(vec![self.records.put_binding(&record)]).await?;
                }
                self.create_binding(held, &on, record, retry_policy).await.map(drop)
            }
            State::Creating => {
                record.state = State::Failed;
                record.operation.outcome = Outcome::Failed(Refusal::Interrupted.to_string());
                Ok(held.conclude(vec![self.records.put_binding(&record)]).await?)
            }
            State::Deleting => self.delete_binding(held, &on, record, retry_policy).await,
            State::Ready | State::Failed | State::Updating => Ok(held.release().await?),
        }
    }
}
