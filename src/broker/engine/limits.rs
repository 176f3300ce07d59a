//! Limits of the work on one backend: how many operations run at a time, and how many calls start in a second. Operations
//! that wait are served in the order they came.

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

/// Calls to one backend under way at the same time, whatever its limits: one that hangs must not take all of the broker.
const CALLS_AT_ONCE: usize = 64;

/// See the module.
pub(super) struct Limits {
    operations: Option<Arc<Semaphore>>,
    rate: Option<Arc<Rate>>,
    calls: Semaphore,
}

/// The right of one operation to call a backend, until it is dropped.
#[derive(Default)]
pub(super) struct Slot {
    _operation: Option<OwnedSemaphorePermit>,
    rate: Option<Arc<Rate>>,
    /// The first call was counted with the slot.
    is_first: AtomicBool,
}

/// When calls may start: evenly spread, without bursts.
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
            // Never closed.
            Some(operations) => operations.clone().acquire_owned().await.ok(),
            None => None,
        };
        if let Some(rate) = &self.rate {
            rate.start().await;
        }
        Slot { _operation: operation, rate: self.rate.clone(), is_first: AtomicBool::new(true) }
    }

    /// Waits until the backend has room for a call.
    pub(super) async fn call(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.calls.acquire().await.ok()
    }
}

impl Slot {
    /// Waits until the operation's next call may start.
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
        // The lock is fair. Who gives up while it waits leaves the time to the next.
        let mut next = self.next.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + self.interval);
    }
}
