//! When the Secrets of each binding are checked again: lost and changed Secrets are found by reads spread over time, because the
//! catalog may neither list nor watch Secrets.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The average interval between two checks of a binding's Secrets.
const CHECK_INTERVAL: Duration = Duration::from_mins(10);

/// The next check of each binding, by the binding's uid.
#[derive(Debug, Default)]
pub(super) struct SecretChecks(Mutex<HashMap<String, Instant>>);

impl SecretChecks {
    /// The time until the next check; zero when it is due. After a start the first checks are spread over the whole interval.
    pub(super) fn until_due(&self, uid: &str) -> Duration {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Instant::now() + CHECK_INTERVAL.mul_f64(rand::random::<f64>());
        checks.entry(uid.to_owned()).or_insert_with(first).saturating_duration_since(Instant::now())
    }

    /// Records a check, and returns the time until the next one.
    pub(super) fn checked(&self, uid: &str) -> Duration {
        let wait = CHECK_INTERVAL.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), Instant::now() + wait);
        wait
    }

    /// Makes the next check due now.
    pub(super) fn make_due(&self, uid: &str) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = checks.get_mut(uid) {
            *due = Instant::now();
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_due_after_an_interval_or_when_a_secret_is_lost() {
        let checks = SecretChecks::default();
        assert!(checks.until_due("a") <= CHECK_INTERVAL);
        assert!(checks.checked("a") > CHECK_INTERVAL / 2);
        assert!(checks.until_due("a") > Duration::ZERO);
        checks.make_due("a");
        assert_eq!(checks.until_due("a"), Duration::ZERO);
        checks.checked("a");
        assert!(checks.until_due("a") > Duration::ZERO);
    }
}
