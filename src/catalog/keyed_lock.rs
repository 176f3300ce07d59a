//! Whose turn it is when two reconcilers could ask a broker about the same id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Turns by name: whoever asks a broker about an id holds the id's turn meanwhile. Otherwise the deletion of an external resource
/// could overtake the creation that it is meant to undo.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn and takes it until the guard is dropped.
    pub(super) async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            // Nothing panics while holding the lock, and a map is whole after any panic.
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
    async fn a_turn_is_given_to_one_at_a_time() {
        let turns = Turns::default();
        let mine = turns.take("a").await;
        let other = turns.take("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(20), turns.take("a")).await.is_err());
        drop((mine, other));
        drop(turns.take("a").await);
    }
}
