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
pub(super) struct SecretChecks(Mutex<HashMap<String, Check>>);

#[derive(Debug)]
struct Check {
    due: Instant,
    /// The value of the annotation `bindery.dev/reconcile` at the last check. Another value requests a check.
    asked: Option<String>,
}

impl SecretChecks {
    /// The time until the next check; zero when it is due or requested. After a start the first checks are spread over the whole
    /// interval.
    pub(super) fn until_due(&self, uid: &str, asked: Option<&str>) -> Duration {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let check = checks.entry(uid.to_owned()).or_insert_with(|| Check {
            due: Instant::now() + CHECK_INTERVAL.mul_f64(rand::random::<f64>()),
            asked: asked.map(str::to_owned),
        });
        if check.asked.as_deref() != asked {
            return Duration::ZERO;
        }
        check.due.saturating_duration_since(Instant::now())
    }

    /// Whether the annotation requests a check. The value that it had when bindery first saw the binding requests none.
    pub(super) fn is_requested(&self, uid: &str, asked: Option<&str>) -> bool {
        self.until_due(uid, asked);
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.get(uid).is_some_and(|check| check.asked.as_deref() != asked)
    }

    /// Records a check, and returns the time until the next one.
    pub(super) fn checked(&self, uid: &str, asked: Option<&str>) -> Duration {
        let wait = CHECK_INTERVAL.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        let check = Check { due: Instant::now() + wait, asked: asked.map(str::to_owned) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), check);
        wait
    }

    /// Makes the next check due now.
    pub(super) fn make_due(&self, uid: &str) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = checks.get_mut(uid) {
            check.due = Instant::now();
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
    fn a_new_annotation_requests_a_check_at_once() {
        let checks = SecretChecks::default();
        assert!(checks.until_due("a", None) <= CHECK_INTERVAL);
        assert!(checks.checked("a", None) > CHECK_INTERVAL / 2);
        assert!(checks.until_due("a", None) > Duration::ZERO);
        assert_eq!(checks.until_due("a", Some("1")), Duration::ZERO);
        checks.checked("a", Some("1"));
        assert!(checks.until_due("a", Some("1")) > Duration::ZERO);
        checks.make_due("a");
        assert_eq!(checks.until_due("a", Some("1")), Duration::ZERO);
        checks.checked("a", Some("1"));
        assert!(checks.until_due("a", Some("1")) > Duration::ZERO);
    }
}
