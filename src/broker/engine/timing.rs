//! How long a broker waits for what.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A request waits so long for another one on the same instance, before it is told to come again.
    pub queue: Duration,
    /// A platform that is ready to poll is told to after this.
    pub answer: Duration,
    /// A backend that has not answered a call by then will not.
    pub call: Duration,
    /// What is halted, or stopped with the broker, may take so long to end the call it is in.
    pub halt: Duration,
    /// The first pause before an asynchronous operation tries again; the following ones double.
    pub first_pause: Duration,
    /// The longest such pause, and the longest between looking for what an interruption left.
    pub longest_pause: Duration,
    /// An asynchronous operation that goes on for longer has failed, unless its plan says how long to poll.
    pub give_up: Duration,
    /// When nothing is left to finish: how often to look.
    pub idle: Duration,
    /// How often to look for credentials that are past their time; they outlast it by this much at most.
    pub expiry: Duration,
    /// How long it is remembered that an asynchronous delete is done.
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
