//! Requests that wait for their turn at a broker. It gets only so many at a time; the others wait as long as it gets
//! along, for to give up and to try again would cost more than to wait.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

/// How many requests one broker gets at the same time.
pub(super) const CONCURRENCY: usize = 16;
/// How long none of them may end before those that wait give up. Whoever waits takes the place of a reconcile that could
/// ask another broker.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);
/// How long a request waits at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The queue before one broker, first come, first served.
#[derive(Debug)]
pub(super) struct Queue {
    turns: Semaphore,
    /// How many requests have ended.
    ended: AtomicU64,
}

/// Leave to ask until this is dropped.
pub(super) struct Turn<'q> {
    queue: &'q Queue,
    _permit: SemaphorePermit<'q>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(CONCURRENCY), ended: AtomicU64::new(0) }
    }

    /// Waits for the turn; `None` if the broker is too slow.
    pub(super) async fn take(&self) -> Option<Turn<'_>> {
        let end = Instant::now() + LONGEST_WAIT;
        let mut permit = pin!(self.turns.acquire());
        loop {
            let ended = self.ended.load(Ordering::Relaxed);
            if let Ok(permit) = timeout(LONGEST_SILENCE, &mut permit).await {
                return Some(Turn { queue: self, _permit: permit.ok()? });
            }
            if self.ended.load(Ordering::Relaxed) == ended || Instant::now() >= end {
                return None;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.turns.available_permits() == 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    /// So many requests as one, each of which takes so long; how many got their turn.
    async fn asked(requests: usize, takes: Duration) -> usize {
        let queue = Arc::new(Queue::new());
        let mut tasks = JoinSet::new();
        for _ in 0..requests {
            let queue = queue.clone();
            tasks.spawn(async move {
                let turn = queue.take().await;
                if turn.is_some() {
                    sleep(takes).await;
                }
                turn.is_some()
            });
        }
        tasks.join_all().await.into_iter().filter(|had| *had).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_as_long_as_those_before_it_are_answered() {
        assert_eq!(asked(CONCURRENCY * 12, Duration::from_millis(700)).await, CONCURRENCY * 12);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_broker_that_hangs_or_very_long() {
        assert_eq!(asked(CONCURRENCY * 3, Duration::from_secs(50)).await, CONCURRENCY);
        let in_time = asked(CONCURRENCY * 40, Duration::from_millis(700)).await;
        assert!((CONCURRENCY * 14..CONCURRENCY * 17).contains(&in_time), "{in_time}");
    }
}
