//! Limits of one backend: the number of concurrent operations, and the rate of all calls. Waiting operations are served
//! in order of arrival.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

use super::super::backends::BackendLimits;

/// The maximum number of concurrent calls to one backend, whatever its limits: a backend that hangs must not use up
/// the broker.
const CALLS_AT_ONCE: usize = 64;

/// The limits of one backend.
pub(super) struct Limits {
    operations: Option<Arc<Semaphore>>,
    rate: Option<Arc<Rate>>,
    calls: Semaphore,
}

/// Allows one operation to call a backend, until dropped.
#[derive(Default)]
pub(super) struct Slot {
    _operation: Option<OwnedSemaphorePermit>,
    rate: Option<Arc<Rate>>,
    /// Whether the next call is the first, which was counted with the slot.
    is_first: AtomicBool,
}

/// The rate limit: evenly spaced calls, without bursts.
struct Rate {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Limits {
    pub(super) fn new(limits: BackendLimits) -> Self {
        let operations = limits.concurrency.map(|most| Arc::new(Semaphore::new(most.get())));
        let rate = limits.requests_per_second.map(|calls| {
            Arc::new(Rate { interval: Duration::from_secs(1) / calls.get(), next: Mutex::default() })
        });
        Self { operations, rate, calls: Semaphore::new(CALLS_AT_ONCE) }
    }

    /// Waits until an operation may run and its first call may start.
    pub(super) async fn slot(&self) -> Slot {
        let operation = match &self.operations {
            // The semaphore is never closed.
            Some(operations) => operations.clone().acquire_owned().await.ok(),
            None => None,
        };
        if let Some(rate) = &self.rate {
            rate.start().await;
        }
        Slot { _operation: operation, rate: self.rate.clone(), is_first: AtomicBool::new(true) }
    }

    /// Waits until a call outside of an operation may start, such as a check or a lockout. The limit on operations does
    /// not apply, so that a lockout does not wait for a slow operation.
    pub(super) async fn call_outside_operations(&self) -> Option<SemaphorePermit<'_>> {
        if let Some(rate) = &self.rate {
            rate.start().await;
        }
        self.call().await
    }

    /// Waits for the limit on concurrent calls.
    pub(super) async fn call(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.calls.acquire().await.ok()
    }
}

impl Slot {
    /// Waits until the rate limit allows the operation's next call.
    pub(super) async fn start_call(&self) {
        if self.is_first.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(rate) = &self.rate {
            rate.start().await;
        }
    }
}

impl Rate {
    async fn start(&self) {
        // The lock is fair. An operation that is cancelled while it waits leaves its turn to the next.
        let mut next = self.next.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + self.interval);
    }
}
