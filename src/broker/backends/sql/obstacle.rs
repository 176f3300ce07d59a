//! How long work on a server is repeated while an obstacle passes by itself, and what is told when it does not.

use std::{fmt, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

use super::settings::ServerSettings;
use crate::broker::backends::ServiceError;

/// What passes is mostly gone after three seconds.
const TRIES: usize = 6;
/// A server that has no connection left gets one as soon as some client ends its session; a request has time for so long.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// An obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The work fails in the same way again.
    Lasting,
    /// It passes.
    Passing,
    /// The server takes no further connection at present, or does not take any yet.
    NoRoom,
}

/// An engine's error, as the retries and the user's text need it.
pub(super) trait Failure: fmt::Display {
    /// Whether the same work is worth another try.
    fn obstacle(&self) -> Obstacle;
    /// The same for users: no address, account, file or error code.
    fn told(&self) -> String;
    /// Whether an operation goes on trying although it is not worth another try now.
    fn waits(&self) -> bool;
    /// Whether what stands under the name does not carry the installation's mark.
    fn is_foreign(&self) -> bool;
    /// Whether what the user has in the instance is in the way.
    fn is_refusal(&self) -> bool {
        false
    }
}

/// Does the work again while what stands in its way passes by itself. `notice` sees each failure that is worth another try.
pub(super) async fn persist<T, E, F>(work: impl FnMut() -> F, mut notice: impl FnMut(&E)) -> Result<T, E>
where
    E: Failure,
    F: Future<Output = Result<T, E>>,
{
    let mut patience = Patience::default();
    let is_worth_it = |error: &E| patience.allows(error.obstacle());
    work.retry(Patience::pauses()).when(is_worth_it).notify(|error: &E, _| notice(error)).await
}

/// What remains of a failure: a text for users, and one for the log that names the server.
pub(super) fn service_error(server: &ServerSettings, error: &impl Failure) -> ServiceError {
    let is_passing = error.obstacle() != Obstacle::Lasting || error.waits();
    let told = ServiceError::new(server.address(), error.told()).detailed(error);
    let told = if error.is_refusal() { told.refusal() } else { told };
    let told = if error.is_foreign() { told.foreign() } else { told };
    if is_passing { told.passing() } else { told }
}

/// One piece of work, from its first try on.
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
    /// The pauses between tries; [`Patience::allows`] ends them.
    fn pauses() -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .with_jitter()
    }

    /// Whether the work is worth another try after this obstacle.
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
    async fn what_lasts_is_told_at_once_and_a_full_server_is_waited_for() {
        assert!(!Patience::default().allows(Obstacle::Lasting));
        let mut patience = Patience::default();
        assert!((0..TRIES).all(|_| patience.allows(Obstacle::Passing)));
        assert!(!patience.allows(Obstacle::Passing));
        assert!(patience.allows(Obstacle::NoRoom));
        tokio::time::advance(ROOM_WITHIN).await;
        assert!(!patience.allows(Obstacle::NoRoom));
    }
}
