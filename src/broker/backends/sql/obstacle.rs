//! How long work on a server is repeated while an obstacle passes by itself.

use std::time::Duration;

use backon::ExponentialBuilder;
use tokio::time::Instant;

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

/// One piece of work, from its first try on.
pub(crate) struct Patience {
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
    pub(crate) fn pauses() -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .with_jitter()
    }

    /// Whether the work is worth another try after this obstacle.
    pub(crate) fn allows(&mut self, obstacle: Obstacle) -> bool {
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
