//! Bindings whose Secrets are gone, as others notice it: the catalog may not watch Secrets, but pods that wait for them are watched.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// Tells the catalog that a Secret of a binding that is ready does not exist. Clones share what is told.
#[derive(Clone, Debug, Default)]
pub struct LostSecrets(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Namespace and name of each binding, once.
    bindings: Mutex<HashSet<(String, String)>>,
    reported: Notify,
}

impl LostSecrets {
    /// Has the catalog look at the binding's Secrets at once. If they are there after all, nothing happens.
    pub fn report(&self, namespace: &str, binding: &str) {
        let mut bindings = self.0.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        bindings.insert((namespace.to_owned(), binding.to_owned()));
        self.0.reported.notify_one();
    }

    /// The bindings that were reported since this was asked before; waits until there is one.
    pub(crate) async fn next(&self) -> HashSet<(String, String)> {
        loop {
            let reported =
                std::mem::take(&mut *self.0.bindings.lock().unwrap_or_else(PoisonError::into_inner));
            if !reported.is_empty() {
                return reported;
            }
            self.0.reported.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_reported_before_anybody_asks_is_not_lost_and_comes_once() {
        let lost = LostSecrets::default();
        assert_eq!(lost.next().now_or_never(), None);
        for _ in 0..2 {
            lost.clone().report("shop", "db");
        }
        assert_eq!(lost.next().await, HashSet::from([("shop".to_owned(), "db".to_owned())]));
        assert_eq!(lost.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let lost = LostSecrets::default();
        let reporter = lost.clone();
        let (reported, ()) = tokio::join!(lost.next(), async move { reporter.report("shop", "db") });
        assert_eq!(reported.len(), 1);
    }
}
