//! A lock for each key, held by a reconciler while it sends requests about an id to a broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Locks by key. Without the lock of an id, the deletion for an ExternalResource could overtake the creation that it is meant to
/// undo.
#[derive(Debug, Default)]
pub(super) struct KeyedLock(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl KeyedLock {
    /// Waits for the lock of this key, and holds it until the guard is dropped.
    pub(super) async fn lock(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            // Nothing panics while it holds the mutex, and the map stays consistent after any panic.
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            locks.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(name.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_key_is_locked_by_one_at_a_time() {
        let locks = KeyedLock::default();
        let mine = locks.lock("a").await;
        let other = locks.lock("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(20), locks.lock("a")).await.is_err());
        drop((mine, other));
        drop(locks.lock("a").await);
    }
}
