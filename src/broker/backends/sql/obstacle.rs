//! Retries while an obstacle is temporary, and the error when it is not.

use std::{fmt, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

use super::settings::ServerSettings;
use crate::broker::backends::ServiceError;

/// Most temporary obstacles are gone after three seconds.
const TRIES: usize = 6;
/// A server at its connection limit has room again as soon as a client disconnects; a request has time to wait this
/// long.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// The kind of an obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A retry fails in the same way.
    Lasting,
    /// A retry may succeed.
    Passing,
    /// The server accepts no further connection at present, or none yet.
    NoRoom,
}

/// An engine's error, as the retries and the text for users need it.
pub(super) trait Failure: fmt::Display {
    /// Whether to retry the work.
    fn obstacle(&self) -> Obstacle;
    /// The text for users: without address, account, file or error code.
    fn user_message(&self) -> String;
    /// Whether an asynchronous operation retries later, although an immediate retry is pointless.
    fn waits(&self) -> bool;
    /// Whether the resource of that name does not carry the installation's mark.
    fn is_foreign(&self) -> bool;
    /// Whether the contents of the user's instance prevent the work.
    fn is_refusal(&self) -> bool {
        false
    }
}

/// Retries the work while an obstacle is temporary. `notice` receives each error before the retry.
pub(super) async fn persist<T, E, F>(work: impl FnMut() -> F, mut notice: impl FnMut(&E)) -> Result<T, E>
where
    E: Failure,
    F: Future<Output = Result<T, E>>,
{
    let mut patience = Patience::default();
    let is_worth_it = |error: &E| patience.allows(error.obstacle());
    work.retry(Patience::pauses()).when(is_worth_it).notify(|error: &E, _| notice(error)).await
}

/// Converts an error: a text for users, and one for the log that names the server.
pub(super) fn service_error(server: &ServerSettings, error: &impl Failure) -> ServiceError {
    let is_passing = error.obstacle() != Obstacle::Lasting || error.waits();
    let converted = ServiceError::new(server.address(), error.user_message()).detailed(error);
    let converted = if error.is_refusal() { converted.refusal() } else { converted };
    let converted = if error.is_foreign() { converted.foreign() } else { converted };
    if is_passing { converted.passing() } else { converted }
}

/// The retry budget of one piece of work.
struct Patience {
    since: Instant,
    tries: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self { since: Instant::now(), tries: 0 }
    }
}

impl Patience {
    /// The pauses between tries; [`Patience::allows`] decides when they end.
    fn pauses() -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .with_jitter()
    }

    /// Whether to retry after this obstacle.
    fn allows(&mut self, obstacle: Obstacle) -> bool {
        self.tries += 1;
        match obstacle {
            Obstacle::Lasting => false,
            Obstacle::Passing => self.tries <= TRIES,
            Obstacle::NoRoom => self.since.elapsed() < ROOM_WITHIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lasting_errors_are_reported_at_once_and_a_full_server_is_retried() {
        assert!(!Patience::default().allows(Obstacle::Lasting));
        let mut patience = Patience::default();
        assert!((0..TRIES).all(|_| patience.allows(Obstacle::Passing)));
        assert!(!patience.allows(Obstacle::Passing));
        assert!(patience.allows(Obstacle::NoRoom));
        tokio::time::advance(ROOM_WITHIN).await;
        assert!(!patience.allows(Obstacle::NoRoom));
    }
}
