//! Idle sessions, kept for a while for the next request.

use std::time::Duration;

use tokio::time::Instant;

/// The number of sessions kept. With fewer than there are concurrent requests, most requests log in anew, which costs
/// as much as their work.
const IDLE_SESSIONS: usize = 16;
/// A session that was idle for longer may be dead without notice.
const IDLE_TIME: Duration = Duration::from_mins(1);

/// Idle sessions, each with the time since when it is idle.
pub(crate) struct Idle<T>(Vec<(Instant, T)>);

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Idle<T> {
    /// Takes the most recent session that is still `usable`; drops unusable and expired ones. The most recent one
    /// never expires: if clients use all other connections of the server, it is bindery's only access.
    pub(crate) fn take(&mut self, usable: impl Fn(&T) -> bool) -> Option<T> {
        self.0.retain(|(_, kept)| usable(kept));
        let last = self.0.len().saturating_sub(1);
        let fresh = self.0.iter().position(|(since, _)| since.elapsed() < IDLE_TIME).unwrap_or(last);
        self.0.drain(..fresh);
        self.0.pop().map(|(_, kept)| kept)
    }

    pub(crate) fn put(&mut self, kept: T) {
        if self.0.len() < IDLE_SESSIONS {
            self.0.push((Instant::now(), kept));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_for_long_or_unusable_is_not_used_again() {
        let mut idle = Idle::default();
        idle.put(1);
        tokio::time::advance(IDLE_TIME / 2).await;
        idle.put(2);
        idle.put(3);
        assert_eq!(idle.take(|kept| *kept != 3), Some(2));
        assert_eq!(idle.0.len(), 1);
        for each in 0..2 * IDLE_SESSIONS {
            idle.put(each);
        }
        assert_eq!(idle.0.len(), IDLE_SESSIONS);
        tokio::time::advance(IDLE_TIME).await;
        assert!(idle.take(|_| true).is_some());
        assert_eq!(idle.take(|_| true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_usable_session_is_kept_however_long_it_is_idle() {
        let mut idle = Idle::default();
        idle.put(1);
        idle.put(2);
        idle.put(3);
        tokio::time::advance(10 * IDLE_TIME).await;
        assert_eq!(idle.take(|kept| *kept != 3), Some(2));
        assert_eq!(idle.take(|_| true), None);
        idle.put(4);
        assert_eq!(idle.take(|kept| *kept != 4), None);
    }
}
