//! What a start does about operations that the last run was killed in. Deletes are finished: nobody may need what is left,
//! and the platform may not ask again. Creates are left to the platform, which repeats or deletes them.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    super::store::{BegunDelete, State, StoreError},
    Engine, Refusal,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

impl Engine {
    /// Finishes the deletes that were begun, however long their backends stay away.
    pub(crate) async fn recover(&self, stop: CancellationToken) {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter()
            .build();
        loop {
            match self.finish_deletes().await {
                Ok(0) => return,
                Ok(left) => {
                    tracing::warn!(left, "deletes that an earlier run began are not finished; trying again");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for deletes that an earlier run began; trying again");
                }
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries each delete once; answers how many are left.
    pub(crate) async fn finish_deletes(&self) -> Result<usize, StoreError> {
        let mut left = 0;
        for begun in self.0.store.begun_deletes().await? {
            let BegunDelete { instance, binding } = &begun;
            let binding = binding.as_ref().map(tracing::field::display);
            match self.finish(begun.clone()).await {
                Ok(()) => tracing::info!(%instance, binding, "finished a delete that an earlier run began"),
                // A request has it in hand.
                Err(Refusal::Concurrency(_)) => {}
                Err(error) => {
                    tracing::warn!(%instance, binding, %error, "cannot finish a delete that an earlier run began");
                    left += 1;
                }
            }
        }
        Ok(left)
    }

    async fn finish(&self, BegunDelete { instance, binding }: BegunDelete) -> Result<(), Refusal> {
        self.detached(async move |engine| {
            let _held =
                engine.locks.try_hold(&instance).ok_or_else(|| Refusal::Concurrency(instance.clone()))?;
            // Looked up again under the lock: a request may have been faster.
            let Some(on) = engine.store.instance(&instance).await? else { return Ok(()) };
            match binding {
                None if on.state == State::Deleting => engine.remove_instance(on).await,
                None => Ok(()),
                Some(binding) => match engine.store.binding(&instance, &binding).await? {
                    Some(record) if record.state == State::Deleting => {
                        engine.remove_binding(engine.provider(&on.server)?, record).await
                    }
                    _ => Ok(()),
                },
            }
        })
        .await
    }
}
