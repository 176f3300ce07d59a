//! The exponential backoff of retries: the numbers, and the state of each object, which a success resets. For
//! controllers; `broker::engine::timing` has the numbers of the broker.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first delay. Each further delay doubles, with jitter.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_mins(3);

/// The backoff of all objects that fail, by uid.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, Waits>>);

#[derive(Debug)]
struct Waits {
    generation: Option<i64>,
    next: ExponentialBackoff,
}

impl Retries {
    /// The delay before the next retry. A new generation starts with the first delay.
    pub fn next(&self, uid: &str, generation: Option<i64>) -> Duration {
        let mut waits = locked(&self.0);
        let entry = waits
            .entry(uid.to_owned())
            .and_modify(|waits| {
                if waits.generation != generation {
                    *waits = Waits::new(generation);
                }
            })
            .or_insert_with(|| Waits::new(generation));
        entry.next.next().unwrap_or(MAX_DELAY)
    }

    /// Resets the backoff of an object that succeeded or is gone.
    pub fn forget(&self, uid: &str) {
        locked(&self.0).remove(uid);
    }
}

impl Waits {
    fn new(generation: Option<i64>) -> Self {
        let next = ExponentialBuilder::new()
            .with_min_delay(MIN_DELAY)
            .with_max_delay(MAX_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        Self { generation, next }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds these locks, and the map stays consistent after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_reset() {
        let retries = Retries::default();
        let mut wait = Duration::ZERO;
        assert!(retries.next("a", Some(1)) < 3 * MIN_DELAY);
        for _ in 0..20 {
            wait = retries.next("a", Some(1));
        }
        assert!(wait >= MAX_DELAY && wait <= 2 * MAX_DELAY, "{wait:?}");
        assert!(retries.next("b", Some(1)) < 3 * MIN_DELAY, "another object has waits of its own");
        assert!(retries.next("a", Some(2)) < 3 * MIN_DELAY, "a new spec is tried at once");
        retries.next("a", Some(2));
        retries.forget("a");
        assert!(retries.next("a", Some(2)) < 3 * MIN_DELAY);
    }
}
