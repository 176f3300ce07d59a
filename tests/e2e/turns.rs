//! Schedules the scenarios. They wait more than they compute, so several run side by side; scenarios that need
//! bindery for themselves run one after the other at the end. The runner may start all of them at once
//! (`--test-threads`).

use tokio::sync::watch;

/// How many scenarios run side by side; on two cores more would exceed their time limits.
const SIDE_BY_SIDE: usize = 6;

#[derive(Debug, Default)]
struct State {
    /// Scenarios that can run beside others, running or waiting.
    sharing: usize,
    /// The running ones among them.
    running: usize,
    /// Whether a scenario that needs bindery for itself is running.
    is_owned: bool,
}

/// Grants turns.
pub(crate) struct Turns(watch::Sender<State>);

/// A turn, until dropped.
pub(crate) struct Turn {
    state: watch::Sender<State>,
    is_own: bool,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Waits for a turn beside other scenarios.
    pub(crate) async fn shared(&self) -> Turn {
        self.0.send_modify(|state| state.sharing += 1);
        self.take(false, |state| {
            let is_free = !state.is_owned && state.running < SIDE_BY_SIDE;
            state.running += usize::from(is_free);
            is_free
        })
        .await
    }

    /// Waits until no other scenario runs or waits for a shared turn.
    pub(crate) async fn own(&self) -> Turn {
        self.take(true, |state| {
            let is_free = !state.is_owned && state.sharing == 0;
            state.is_owned |= is_free;
            is_free
        })
        .await
    }

    async fn take(&self, is_own: bool, take: impl Fn(&mut State) -> bool) -> Turn {
        let mut changes = self.0.subscribe();
        while !self.0.send_if_modified(&take) {
            changes.changed().await.expect("the sender is here");
        }
        Turn { state: self.0.clone(), is_own }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            if self.is_own {
                state.is_owned = false;
            } else {
                state.sharing -= 1;
                state.running -= 1;
            }
        });
    }
}
