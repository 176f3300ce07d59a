//! How long to wait before trying again: growing per object, with jitter, forgotten on success. And whose turn it is
//! when two reconcilers could ask a broker about the same id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first and the longest wait.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(3);

/// The waits of all objects that fail, by uid.
#[derive(Debug, Default)]
pub(super) struct Retries(Mutex<HashMap<String, Waits>>);

#[derive(Debug)]
struct Waits {
    generation: Option<i64>,
    next: ExponentialBackoff,
}

impl Retries {
    /// How long to wait now. A new generation starts from the shortest wait.
    pub(super) fn next(&self, uid: &str, generation: Option<i64>) -> Duration {
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

    /// The object is well again, or gone.
    pub(super) fn forget(&self, uid: &str) {
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

/// Turns by name: whoever asks a broker about an id holds the id's turn meanwhile. Otherwise the deletion of a claim
/// could overtake the creation that it is meant to undo.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn and takes it until the guard is dropped.
    pub(super) async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = locked(&self.0);
            turns.retain(|_, turn| turn.strong_count() > 0);
            turns.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(name.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these locks, and a map is whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_start_anew() {
        let retries = Retries::default();
        let mut wait = Duration::ZERO;
        assert!(retries.next("a", Some(1)) < 3 * SHORTEST);
        for _ in 0..20 {
            wait = retries.next("a", Some(1));
        }
        assert!(wait >= LONGEST && wait <= 2 * LONGEST, "{wait:?}");
        assert!(retries.next("b", Some(1)) < 3 * SHORTEST, "another object has waits of its own");
        assert!(retries.next("a", Some(2)) < 3 * SHORTEST, "a new spec is tried at once");
        retries.next("a", Some(2));
        retries.forget("a");
        assert!(retries.next("a", Some(2)) < 3 * SHORTEST);
    }

    #[tokio::test]
    async fn a_turn_is_given_to_one_at_a_time() {
        let turns = Turns::default();
        let mine = turns.take("a").await;
        let other = turns.take("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(20), turns.take("a")).await.is_err());
        drop((mine, other));
        drop(turns.take("a").await);
    }
}
