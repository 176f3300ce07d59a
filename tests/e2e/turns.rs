//! Who may act when: scenarios wait more than they compute, so several run side by side, and those that need bindery for
//! themselves come one after the other once the rest is through. So the runner may start all of them at once
//! (`--test-threads`).

use tokio::sync::watch;

/// How many scenarios run side by side: more than that is slower than they expect, on two cores.
const SIDE_BY_SIDE: usize = 6;

#[derive(Debug, Default)]
struct State {
    /// Those that share, running or waiting.
    sharing: usize,
    /// Those of them that run.
    running: usize,
    /// Whether one runs that has everything for itself.
    is_owned: bool,
}

/// Hands out leave to act.
pub(crate) struct Turns(watch::Sender<State>);

/// Leave to act until this is dropped.
pub(crate) struct Turn {
    state: watch::Sender<State>,
    is_own: bool,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Waits until there is room beside the others.
    pub(crate) async fn shared(&self) -> Turn {
        self.0.send_modify(|state| state.sharing += 1);
        self.take(false, |state| {
            let is_free = !state.is_owned && state.running < SIDE_BY_SIDE;
            state.running += usize::from(is_free);
            is_free
        })
        .await
    }

    /// Waits until nobody else runs, and nobody wants to who would share.
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
