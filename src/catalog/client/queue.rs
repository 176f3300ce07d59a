//! The queue of requests to a broker. A broker gets a limited number of requests at a time. The others wait while the
//! broker keeps answering, because waiting costs less than giving up and retrying.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

/// How many concurrent requests one broker gets.
pub(super) const CONCURRENCY: usize = 16;
/// How many requests may run or wait. Each waiting request occupies a reconcile that could ask another broker.
const PLACES: usize = CONCURRENCY + 64;
/// How long a request waits for a place in the queue.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// How long the broker may give no answer before waiting requests give up.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
/// How long a request waits for its turn at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The queue of one broker, first come, first served.
#[derive(Debug)]
pub(in crate::catalog) struct Queue {
    places: Semaphore,
    turns: Semaphore,
    /// The number of answered requests.
    answered: AtomicU64,
}

/// Permission to send a request, valid until dropped.
pub(super) struct Turn<'q> {
    queue: &'q Queue,
    _permits: [SemaphorePermit<'q>; 2],
}

impl Default for Queue {
    fn default() -> Self {
        let (places, turns) = (Semaphore::new(PLACES), Semaphore::new(CONCURRENCY));
        Self { places, turns, answered: AtomicU64::new(0) }
    }
}

impl Queue {
    /// Waits for the turn. Returns `None` if the broker is too slow.
    pub(super) async fn take(&self) -> Option<Turn<'_>> {
        let place = timeout(PLACE_WAIT, self.places.acquire()).await.ok()?.ok()?;
        let end = Instant::now() + LONGEST_WAIT;
        let mut turn = pin!(self.turns.acquire());
        loop {
            let answered = self.answered.load(Ordering::Relaxed);
            let patience = end.saturating_duration_since(Instant::now()).min(LONGEST_SILENCE);
            if let Ok(turn) = timeout(patience, &mut turn).await {
                return Some(Turn { queue: self, _permits: [turn.ok()?, place] });
            }
            if self.answered.load(Ordering::Relaxed) == answered || Instant::now() >= end {
                return None;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.turns.available_permits() == 0
    }
}

impl Turn<'_> {
    /// Records that the broker answered, whatever the answer.
    pub(super) fn answered(&self) {
        self.queue.answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        task::JoinSet,
        time::{Instant, sleep},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends this many concurrent requests, each of which takes this time and is answered or not. Returns how many
    /// got their turn, and after how long all had it or had given up.
    async fn asked(
        requests: usize,
        takes: impl Fn(usize) -> Duration,
        is_answered: bool,
    ) -> (usize, Duration) {
        let (queue, started) = (Arc::new(Queue::default()), Instant::now());
        let mut tasks = JoinSet::new();
        for number in 0..requests {
            let (queue, takes) = (queue.clone(), takes(number));
            tasks.spawn(async move {
                let turn = queue.take().await?;
                let waited = started.elapsed();
                sleep(takes).await;
                if is_answered {
                    turn.answered();
                }
                Some(waited)
            });
        }
        let mut waited = Vec::new();
        while let Some(task) = tasks.join_next().await {
            waited.extend(task.unwrap());
        }
        (waited.len(), waited.into_iter().max().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_while_earlier_requests_are_answered() {
        let (turns, waited) = asked(PLACES, |_| 2 * SECOND, true).await;
        assert_eq!((turns, waited.as_secs()), (PLACES, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_give_up_on_a_silent_broker() {
        assert_eq!(asked(PLACES, |_| 50 * SECOND, true).await.0, CONCURRENCY);
        // The requests end one after the other, each by its time limit.
        let staggered = |number: usize| SECOND * u32::try_from(5 + number % 3).unwrap();
        assert_eq!(asked(PLACES, staggered, false).await.0, CONCURRENCY);
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_longer_than_the_limit() {
        let (turns, waited) = asked(PLACES, |_| LONGEST_SILENCE * 29 / 30, true).await;
        assert!(turns < PLACES && waited <= LONGEST_WAIT, "{turns} after {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_broker_occupies_a_limited_number_of_reconciles() {
        assert_eq!(asked(3 * PLACES, |_| 2 * SECOND, true).await.0, PLACES);
    }
}
