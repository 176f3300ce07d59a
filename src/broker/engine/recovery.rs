//! Finishing the deletes that were begun and failed, or that the last run was killed in: nobody may need what is left, and
//! the platform may not ask again. Creates are left to the platform, which repeats or deletes them.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    super::store::{BegunDelete, State, StoreError},
    Engine, Refusal,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// When none is left: a delete that fails from now on is taken up after this.
const IDLE_PAUSE: Duration = Duration::from_secs(30);

impl Engine {
    /// Finishes the deletes that were begun, however long their backends stay away, and looks for more until it is stopped.
    pub(crate) async fn recover(&self, stop: CancellationToken) {
        let pauses = || {
            ExponentialBuilder::default()
                .with_min_delay(FIRST_PAUSE)
                .with_max_delay(LONGEST_PAUSE)
                .without_max_times()
                .with_jitter()
                .build()
        };
        let mut growing = pauses();
        while !stop.is_cancelled() {
            let pause = match self.finish_deletes(&stop).await {
                Ok(0) => {
                    growing = pauses();
                    IDLE_PAUSE
                }
                Ok(left) => {
                    tracing::debug!(left, "deletes are not finished; trying again");
                    growing.next().unwrap_or(LONGEST_PAUSE)
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for deletes that were begun; trying again");
                    growing.next().unwrap_or(LONGEST_PAUSE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries each delete once, until it is stopped; answers how many are left, those among them that a request has in hand.
    pub(crate) async fn finish_deletes(&self, stop: &CancellationToken) -> Result<usize, StoreError> {
        let begun = self.0.store.begun_deletes().await?;
        let mut left = begun.len();
        for begun in begun {
            if stop.is_cancelled() {
                break;
            }
            let BegunDelete { instance, binding } = &begun;
            let binding = binding.as_ref().map(tracing::field::display);
            match self.finish(begun.clone()).await {
                Ok(()) => {
                    tracing::info!(%instance, binding, "finished a delete that was begun earlier");
                    left -= 1;
                }
                Err(Refusal::Concurrency(_)) => {}
                Err(error) => {
                    tracing::warn!(%instance, binding, %error, "cannot finish a delete that was begun earlier; it is tried again");
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
