//! Exponential backoff for each object, with jitter, reset on success.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first wait and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(3);

/// The waits of all failing objects, by uid.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, Waits>>);

#[derive(Debug)]
struct Waits {
    generation: Option<i64>,
    next: ExponentialBackoff,
}

impl Retries {
    /// The next wait. A new generation starts from the shortest wait.
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
        entry.next.next().unwrap_or(LONGEST)
    }

    /// Forgets an object that succeeded or is gone.
    pub fn forget(&self, uid: &str) {
        locked(&self.0).remove(uid);
    }
}

impl Waits {
    fn new(generation: Option<i64>) -> Self {
        let next = ExponentialBuilder::new()
            .with_min_delay(SHORTEST)
            .with_max_delay(LONGEST)
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
        assert!(retries.next("a", Some(1)) < 3 * SHORTEST);
        for _ in 0..20 {
            wait = retries.next("a", Some(1));
        }
        assert!(wait >= LONGEST && wait <= 2 * LONGEST, "{wait:?}");
        assert!(retries.next("b", Some(1)) < 3 * SHORTEST, "another object has its own waits");
        assert!(retries.next("a", Some(2)) < 3 * SHORTEST, "a new spec is tried at once");
        retries.next("a", Some(2));
        retries.forget("a");
        assert!(retries.next("a", Some(2)) < 3 * SHORTEST);
    }
}
