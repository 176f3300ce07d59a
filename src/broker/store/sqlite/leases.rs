//! Holds in memory, for a store that one process uses. They cannot be lost while it lives.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    broker::store::{Hold, Renewal},
    osb::InstanceId,
};

/// So long a freeze waits for what is being worked on.
const PATIENCE: Duration = Duration::from_mins(1);

/// Who holds what.
#[derive(Default)]
pub(super) struct Holds {
    state: watch::Sender<Given>,
    /// One freezes at a time.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Given {
    held: HashMap<InstanceId, Held>,
    is_frozen: bool,
}

struct Held {
    token: Uuid,
    interrupted: bool,
}

impl Given {
    fn is_held(&self, hold: &Hold) -> bool {
        self.held.get(&hold.instance).is_some_and(|found| found.token == hold.token)
    }
}

impl Holds {
    pub(super) fn take(&self, instance: &InstanceId) -> Option<Hold> {
        let token = Uuid::new_v4();
        let is_taken = self.state.send_if_modified(|given| {
            let is_free = !given.is_frozen && !given.held.contains_key(instance);
            if is_free {
                given.held.insert(instance.clone(), Held { token, interrupted: false });
            }
            is_free
        });
        is_taken.then(|| Hold { instance: instance.clone(), token })
    }

    pub(super) fn look(&self, hold: &Hold) -> Renewal {
        match self.state.borrow().held.get(&hold.instance) {
            Some(found) if found.token == hold.token => Renewal::Held { interrupted: found.interrupted },
            _ => Renewal::Lost,
        }
    }

    pub(super) fn holder(&self, instance: &InstanceId) -> Option<Hold> {
        let given = self.state.borrow();
        given.held.get(instance).map(|held| Hold { instance: instance.clone(), token: held.token })
    }

    pub(super) fn interrupt(&self, instance: &InstanceId) {
        self.state.send_modify(|given| {
            if let Some(held) = given.held.get_mut(instance) {
                held.interrupted = true;
            }
        });
    }

    pub(super) fn release(&self, hold: &Hold) {
        self.state.send_modify(|given| {
            if given.is_held(hold) {
                given.held.remove(&hold.instance);
            }
        });
    }

    /// Gives no more holds, and waits until none is out; nothing when that takes too long.
    pub(super) async fn freeze(self: &Arc<Self>) -> Option<Frost> {
        let frozen = async {
            let turn = self.turn.clone().lock_owned().await;
            self.state.send_modify(|given| given.is_frozen = true);
            let frost = Frost { holds: self.clone(), turn };
            let mut state = self.state.subscribe();
            // The sender is ours, so that nothing but the wait can end this.
            state.wait_for(|given| given.held.is_empty()).await.ok()?;
            Some(frost)
        };
        timeout(PATIENCE, frozen).await.ok().flatten()
    }
}

/// While it is there, no hold is given.
pub(super) struct Frost {
    holds: Arc<Holds>,
    #[expect(dead_code, reason = "held, not used; dropped after the thaw")]
    turn: OwnedMutexGuard<()>,
}

impl Drop for Frost {
    fn drop(&mut self) {
        self.holds.state.send_modify(|given| given.is_frozen = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_freeze_that_waits_too_long_is_given_up() {
        let holds = Arc::new(Holds::default());
        let hold = holds.take(&"i".into()).unwrap();
        assert!(holds.freeze().await.is_none());
        assert!(holds.take(&"j".into()).is_some(), "nothing stays frozen");
        assert_eq!(holds.look(&hold), Renewal::Held { interrupted: false });
    }
}
