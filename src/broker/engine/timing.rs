//! Time limits and intervals of the engine.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The time limits and intervals of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a request waits for another one on the same instance before it is rejected.
    pub queue: Duration,
    /// A platform that can poll gets 202 after this time; a request of one that cannot waits this long for a busy
    /// backend.
    pub answer: Duration,
    /// How long a call to a backend may take.
    pub call: Duration,
    /// How long the current call of an interrupted or stopped operation may continue.
    pub halt: Duration,
    /// The first pause before a retry of an asynchronous operation; the following pauses double.
    pub first_pause: Duration,
    /// The longest such pause, and the longest between two runs of recovery.
    pub longest_pause: Duration,
    /// How long an asynchronous operation retries if its plan has no maximum polling duration.
    pub give_up: Duration,
    /// The interval of recovery when nothing is unfinished.
    pub idle: Duration,
    /// The interval of the check for expired credentials; credentials outlive their expiry by at most this time.
    pub expiry: Duration,
    /// How long tombstones of asynchronous deletes are kept.
    pub remember: Duration,
}

impl Timing {
    /// The pauses between retries, without end.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            // CockroachDB may take five minutes to change a role; its provider's timeout is six.
            call: Duration::from_mins(10),
            halt: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(5),
            give_up: Duration::from_hours(1),
            idle: Duration::from_secs(30),
            expiry: Duration::from_secs(5),
            remember: Duration::from_hours(7 * 24),
        }
    }
}
