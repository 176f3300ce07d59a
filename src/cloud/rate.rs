//! The rate limit of an account's calls: a token bucket. Clouds throttle an account as a whole, so calls wait here
//! instead of failing there.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// The seconds' worth of calls that may start at once after a pause.
const BURST: f64 = 2.0;

/// A bucket that refills at a constant rate.
#[derive(Debug)]
pub(in crate::cloud) struct TokenBucket {
    per_second: f64,
    state: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Negative while calls wait: each waiting call has taken its token in advance.
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    pub(in crate::cloud) fn new(per_second: NonZeroU32) -> Self {
        let per_second = f64::from(per_second.get());
        Self { per_second, state: Mutex::new(Bucket { tokens: per_second * BURST, at: Instant::now() }) }
    }

    /// Waits until the next call may start.
    pub(in crate::cloud) async fn take(&self) {
        let wait = self.reserve();
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Takes a token; returns how long to wait for it.
    fn reserve(&self) -> Duration {
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refilled = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + refilled).min(self.per_second * BURST) - 1.0;
        bucket.at = now;
        Duration::from_secs_f64((-bucket.tokens / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_wait_once_the_burst_is_used_up() {
        let bucket = TokenBucket::new(NonZeroU32::new(5).unwrap());
        let begun = Instant::now();
        for _ in 0..10 {
            bucket.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            bucket.take().await;
        }
        let elapsed = begun.elapsed().as_secs_f64();
        assert!((1.9..2.2).contains(&elapsed), "{elapsed}");
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_share_the_rate() {
        let bucket = TokenBucket::new(NonZeroU32::new(2).unwrap());
        let begun = Instant::now();
        futures::future::join_all((0..12).map(|_| bucket.take())).await;
        assert!((begun.elapsed().as_secs_f64() - 4.0).abs() < 0.1, "{:?}", begun.elapsed());
    }
}
