//! One list of all stacks of an account, which all objects share. AWS throttles `DescribeStacks` at a few calls per second,
//! so that a call for each object, or a list after each change, would not do.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::cloud::aws::{Account, AwsError, stacks::Stack};

/// The stacks of an account, by name.
pub(super) struct Listing {
    account: Account,
    /// How long to wait between two lists.
    interval: Duration,
    latest: Mutex<Option<Listed>>,
}

#[derive(Clone)]
struct Listed {
    /// When the request was sent: later changes may be missing.
    asked_at: Instant,
    stacks: Arc<HashMap<String, Arc<Stack>>>,
}

/// What is known of a stack.
#[derive(Debug)]
pub(super) enum Seen {
    /// The stack, if it exists.
    Stack(Option<Arc<Stack>>),
    /// The last list is too old, and the next one is not due before this time.
    Later(Duration),
}

impl Listing {
    pub(super) fn new(account: Account, interval: Duration) -> Self {
        Self { account, interval, latest: Mutex::default() }
    }

    /// The stack of this name, as it was at `not_before` or later. Concurrent callers share one request.
    pub(super) async fn stack(&self, name: &str, not_before: Instant) -> Result<Seen, AwsError> {
        let mut latest = self.latest.lock().await;
        if let Some(listed) = latest.as_ref() {
            if listed.asked_at >= not_before {
                return Ok(Seen::Stack(listed.stacks.get(name).cloned()));
            }
            let wait = (listed.asked_at + self.interval).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Ok(Seen::Later(wait));
            }
        }
        let asked_at = Instant::now();
        let stacks = self.account.stacks().await?;
        let stacks: HashMap<_, _> =
            stacks.into_iter().map(|stack| (stack.name.clone(), Arc::new(stack))).collect();
        let found = stacks.get(name).cloned();
        *latest = Some(Listed { asked_at, stacks: Arc::new(stacks) });
        Ok(Seen::Stack(found))
    }
}
