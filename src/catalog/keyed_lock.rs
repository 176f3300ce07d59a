//! A lock for each id: two reconcilers never ask a broker about the same id concurrently.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The locks by name. A reconciler holds the lock of an id while it asks a broker about that id. Otherwise the
/// deletion of an ExternalResource could overtake the creation that it must undo.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the lock and holds it until the guard is dropped.
    pub(super) async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            // Nothing panics while it holds the mutex, and the map stays consistent after any panic.
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_one_task_holds_a_lock() {
        let turns = Turns::default();
        let mine = turns.take("a").await;
        let other = turns.take("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(20), turns.take("a")).await.is_err());
        drop((mine, other));
        drop(turns.take("a").await);
    }
}
