//! Time limits and intervals of the engine.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a request waits for another one on the same instance before it is refused.
    pub queue: Duration,
    /// A platform that can poll gets 202 after this; one that cannot waits this long for a busy backend.
    pub answer: Duration,
    /// How long a call to a backend may take.
    pub call: Duration,
    /// How long the current call of an operation may take that is halted or stopped.
    pub halt: Duration,
    /// The first pause before a retry of an asynchronous operation; the following ones double.
    pub first_pause: Duration,
    /// The longest such pause, and the longest between two runs of recovery.
    pub longest_pause: Duration,
    /// When an asynchronous operation fails whose plan does not say how long to poll.
    pub give_up: Duration,
    /// The interval of recovery when nothing is unfinished.
    pub idle: Duration,
    /// The interval of looking for expired credentials; they outlast their time by this much at most.
    pub expiry: Duration,
    /// How long tombstones of asynchronous deletes are kept.
    pub remember: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            // CockroachDB may take five minutes to change a role; its provider gives up after six.
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
