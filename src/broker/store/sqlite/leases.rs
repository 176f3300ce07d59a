//! In-memory leases for a store that one process uses. They do not expire while the process lives.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    broker::store::{Lease, Renewal},
    osb::InstanceId,
};

/// How long a freeze waits for active leases.
const PATIENCE: Duration = Duration::from_mins(1);

/// The active leases.
#[derive(Default)]
pub(super) struct Leases {
    state: watch::Sender<Given>,
    /// Serializes freezes.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Given {
    leased: HashMap<InstanceId, Entry>,
    is_frozen: bool,
}

struct Entry {
    token: Uuid,
    interrupted: bool,
}

impl Given {
    fn is_valid(&self, lease: &Lease) -> bool {
        self.leased.get(&lease.instance).is_some_and(|found| found.token == lease.token)
    }
}

impl Leases {
    pub(super) fn acquire(&self, instance: &InstanceId) -> Option<Lease> {
        let token = Uuid::new_v4();
        let is_taken = self.state.send_if_modified(|given| {
            let is_free = !given.is_frozen && !given.leased.contains_key(instance);
            if is_free {
                given.leased.insert(instance.clone(), Entry { token, interrupted: false });
            }
            is_free
        });
        is_taken.then(|| Lease { instance: instance.clone(), token })
    }

    pub(super) fn look(&self, lease: &Lease) -> Renewal {
        match self.state.borrow().leased.get(&lease.instance) {
            Some(found) if found.token == lease.token => Renewal::Renewed { interrupted: found.interrupted },
            _ => Renewal::Lost,
        }
    }

    pub(super) fn current_lease(&self, instance: &InstanceId) -> Option<Lease> {
        let given = self.state.borrow();
        given.leased.get(instance).map(|entry| Lease { instance: instance.clone(), token: entry.token })
    }

    pub(super) fn interrupt(&self, instance: &InstanceId) {
        self.state.send_modify(|given| {
            if let Some(entry) = given.leased.get_mut(instance) {
                entry.interrupted = true;
            }
        });
    }

    pub(super) fn release(&self, lease: &Lease) {
        self.state.send_modify(|given| {
            if given.is_valid(lease) {
                given.leased.remove(&lease.instance);
            }
        });
    }

    /// Grants no more leases, and waits until all are released; `None` after a timeout.
    pub(super) async fn freeze(self: &Arc<Self>) -> Option<Frost> {
        let frozen = async {
            let turn = self.turn.clone().lock_owned().await;
            self.state.send_modify(|given| given.is_frozen = true);
            let frost = Frost { leases: self.clone(), turn };
            let mut state = self.state.subscribe();
            // `self` owns the sender, so only the timeout can end this early.
            state.wait_for(|given| given.leased.is_empty()).await.ok()?;
            Some(frost)
        };
        timeout(PATIENCE, frozen).await.ok().flatten()
    }
}

/// No lease is granted while this exists.
pub(super) struct Frost {
    leases: Arc<Leases>,
    #[expect(dead_code, reason = "held, not used; dropped after the thaw")]
    turn: OwnedMutexGuard<()>,
}

impl Drop for Frost {
    fn drop(&mut self) {
        self.leases.state.send_modify(|given| given.is_frozen = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_freeze_that_waits_too_long_is_given_up() {
        let leases = Arc::new(Leases::default());
        let lease = leases.acquire(&"i".into()).unwrap();
        assert!(leases.freeze().await.is_none());
        assert!(leases.acquire(&"j".into()).is_some(), "nothing stays frozen");
        assert_eq!(leases.look(&lease), Renewal::Renewed { interrupted: false });
    }
}
