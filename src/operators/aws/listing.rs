//! One list of all stacks of an account, which all objects share. AWS throttles `DescribeStacks` at a few calls per second,
//! so that a call for each object would not do.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::Mutex, time::Instant};

use crate::cloud::aws::{Account, AwsError, stacks::Stack};

/// The stacks of an account, by name.
pub(super) struct Listing {
    account: Account,
    latest: Mutex<Option<Listed>>,
}

#[derive(Clone)]
struct Listed {
    /// When the request was sent: later changes may be missing.
    asked_at: Instant,
    stacks: Arc<HashMap<String, Arc<Stack>>>,
}

impl Listing {
    pub(super) fn new(account: Account) -> Self {
        Self { account, latest: Mutex::default() }
    }

    /// The stack of this name, as it was at `not_before` or later. Concurrent callers share one request.
    pub(super) async fn stack(
        &self,
        name: &str,
        not_before: Instant,
    ) -> Result<Option<Arc<Stack>>, AwsError> {
        let mut latest = self.latest.lock().await;
        if let Some(listed) = latest.as_ref().filter(|listed| listed.asked_at >= not_before) {
            return Ok(listed.stacks.get(name).cloned());
        }
        let asked_at = Instant::now();
        let stacks = self.account.stacks().await?;
        let stacks: HashMap<_, _> =
            stacks.into_iter().map(|stack| (stack.name.clone(), Arc::new(stack))).collect();
        let found = stacks.get(name).cloned();
        *latest = Some(Listed { asked_at, stacks: Arc::new(stacks) });
        Ok(found)
    }
}
